"""A patch grid with what gradients say of it beside it, and how well the two agree.

Knows grids and attributions; how they are asked for and drawn is not its business.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product

from core.intervene.grid import Cell, PatchGrid, grid
from core.intervene.integrated import Integrated, integrate_k
from core.measure.ranks import rank_correlation
from core.pair.gates import DIRECTIONS
from core.pair.pair import Pair

CHECKED_ASIDE = 8
"""With `quick`, the exact cells are those of so many layers at so many positions, spread evenly."""


@dataclass(frozen=True)
class AttributedGrid:
    """A grid whose cells have attributions.

    Attributes:
        grid: the cells; with `quick` only some have exact figures.
        rank_correlation: Spearman's, between `attribution` and `kl_recovery` of the cells that have both; None under
            two of them.
        n_compared: how many these are.
        completeness_error: by what share of K(all) − K(∅) the attributions of all gates miss it.
        forwards_equivalent: of patches and gradients: (layer, position) computations over those of one plain forward
            pass up to the target's last prediction, a backward pass counted as two forward passes.
    """

    grid: PatchGrid
    rank_correlation: float | None
    n_compared: int
    completeness_error: float | None
    forwards_equivalent: float


def attributed_grid(
    pair: Pair,
    ids: Sequence[int],
    predicted: Sequence[int],
    site: str,
    layers: Sequence[int],
    positions: Sequence[int],
    direction: str = DIRECTIONS[0],
    quick: bool = False,
    progress: Callable[[float], None] | None = None,
    on_cells: Callable[[tuple[Cell, ...]], None] | None = None,
) -> AttributedGrid:
    """Attributes every cell, and patches every cell, or with `quick` at most 64 of them to check the attributions.

    Args:
        pair, ids, predicted, site, layers, positions, direction: as for `grid`.
        quick: whether to patch only some.
        progress: told the share done, 0..1; may raise to stop.
        on_cells: given exact cells as they are found, without attributions.

    Raises:
        PromptError, ArgumentError: as `grid`.
    """
    tell = progress or (lambda share: None)
    part = 0.5 if quick else 0.9
    last = max(predicted, default=0)
    inside = sorted({position for position in positions if 0 <= position < last})
    checked = (_spread(sorted(set(layers))), _spread(inside)) if quick else (layers, positions)
    exact = grid(pair, ids, predicted, site, *checked, direction, lambda share: tell(part * share), on_cells)
    found = integrate_k(pair, ids, predicted, direction, progress=lambda share: tell(part + (1 - part) * share))
    cells = _attributed(exact, found, site, product(sorted(set(layers)), sorted(set(positions))))
    both = [
        (cell.attribution, cell.kl_recovery)
        for cell in cells
        if cell.attribution is not None and cell.kl_recovery is not None
    ]
    return AttributedGrid(
        grid=replace(exact, cells=cells),
        rank_correlation=rank_correlation([a for a, _ in both], [b for _, b in both]),
        n_compared=len(both),
        completeness_error=found.completeness_error,
        forwards_equivalent=exact.forwards_equivalent + found.forwards_equivalent,
    )


def _attributed(exact: PatchGrid, found: Integrated, site: str, places: Iterable[tuple[int, int]]) -> tuple[Cell, ...]:
    """A cell for every place: what patches found there, and what gradients say."""
    by_place = {(cell.layer, cell.pos): cell for cell in exact.cells}
    cells = (by_place.get(place, Cell(*place)) for place in places)
    if all(cell.kl_recovery is None for cell in exact.cells):  # no difference to recover, so none to attribute
        return tuple(cells)
    values = found.at_site(site)
    inside = range(values.shape[1])
    return tuple(
        replace(cell, attribution=float(values[cell.layer, cell.pos])) if cell.pos in inside else cell for cell in cells
    )


def _spread(numbers: Sequence[int]) -> list[int]:
    """At most `CHECKED_ASIDE` of them, first and last included."""
    n = min(len(numbers), CHECKED_ASIDE)
    return [numbers[round(k * (len(numbers) - 1) / max(1, n - 1))] for k in range(n)]
