"""Early stopping: which factors were the best on held-out rows, and whether to go on.

Knows held-out losses and where factors lie; decides nothing else about a run.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.train.data import VALIDATION

Losses = dict[str, float]


def watched(losses: Losses) -> float:
    """The figure early stopping looks at: the validation rows' loss, else the mean over the held-out sets."""
    return losses[VALIDATION] if VALIDATION in losses else sum(losses.values()) / len(losses)


class BestFactors:
    """Keeps the factors with the lowest watched loss.

    Args:
        path: where to keep them.
        patience: scores without a better one after which to stop; 0 keeps nothing and never stops.
    """

    def __init__(self, path: Path, patience: int) -> None:
        self._path, self._patience = path, patience
        self._best: tuple[float, int] | None = None
        self._since = 0

    def replay(self, points: list[tuple[int, Losses]]) -> None:
        """Takes up where a stopped run was, from the held-out scores it had written down."""
        self._best, self._since = None, 0
        for step, losses in points:
            self._count(step, losses)

    @property
    def exhausted(self) -> bool:
        """Whether patience is used up."""
        return bool(self._patience) and self._since >= self._patience

    def see(self, step: int, losses: Losses, model: Any) -> bool:
        """Takes a new score; whether to stop now. The untouched base (step 0) is never kept."""
        if not self._patience or not losses or step == 0:
            return False
        if self._count(step, losses):
            self._save(model, step)
        return self.exhausted

    def restore(self, model: Any, last_step: int, score: Callable[[Any], Losses]) -> int | None:
        """Puts the best factors back if they beat the last ones; their step, or None where the last stay."""
        if self._best is None or not self._patience:
            return None
        loss, step = self._best
        if not self.exhausted and (step == last_step or watched(score(model)) < loss):
            return None
        from peft import set_peft_model_state_dict
        from safetensors import safe_open
        from safetensors.torch import load_file

        set_peft_model_state_dict(model, load_file(self._path))
        with safe_open(self._path, "pt") as file:  # the step it was saved at, which a run on a GPU may not repeat
            return int(file.metadata()["step"])

    def _count(self, step: int, losses: Losses) -> bool:
        """Whether this score is the best so far."""
        if step == 0 or not losses:
            return False
        loss = watched(losses)
        if self._best is None or loss < self._best[0]:
            self._best, self._since = (loss, step), 0
            return True
        self._since += 1
        return False

    def _save(self, model: Any, step: int) -> None:
        from peft import get_peft_model_state_dict
        from safetensors.torch import save_file

        self._path.parent.mkdir(parents=True, exist_ok=True)
        aside = self._path.with_suffix(".partial")
        save_file(
            {name: t.contiguous() for name, t in get_peft_model_state_dict(model).items()}, aside, {"step": str(step)}
        )
        os.replace(aside, self._path)
