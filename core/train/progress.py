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
from core.train.best import BestFactors
from core.train.settings import CurvePoint

Say = Callable[[str], None]


class CurveCallback(TrainerCallback):  # type: ignore[misc]  # transformers ships no types
    """Writes `curve.jsonl` and says one line at each logged step.

    Args:
        path: the curve's file; appended to when a run goes on.
        score: held-out losses of a model, by file name.
        heldout_every: updates between two held-out scores.
        lengths: tokens of each row in the order they are trained on, for the speed.
        say: receives each line.
        best: is shown every held-out score and may end the run.
    """

    def __init__(
        self,
        path: Path,
        score: Callable[[Any], dict[str, float]],
        heldout_every: int,
        lengths: Sequence[int],
        say: Say,
        best: BestFactors,
    ) -> None:
        self._path, self._score, self._every, self._say = path, score, heldout_every, say
        self._lengths, self._best = lengths, best
        self._last = (0, 0.0)
        self._seconds_scoring = 0.0

    def before(self) -> dict[str, float]:
        """Held-out loss at step 0, also when this process only finished a run begun by another."""
        points = [json.loads(line) for line in self._path.read_text().splitlines()]
        return next((p["heldout"] for p in points if p["step"] == 0 and p["heldout"] is not None), {})

    def record_final(self, step: int, losses: dict[str, float]) -> None:
        """Adds the saved adapter's held-out losses to the curve."""
        self._write(CurvePoint(step, heldout=losses, final=True))

    def take_up(self, step: int) -> None:
        """Cuts the curve back to a checkpoint's step and counts its held-out scores again."""
        whole = [line for line in self._path.read_text().splitlines() if line.endswith("}")]
        points = [json.loads(line) for line in whole]
        kept = [k for k, point in enumerate(points) if point["step"] <= step and not point.get("final")]
        write_atomically(self._path, "".join(whole[k] + "\n" for k in kept))
        self._best.replay([(points[k]["step"], points[k]["heldout"]) for k in kept if points[k]["heldout"] is not None])

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Scores the untouched base on a fresh run."""
        if state.global_step == 0:
            self._path.unlink(missing_ok=True)
            self._heldout(0, kwargs["model"])
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
        rows = args.per_device_train_batch_size * args.gradient_accumulation_steps
        speed = sum(self._lengths[step * rows : state.global_step * rows]) / seconds
        left = sum(self._lengths[state.global_step * rows : state.max_steps * rows]) / max(speed, 1e-9)
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
            losses = self._heldout(state.global_step, kwargs["model"])
            self._seconds_scoring += time.perf_counter() - started
            if self._best.see(state.global_step, losses, kwargs["model"]):
                self._say(f"step {state.global_step}: no better on held-out rows for a while; stopping")
                control.should_training_stop = True

    def _heldout(self, step: int, model: Any) -> dict[str, float]:
        losses = self._score(model)
        self._write(CurvePoint(step, heldout=losses))
        if losses:
            self._say(f"step {step}: held-out loss " + ", ".join(f"{k} {v:.3f}" for k, v in losses.items()))
        return losses

    def _write(self, point: CurvePoint) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(point)) + "\n")


def read_curve(path: Path) -> list[CurvePoint]:
    """The points of a `curve.jsonl`."""
    return [CurvePoint(**json.loads(line)) for line in path.read_text().splitlines()]
