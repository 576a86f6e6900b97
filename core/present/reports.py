"""The objects the command line prints and the page downloads, field by field.

Their JSON is a contract: a field is never left out, a number that does not exist is null. Know results; compute
nothing.
"""

import json
import math
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, Literal

from core.generate.record import LaneAnswer
from core.intervene.grid import Cell
from core.intervene.recovery import PlanResult
from core.intervene.search import FoundSet
from core.intervene.shapley import Share
from core.intervene.smallest import Step
from core.intervene.why import LayerEffects, Why
from core.measure.lens import ByLayer, LensChoices
from core.measure.metrics import UNITS
from core.measure.summary import Bin, Choices, Concentration, Summary
from core.measure.tokens import TokenScore
from core.pair.parts import Mask
from core.present.hybrids import Hybrid
from core.present.provenance import SCHEMA_VERSION, Provenance
from core.train.preview import Preview
from core.train.settings import FinetuneResult, FinetuneSettings


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
class Report:
    """What every object has: schema version, the line that recomputes it, provenance."""

    schema_version: int
    command: str
    provenance: Provenance


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
class AskReport(Report):
    """Three answers to one question, decoded side by side."""

    prompt_ids: tuple[int, ...]
    hybrids: tuple[Hybrid, ...]
    lanes: tuple[LaneAnswer, ...]
    first_divergence: int | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class WhyReport(Report):
    """One token of an answer questioned."""

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    answer_from: Literal["base", "tuned", "given"]
    why: Why
    effects: LayerEffects | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class LensReport(Report):
    """Both models read after every layer, with the model's last norm and unembedding: the logit lens, and drift.

    What stands at a position is of the state that predicted that token, which stands at the token before.
    """

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    answer_from: Literal["base", "tuned", "given"]
    mask: Mask
    layers: tuple[int, ...]
    positions: tuple[int, ...]
    tokens: tuple[str, ...]
    kl: tuple[tuple[float, ...], ...]
    norm: tuple[tuple[float | None, ...], ...]
    cosine: tuple[tuple[float | None, ...], ...]
    mean: ByLayer
    noise: ByLayer
    cell: LensChoices | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class SweepReport(Report):
    """Many sets of layers grafted on one text.

    What stands in `kl_base` and in `kl` of a plan belongs to the tokens of `positions`, in their order. `shared` says
    whether plans shared the layers on which they agree, or took a forward pass each.
    """

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    answer_from: Literal["base", "tuned", "given"]
    mask: Mask
    kind: str
    direction: str
    positions: tuple[int, ...]
    k_base: float
    k_noise: float
    kl_base: tuple[float, ...]
    logp_recipient: float
    logp_donor: float
    plans: tuple[PlanResult, ...]
    shared: bool
    layer_rows_total: int
    forwards_equivalent: float
    seconds: float
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class ContrastedTokens:
    """The tokens whose logit difference was followed.

    Attributes:
        gained_id: the token with the largest gained term; null where the target is many predictions, each with its own.
        lost_id: the token with the largest lost term; null likewise.
    """

    gained_id: int | None
    lost_id: int | None


@dataclass(frozen=True)
class GridReport(Report):
    """One model's activations put into the other's run on the same text, one layer and one position at a time."""

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    answer_from: Literal["base", "tuned", "given"]
    site: str
    target: int | Literal["response"]
    direction: str
    contrast: ContrastedTokens
    k_base: float
    k_noise: float
    cells: tuple[Cell, ...]
    rank_correlation: float | None
    n_compared: int
    completeness_error: float | None
    forwards_equivalent: float
    seconds: float
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class SearchReport(Report):
    """The smallest sets of layers that bring back a share of the fine-tune, beside controls."""

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    answer_from: Literal["base", "tuned", "given"]
    mask: Mask
    method: str
    by: str
    direction: str
    reach: float
    reached: int | None
    sets: tuple[FoundSet, ...]
    curve: tuple[Step, ...]
    permutations: int
    shapley: tuple[Share, ...] | None
    interaction: float | None
    k_base: float
    k_noise: float
    forwards_equivalent: float
    seconds: float
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class FinetuneReport(Report):
    """A fine-tuning run: what it left, or with `--dry-run` what it would do."""

    settings: FinetuneSettings
    preview: Preview | None
    result: FinetuneResult | None


@dataclass(frozen=True)
class ErrorDetail:
    """What went wrong: the kind of error, what happened with its values, what to do."""

    kind: str
    message: str
    remedy: str


@dataclass(frozen=True)
class ErrorReport:
    """What stands on standard output under `--json` when a command fails."""

    error: ErrorDetail


REPORTS: dict[str, type] = {
    "pairs": PairsReport,
    "diff": DiffReport,
    "ask": AskReport,
    "why": WhyReport,
    "lens": LensReport,
    "sweep": SweepReport,
    "grid": GridReport,
    "search": SearchReport,
    "finetune": FinetuneReport,
}

__all__ = ["REPORTS", "SCHEMA_VERSION", "UNITS", "to_json"]


def plain(value: Any) -> Any:
    """A report as JSON values: tuples as lists, non-finite numbers as null."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def to_json(report: Any, indent: int | None = None) -> str:
    """One JSON object; never NaN."""
    return json.dumps(plain(report), ensure_ascii=False, allow_nan=False, indent=indent)
