"""What a running fine-tune says and records: loss, speed, time left, held-out loss.

Knows the Trainer's callbacks; decides nothing about the training.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from core.errors import TrainingError
from core.pair.files import write_atomically
from core.train.encode import Example
from core.train.settings import CurvePoint

Say = Callable[[str], None]


class CurveCallback(TrainerCallback):  # type: ignore[misc]  # transformers ships no types
    """Writes `curve.jsonl` and says one line at each logged step.

    Args:
        path: the curve's file; appended to when a run goes on.
        score: held-out losses of a model, by file name.
        heldout_every: updates between two held-out scores.
        examples: the rows of an epoch, for the speed in tokens.
        say: receives each line.
    """

    def __init__(
        self,
        path: Path,
        score: Callable[[Any], dict[str, float]],
        heldout_every: int,
        examples: Sequence[Example],
        say: Say,
    ) -> None:
        self._path, self._score, self._every, self._say = path, score, heldout_every, say
        self._tokens_per_row = sum(len(example.ids) for example in examples) / max(len(examples), 1)
        self._last = (0, 0.0)
        self._seconds_scoring = 0.0

    def before(self) -> dict[str, float]:
        """Held-out loss at step 0, also when this process only finished a run begun by another."""
        points = [json.loads(line) for line in self._path.read_text().splitlines()]
        return next((p["heldout"] for p in points if p["step"] == 0 and p["heldout"] is not None), {})

    def record_heldout(self, step: int, losses: dict[str, float]) -> None:
        """Adds a held-out point to the curve."""
        self._write(CurvePoint(step, heldout=losses))

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Scores the untouched base on a fresh run."""
        if state.global_step == 0:
            self._path.unlink(missing_ok=True)
            self._heldout(0, kwargs["model"])
        else:  # what was logged after the checkpoint will be logged again
            points = [line for line in self._path.read_text().splitlines() if line.endswith("}")]
            kept = [line for line in points if json.loads(line)["step"] <= state.global_step]
            write_atomically(self._path, "".join(line + "\n" for line in kept))
        self._last = (state.global_step, time.perf_counter())

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """One line and one point for each logged training loss."""
        if not logs or "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss is {loss} at step {state.global_step}: the run has diverged.", "Lower --learning-rate."
            )
        step, now = self._last
        seconds = max(time.perf_counter() - now - self._seconds_scoring, 1e-9)
        rows = (state.global_step - step) * args.per_device_train_batch_size * args.gradient_accumulation_steps
        speed = rows * self._tokens_per_row / seconds
        left = (state.max_steps - state.global_step) * seconds / max(state.global_step - step, 1)
        self._last, self._seconds_scoring = (state.global_step, time.perf_counter()), 0.0
        self._write(CurvePoint(state.global_step, loss, float(logs["learning_rate"]), speed))
        self._say(
            f"step {state.global_step}/{state.max_steps}  loss {loss:.3f}  {speed:.0f} tokens/s  "
            f"{left / 60:.0f} min left"
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Scores the held-out files now and then."""
        if state.global_step % self._every == 0 and state.global_step < state.max_steps:
            started = time.perf_counter()
            self._heldout(state.global_step, kwargs["model"])
            self._seconds_scoring += time.perf_counter() - started

    def _heldout(self, step: int, model: Any) -> None:
        losses = self._score(model)
        self._write(CurvePoint(step, heldout=losses))
        if losses:
            self._say(f"step {step}: held-out loss " + ", ".join(f"{k} {v:.3f}" for k, v in losses.items()))

    def _write(self, point: CurvePoint) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(point)) + "\n")
