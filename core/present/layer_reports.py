"""The objects of the commands that look inside: one token questioned, lens, sweep, patch grid, search.

Know results; compute nothing.
"""

from dataclasses import dataclass
from typing import Literal

from core.intervene.grid import Cell
from core.intervene.recovery import PlanResult
from core.intervene.search import FoundSet
from core.intervene.shapley import Share
from core.intervene.size_and_effect import WeightEffects
from core.intervene.smallest import Step
from core.intervene.why import LayerEffects, Why
from core.measure.lens import ByLayer, LensChoices
from core.measure.weights import ModuleChange, PartChange
from core.pair.parts import Mask
from core.present.report import Report


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
    logp_recipient: float | None
    logp_donor: float | None
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
class WeightsReport(Report):
    """What fine-tuning changed in the weights: how large the change ΔW of every weight matrix W is."""

    prompt_ids: tuple[int, ...] | None
    answer_ids: tuple[int, ...] | None
    answer_from: Literal["base", "tuned", "given"] | None
    n_tokens: int | None
    mask: Mask | None
    modules: tuple[ModuleChange, ...]
    parts: tuple[PartChange, ...]
    effects: WeightEffects | None
    warnings: tuple[str, ...]
