"""The objects the command line prints and the page downloads, field by field.

Know results; compute nothing.
"""

from dataclasses import dataclass
from typing import Literal

from core.generate.record import LaneAnswer
from core.measure.cross import CrossScores
from core.measure.multiple_choice import LetterChoice
from core.measure.summary import Bin, Choices, Concentration, Summary
from core.measure.tokens import TokenScore
from core.pair.parts import Mask
from core.present.forks import Fork
from core.present.hybrids import Hybrid
from core.present.report import Report


@dataclass(frozen=True)
class Half:
    """One half of a pair; path and hash are null until it is on this machine."""

    id: str
    path: str | None
    sha256: str | None


@dataclass(frozen=True)
class TunedHalf(Half):
    """The fine-tuned half: an adapter or a full checkpoint."""

    kind: Literal["adapter", "checkpoint"]


@dataclass(frozen=True)
class PairEntry:
    """One known pair; dimensions are null until its base is on this machine."""

    name: str
    title: str
    ready: bool
    base: Half
    tuned: TunedHalf
    n_layers: int | None
    d_model: int | None
    d_vocab: int | None


@dataclass(frozen=True)
class PairsReport(Report):
    """The known pairs."""

    pairs: tuple[PairEntry, ...]


@dataclass(frozen=True)
class DiffReport(Report):
    """Base against tuned on one text, token by token.

    `answer_from` says whose text it is: `base`, `tuned` or `given`. `summary` covers the mask; its `noise` is the
    change of the mean, its `noise_token` the 99th percentile of the change per token, between two numerical routes.
    """

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    answer_text: str
    answer_from: Literal["base", "tuned", "given"]
    mask: Mask
    units: dict[str, str]
    summary: dict[str, Summary]
    summary_with_format: dict[str, Summary]
    concentration: Concentration
    choices: Choices
    by_position: tuple[Bin, ...]
    by_entropy: tuple[Bin, ...]
    by_part: dict[str, Summary]
    reasoning_finished: bool | None
    warnings: tuple[str, ...]
    tokens: tuple[TokenScore, ...]


@dataclass(frozen=True)
class ForkAnswer:
    """An answer continued from one of its tokens with another one."""

    fork: Fork
    answer: LaneAnswer


@dataclass(frozen=True)
class LaneLetters:
    """Which of a question's options one lane's model would answer with."""

    lane: str
    flipped: bool
    choice: LetterChoice


@dataclass(frozen=True)
class AskReport(Report):
    """Three answers to one question, decoded side by side."""

    prompt_ids: tuple[int, ...]
    hybrids: tuple[Hybrid, ...]
    lanes: tuple[LaneAnswer, ...]
    first_divergence: int | None
    forks: tuple[ForkAnswer, ...]
    cross: CrossScores | None
    letters: tuple[LaneLetters, ...] | None
    warnings: tuple[str, ...]
