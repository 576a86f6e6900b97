"""Shapley shares: how much of the recovery each unit carries, averaged over the orders in which units can come.

A set function over units is all it knows; shares sum to the recovery of all units because each order's gains do.

Source: Shapley 1953; permutation sampling as in Castro, Gómez & Tejada 2009, each order beside its reverse
(antithetic sampling, Mitchell et al. 2022).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.errors import ArgumentError
from core.intervene.set_function import Progress, SetFunction, part_of
from core.intervene.sets import Unit


@dataclass(frozen=True)
class Share:
    """What one unit carries.

    Attributes:
        layer, part: the unit.
        share: mean over permutations of what it adds to the recovery of the units before it; all shares sum to the
            recovery of all units together.
        se: standard error of the share over permutations, each taken together with its reverse; null for fewer than
            two such pairs.
    """

    layer: int
    part: str
    share: float
    se: float | None


def draw_permutations(n: int, count: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """Random orders of n units: one, its reverse, another one, its reverse, and so on.

    The first orders of a longer draw are those of a shorter one.

    Raises:
        ArgumentError: `count` is below 1.
    """
    if count < 1:
        raise ArgumentError(f"{count} permutations give no shares.", "Use at least 2.")
    generator = torch.Generator().manual_seed(seed)
    orders: list[tuple[int, ...]] = []
    while len(orders) < count:
        order = tuple(torch.randperm(n, generator=generator).tolist())
        orders += [order, order[::-1]]
    return tuple(orders[:count])


def shapley_shares(
    function: SetFunction,
    units: Sequence[Unit],
    permutations: Sequence[Sequence[int]],
    progress: Progress | None = None,
    kept: Callable[[tuple[Share, ...]], None] | None = None,
) -> tuple[Share, ...]:
    """Shares from given orders, each order and the one after it in one walk.

    Args:
        function: R of sets.
        units: the players.
        permutations: orders of their indices, each followed by its reverse; see `draw_permutations`.
        progress: told the share done, 0..1; may raise to stop.
        kept: given the shares so far after each pair of orders.

    Returns:
        One share a unit, in the order of `units`.

    Raises:
        PromptError: recovery is undefined on this text.
    """
    gains: list[Tensor] = []
    found: tuple[Share, ...] = ()
    for first in range(0, len(permutations), 2):
        pair = permutations[first : first + 2]
        tell = part_of(progress, first, len(pair), len(permutations))
        chains = [[units[index] for index in order[:size]] for order in pair for size in range(len(units) + 1)]
        values = torch.tensor(function.recovery(chains, tell), dtype=torch.float64).reshape(len(pair), -1)
        for order, chain in zip(pair, values, strict=True):
            own = torch.empty(len(units), dtype=torch.float64)
            own[list(order)] = chain.diff()
            gains.append(own)
        found = _shares(units, gains)
        if kept:
            kept(found)
    return found


def _shares(units: Sequence[Unit], gains: Sequence[Tensor]) -> tuple[Share, ...]:
    """Means over permutations; errors over pairs, since an order and its reverse are not independent draws."""
    every = torch.stack(list(gains))
    mean = every.mean(dim=0)
    deviations = [block.sum(dim=0) - len(block) * mean for block in torch.split(every, 2)]
    n = len(deviations)
    # Weighted by orders, so that a last order without its reverse counts half; sd/√n where there is none.
    squares = torch.stack(deviations).square().sum(dim=0)
    errors = (squares * n / (n - 1)).sqrt() / len(every) if n > 1 else None
    return tuple(
        Share(unit.layer, unit.part, float(mean[index]), None if errors is None else float(errors[index]))
        for index, unit in enumerate(units)
    )
