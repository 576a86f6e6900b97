"""Do large changes of weights have large effects: sizes of parts held against what each brings back alone.

Knows sizes and recoveries of the same pair; computes neither.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from core.intervene.plans import EACH
from core.intervene.recovery import PlanResult
from core.measure.ranks import rank_correlation
from core.measure.weights import PartChange

MEASURES = ("relative_frobenius", "spectral", "stable_rank", "on_data")


@dataclass(frozen=True)
class Point:
    """One layer's attention or MLP.

    Attributes:
        layer, part: which one.
        size: of its change.
        recovery: grafted alone.
    """

    layer: int
    part: str
    size: float
    recovery: float


@dataclass(frozen=True)
class Agreement:
    """How well sizes and effects agree in their order.

    Attributes:
        measure: which size: `relative_frobenius`, `spectral`, `stable_rank` or `on_data`.
        part: over which parts: `attn`, `mlp`, or `each` for both.
        correlation: Spearman's, of size and recovery; None where there is no order to compare.
        n: how many parts have both.
        by_chance: 1.96/√(n − 1): of unrelated lists 95 in 100 have a correlation closer to 0, if layers were
            independent of each other; None under two parts.
    """

    measure: str
    part: str
    correlation: float | None
    n: int
    by_chance: float | None


@dataclass(frozen=True)
class WeightEffects:
    """Sizes against effects on one text.

    Attributes:
        k_base: K(∅): mean KL(tuned‖base) over the mask, nats.
        k_noise: by how much that changes by another numerical route.
        plans: attention and MLP of each layer grafted alone.
        agreement: of every size with their recovery.
    """

    k_base: float
    k_noise: float
    plans: tuple[PlanResult, ...]
    agreement: tuple[Agreement, ...]


def points(parts: Sequence[PartChange], plans: Sequence[PlanResult], measure: str) -> tuple[Point, ...]:
    """The parts that have both a size and a recovery.

    Args:
        parts: with their sizes.
        plans: of a sweep of single layers, attention and MLP apart.
        measure: one of `MEASURES`.
    """
    recoveries = {(int(plan.layers), plan.part): plan.recovery for plan in plans}
    found = []
    for part in parts:
        size, recovery = getattr(part, measure), recoveries.get((part.layer, part.part))
        if part.part in EACH and size is not None and recovery is not None:
            found.append(Point(part.layer, part.part, size, recovery))
    return tuple(found)


def agreements(parts: Sequence[PartChange], plans: Sequence[PlanResult]) -> tuple[Agreement, ...]:
    """How well each size agrees with recovery, over all parts and over attention and MLPs by themselves.

    Source: the standard deviation of Spearman's correlation of n independent pairs is 1/√(n − 1).
    """
    return tuple(
        _agreement(measure, part, [point for point in points(parts, plans, measure) if part in (point.part, "each")])
        for measure in MEASURES
        for part in ("each", *EACH)
    )


def _agreement(measure: str, part: str, own: Sequence[Point]) -> Agreement:
    found = rank_correlation([point.size for point in own], [point.recovery for point in own])
    by_chance = min(1.0, 1.96 / math.sqrt(len(own) - 1)) if len(own) > 1 else None
    return Agreement(measure, part, found, len(own), by_chance)
