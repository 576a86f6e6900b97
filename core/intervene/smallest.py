"""Ways to find a small set of units with a large recovery: greedy from below, greedy from above, by rank, all sets.

Each is a sequence of steps and stops once every reach asked for is settled. Knows a set function; knows no text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from core.intervene.set_function import Progress, SetFunction, part_of
from core.intervene.sets import Unit

ALL_SETS_UP_TO = 12
"""With so many units every set is tried; with more, sets of one and two."""
PAIRS = 2


@dataclass(frozen=True)
class Step:
    """One step of a search.

    Attributes:
        size: how many units the set has.
        changed: the unit added or taken away; null where sets of this size were compared as wholes.
        recovery: R of the set.
        units: the set.
    """

    size: int
    changed: Unit | None
    recovery: float
    units: tuple[Unit, ...]


Kept = Callable[[tuple[Step, ...]], None]


def greedy_forward(
    function: SetFunction, units: Sequence[Unit], reach: float, limit: int, progress: Progress, kept: Kept
) -> tuple[Step, ...]:
    """Adds the unit after which recovery is largest, until `reach` is met or `limit` units are in.

    Args:
        function: R of sets.
        units: to choose from; the first of equals wins.
        reach: the recovery wanted.
        limit: of units.
        progress: told the share done, 0..1; may raise to stop.
        kept: given the steps so far after each.

    Raises:
        PromptError: recovery is undefined on this text.
    """
    steps: tuple[Step, ...] = ()
    chosen: tuple[Unit, ...] = ()
    while len(chosen) < limit and not (steps and steps[-1].recovery >= reach):
        candidates = [unit for unit in units if unit not in chosen]
        tell = part_of(progress, len(chosen), 1, limit)
        values = function.recovery([(*chosen, unit) for unit in candidates], tell)
        best = max(range(len(values)), key=values.__getitem__)
        chosen = (*chosen, candidates[best])
        steps = (*steps, Step(len(chosen), candidates[best], values[best], tuple(sorted(chosen))))
        kept(steps)
    return steps


def greedy_backward(
    function: SetFunction, units: Sequence[Unit], reach: float, progress: Progress, kept: Kept
) -> tuple[Step, ...]:
    """Takes away the unit whose loss is least, from all units down, as long as `reach` is met.

    Args and Raises are those of `greedy_forward`. The last step is the first below `reach`, where there is one.
    """
    (whole,) = function.recovery([units])
    left = tuple(units)
    steps: tuple[Step, ...] = (Step(len(left), None, whole, left),)
    kept(steps)
    while len(left) > 1 and steps[-1].recovery >= reach:
        tell = part_of(progress, len(units) - len(left), 1, len(units))
        values = function.recovery([[u for u in left if u != unit] for unit in left], tell)
        best = max(range(len(values)), key=values.__getitem__)
        gone = left[best]
        left = tuple(unit for unit in left if unit != gone)
        steps = (*steps, Step(len(left), gone, values[best], left))
        kept(steps)
    return steps


def by_rank(
    function: SetFunction, ranked: Sequence[Unit], limit: int, progress: Progress, kept: Kept
) -> tuple[Step, ...]:
    """Takes units as they are ranked, the first one first.

    Args and Raises are those of `greedy_forward`.
    """
    sets = [tuple(sorted(ranked[:size])) for size in range(1, limit + 1)]
    values = function.recovery(sets, progress)
    steps = tuple(
        Step(len(own), unit, value, own) for own, unit, value in zip(sets, ranked[:limit], values, strict=True)
    )
    kept(steps)
    return steps


def every_set(
    function: SetFunction, units: Sequence[Unit], reach: float, limit: int, progress: Progress, kept: Kept
) -> tuple[Step, ...]:
    """The best set of each size, by trying all: every size up to twelve units, sizes one and two with more.

    Args and Raises are those of `greedy_forward`.
    """
    largest = min(limit, len(units) if len(units) <= ALL_SETS_UP_TO else PAIRS)
    steps: tuple[Step, ...] = ()
    for size in range(1, largest + 1):
        sets = list(combinations(units, size))
        values = function.recovery(sets, part_of(progress, size - 1, 1, largest))
        best = max(range(len(values)), key=values.__getitem__)
        steps = (*steps, Step(size, None, values[best], sets[best]))
        kept(steps)
        if values[best] >= reach:
            break
    return steps


def smallest_reaching(steps: Sequence[Step], reach: float) -> Step | None:
    """The smallest set among the steps whose recovery is at least `reach`; None where none is."""
    reaching = [step for step in steps if step.recovery >= reach]
    return min(reaching, key=lambda step: (step.size, -step.recovery), default=None)


def best_of(steps: Sequence[Step]) -> Step:
    """The step with the largest recovery, the smaller one of equals."""
    return max(steps, key=lambda step: (step.recovery, -step.size))
