"""What a found set is held against: random sets of its size, and itself in random adapters.

A set that carries much may only be large, or only lie where any change would carry much: random sets answer the
first, random adapters the second. Knows set functions and pairs; knows nothing of how sets were found.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import torch

from core.intervene.random_adapter import random_adapter
from core.intervene.set_function import Progress, SetFunction, part_of
from core.intervene.sets import Unit


@dataclass(frozen=True)
class Control:
    """Recoveries to hold one found set against.

    Attributes:
        mean: of the recoveries; null where there are none.
        sd: their standard deviation, with n − 1; null for fewer than two.
        n: how many.
        values: each of them, in the order drawn.
    """

    mean: float | None
    sd: float | None
    n: int
    values: tuple[float, ...]


def control_of(values: Sequence[float]) -> Control:
    """Mean and spread of some recoveries."""
    return Control(
        fmean(values) if values else None, stdev(values) if len(values) > 1 else None, len(values), tuple(values)
    )


def random_sets(
    function: SetFunction, units: Sequence[Unit], size: int, n: int, seed: int, progress: Progress | None = None
) -> Control:
    """Recovery of random sets of one size.

    Args:
        function: R of sets.
        units: to draw from, each set without repetition; sets are drawn independently, so few units repeat sets.
        size: of each set.
        n: how many sets.
        seed: of the draws.
        progress: told the share done, 0..1; may raise to stop.

    Raises:
        PromptError: recovery is undefined on this text.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = [[units[k] for k in torch.randperm(len(units), generator=generator)[:size].tolist()] for _ in range(n)]
    return control_of(function.recovery(drawn, progress))


def in_random_adapters(
    function: SetFunction,
    sets: Sequence[Sequence[Unit]],
    n: int,
    seed: int,
    progress: Progress | None = None,
    kept: Callable[[tuple[Control, ...], int], None] | None = None,
) -> tuple[Control, ...]:
    """Recovery of the same sets in random adapters, each against its own K(∅).

    Args:
        function: of the real fine-tune; text, positions and direction are taken from it.
        sets: found sets.
        n: how many random adapters; all sets are tried in each.
        seed: of the first; the following ones count up.
        progress: told the share done, 0..1; may raise to stop.
        kept: given the controls so far and the rows of layers of this adapter, after each.

    Returns:
        One control a set. Random adapters that hardly change the text have no recovery and do not count in its `n`.

    Raises:
        AdapterError: the pair has no low-rank changes.
    """
    found: list[tuple[float, ...]] = []
    controls = tuple(control_of([]) for _ in sets)
    for number in range(n):
        tell = part_of(progress, number, 1, n)
        tell(0)
        twin = random_adapter(function.pair, seed + number)
        own = SetFunction(twin, function.ids, function.predicted, function.direction)
        if own.defined:
            found.append(own.recovery(sets, tell))
        controls = tuple(control_of([values[k] for values in found]) for k in range(len(sets)))
        if kept:
            kept(controls, own.rows)
        tell(1)
    return controls
