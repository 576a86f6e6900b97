"""What a fine-tuning run is made of, and the record it leaves.

Knows values only.
"""

from dataclasses import dataclass
from pathlib import Path

from core.errors import ArgumentError
from core.train.choice import FileChoice

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class FinetuneSettings:
    """Everything that decides a run's outcome.

    Attributes:
        data: files to train on.
        replay: general files mixed in against forgetting.
        heldout: files to score before, during and after; never trained on.
        validation: share of the rows of each data file that is set aside and scored as `validation`.
        patience: stop after so many held-out scores without a better one, and keep the best; 0 trains to the end.
            What is watched is `validation` where there is one, else the mean over the held-out files.
        gradient_checkpointing: compute activations twice instead of keeping them.
        start_from: folder of an adapter whose factors are trained further; None begins at no change.
        rank, alpha, dropout, targets: the LoRA; α/r scales its product.
        learning_rate: peak of a cosine schedule.
        warmup: share of steps over which the rate rises.
        clip: largest gradient norm.
        batch_size, accumulation: rows per step, steps per update.
        epochs: passes over data and replay together.
        max_steps: stop after so many updates; 0 for no limit.
        heldout_rows: how many rows of each held-out file to score where the file does not say so itself; 0 for all.
        heldout_every, checkpoint_every: in updates.
        seed: order of rows, rows drawn, initial factors.
        dtype: of the base weights while training; `bfloat16` also computes in it (mixed precision). The factors are
            float32 and saved as float16.
    """

    data: tuple[FileChoice, ...]
    replay: tuple[FileChoice, ...] = ()
    heldout: tuple[FileChoice, ...] = ()
    validation: float = 0.0
    patience: int = 0
    gradient_checkpointing: bool = False
    start_from: Path | None = None
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    targets: tuple[str, ...] = TARGETS
    learning_rate: float = 5e-4
    warmup: float = 0.03
    clip: float = 1.0
    batch_size: int = 4
    accumulation: int = 1
    epochs: int = 1
    max_steps: int = 0
    heldout_rows: int = 40
    heldout_every: int = 200
    checkpoint_every: int = 100
    seed: int = 0
    dtype: str = "bfloat16"

    def __post_init__(self) -> None:
        positive = ("rank", "alpha", "learning_rate", "clip", "batch_size", "accumulation", "epochs")
        wrong = [name for name in positive if not getattr(self, name) > 0]
        if wrong:
            raise ArgumentError(f"{wrong[0]} is {getattr(self, wrong[0])}.", "Give a number above 0.")
        if not 0 <= self.validation < 1:
            raise ArgumentError(f"validation is {self.validation}.", "Give a share from 0 to below 1.")
        if self.patience and not (self.heldout or self.validation):
            raise ArgumentError("There is nothing to watch for early stopping.", "Give --validation or --heldout.")
        if not 0 <= self.dropout < 1 or not 0 <= self.warmup <= 1:
            raise ArgumentError(f"dropout is {self.dropout}, warmup {self.warmup}.", "Both lie between 0 and 1.")
        wrong = [name for name in ("heldout_every", "checkpoint_every") if getattr(self, name) < 1]
        wrong += [name for name in ("heldout_rows", "max_steps", "patience") if getattr(self, name) < 0]
        if wrong:
            raise ArgumentError(f"{wrong[0]} is {getattr(self, wrong[0])}.", "Give a larger number.")
        if not self.data:
            raise ArgumentError("There is no data to train on.", "Name at least one file with --data.")


@dataclass(frozen=True)
class CurvePoint:
    """One line of `curve.jsonl`.

    Attributes:
        step: updates done.
        loss: mean training loss per token since the last point, nats; None on held-out points.
        learning_rate: at this step; None on held-out points.
        tokens_per_second: prompt and answer tokens trained on, padding not counted; None on held-out points.
        heldout: loss per held-out file, nats per token without headings; None on training points.
        final: whether `heldout` is that of the saved adapter, rounded; `step` is then the step whose factors it holds.
    """

    step: int
    loss: float | None = None
    learning_rate: float | None = None
    tokens_per_second: float | None = None
    heldout: dict[str, float] | None = None
    final: bool = False


@dataclass(frozen=True)
class FinetuneResult:
    """What a finished run leaves.

    Attributes:
        out: the adapter's folder.
        adapter_sha256: of `adapter_model.safetensors`.
        steps: updates done.
        best_step: the earlier step whose factors were kept; null where the last ones were.
        n_rows: examples in an epoch, passes counted.
        n_tokens: tokens in an epoch, prompts included.
        seconds: training time of this process.
        heldout_before, heldout_after: loss per held-out file, nats per token without headings, of what the run
            started from (base, or base with the adapter it goes on from) and of the saved, half-precision adapter.
    """

    out: str
    adapter_sha256: str
    steps: int
    best_step: int | None
    n_rows: int
    n_tokens: int
    seconds: float
    heldout_before: dict[str, float]
    heldout_after: dict[str, float]
