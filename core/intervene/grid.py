"""The patch grid: every layer at every position, one cell a patch, exactly, without one forward pass per cell.

A patch at position p leaves everything before p as it was, and everything below its layer. So cells of one position
run on the end of the text only, over the recipient's keys and values; and they join the walk up the layers one after
the other, as rows of one batch. Against one forward pass per cell that is about an eighth over the second half of a
text, a quarter over all of it. Knows patches and figures; knows nothing of how a grid is drawn.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from core.errors import ArgumentError, PromptError
from core.intervene.contrast import Contrast
from core.intervene.patch import Trace, recipient_and_donor, trace
from core.pair.blocks import Blocks
from core.pair.gates import DIRECTIONS, Gates
from core.pair.pair import Pair
from core.pair.routes import padded_prefill

TOKENS_AT_ONCE = 1024


@dataclass(frozen=True)
class Cell:
    """One patch: one layer at one position.

    Attributes:
        layer: the layer patched.
        pos: the token whose activation was replaced, not the one predicted there, which is the next.
        k: mean KL(donor‖patched) over the target, nats; null where it was not computed or cannot differ from K(∅)
            because no prediction of the target comes after.
        kl_recovery: 1 − k/K(∅); null where k is, and where K(∅) is under five noise floors.
        logit_difference_recovery: null where k is, and where no prediction has a contrast above noise.
        attribution: what the gradient along the gates says of `kl_recovery`; null where it was not asked for.
    """

    layer: int
    pos: int
    k: float | None = None
    kl_recovery: float | None = None
    logit_difference_recovery: float | None = None
    attribution: float | None = None


@dataclass(frozen=True)
class PatchGrid:
    """Patches of one site.

    Attributes:
        site, direction: what was copied, and from which model into which.
        gained_id, lost_id: the contrasted tokens where the target is one prediction; else None.
        k_base: K(∅): mean KL of the untouched recipient from the donor over the target, nats.
        k_noise: by how much K(∅) changes by another numerical route.
        cells: by layer, then by position.
        forwards_equivalent: (layer, position) computations made, the two runs included, over those of one plain
            forward pass up to the last prediction of the target.
    """

    site: str
    direction: str
    gained_id: int | None
    lost_id: int | None
    k_base: float
    k_noise: float
    cells: tuple[Cell, ...]
    forwards_equivalent: float


@torch.no_grad()
def grid(
    pair: Pair,
    ids: Sequence[int],
    predicted: Sequence[int],
    site: str,
    layers: Sequence[int],
    positions: Sequence[int],
    direction: str = DIRECTIONS[0],
    progress: Callable[[float], None] | None = None,
    on_cells: Callable[[tuple[Cell, ...]], None] | None = None,
) -> PatchGrid:
    """Patches every chosen layer at every chosen position, each patch alone.

    Args:
        pair: the models.
        ids: the text both run on.
        predicted: the target: indices of the tokens whose predictions count; none of them 0.
        site: one of `SITES`.
        layers, positions: which cells.
        direction: `tuned-into-base`: tuned is the donor; or `base-into-tuned`.
        progress: told the share done, 0..1; may raise to stop.
        on_cells: given cells as they are found, some positions at a time.

    Raises:
        PromptError: there is no target, or every position lies after it.
        ArgumentError: site, layers or direction do not exist, or no layer is chosen.
    """
    run = _Run(pair, ids, predicted, site, layers, positions, direction)
    cells: dict[tuple[int, int], Cell] = {}
    work, done = sum(run.end - position for position in run.inside), 0
    for group in _groups(run.inside, run.end, len(run.found.joins)):
        new = run.cells(group)
        cells.update(new)
        done += sum(run.end - position for position in group)
        if on_cells:
            on_cells(tuple(new.values()))
        if progress:
            progress(done / work)
    gained, lost = run.effects.contrasted_ids or (None, None)
    return PatchGrid(
        site=site,
        direction=direction,
        gained_id=gained,
        lost_id=lost,
        k_base=run.effects.k_base,
        k_noise=run.effects.k_noise,
        cells=tuple(cells.get(key, Cell(*key)) for key in product(sorted(set(layers)), sorted(set(positions)))),
        forwards_equivalent=run.n_run / (run.end * pair.n_layers),
    )


class _Run:
    """Two models on one text, and cells of it as they are asked for.

    Attributes:
        end: how many positions matter: up to the last that predicts the target.
        inside: chosen positions among them.
        found: recipient, donor and what the patches put in.
        effects: what cells are held against.
        n_run: (layer, position) computations made.
    """

    def __init__(
        self,
        pair: Pair,
        ids: Sequence[int],
        predicted: Sequence[int],
        site: str,
        layers: Sequence[int],
        positions: Sequence[int],
        direction: str,
    ) -> None:
        where = sorted({index - 1 for index in predicted})
        if not where:
            raise PromptError("No token is left to score.", "Choose another target or a longer answer.")
        self.end = where[-1] + 1
        self.inside = sorted({position for position in positions if 0 <= position < self.end})
        if not layers:
            raise ArgumentError("No layer is chosen.", "Choose at least one.")
        if not self.inside:
            raise PromptError(
                f"No chosen position comes before the target's last prediction, of token {self.end}.",
                "Choose earlier positions, or a later target.",
            )
        recipient, donor = recipient_and_donor(pair, direction)
        self._where, self._recipient = where, recipient
        self._blocks = Blocks(pair, ids[: self.end])
        self.found = trace(pair, self._blocks, site, layers, direction)
        ends = self._blocks.finish(torch.stack([self.found.inputs[-1], self.found.donor_output])[:, where])
        again = padded_prefill(pair, ids[: self.end], Gates.stack([recipient, donor]))[:, where]
        self.effects = Contrast(pair, ends[0], ends[1], again)
        self.n_run = 2 * self.end * pair.n_layers

    def cells(self, group: Sequence[int]) -> dict[tuple[int, int], Cell]:
        """Every chosen layer at neighbouring positions."""
        states, n_run = _walk(self._blocks, self.found, group, self._recipient)
        self.n_run += n_run
        first = sum(position < group[0] for position in self._where)
        own = [position - group[0] for position in self._where[first:]]
        results = self.effects.of_rows(self._blocks.finish(states[:, own]), first)
        return {
            key: Cell(*key, effect.k, effect.kl_recovery, effect.logit_difference_recovery)
            for key, effect in zip(product(sorted(self.found.joins), group), results, strict=True)
        }


def _groups(positions: Sequence[int], end: int, n_layers: int) -> Iterator[list[int]]:
    """Neighbouring positions that run together from the first of them on.

    Near the end of the text the rows of one position are too few tokens to keep the processor busy.
    """
    group: list[int] = []
    for position in positions:
        if group:
            length = end - group[0]
            full = n_layers * length * (len(group) + 1) > TOKENS_AT_ONCE
            if full or position - group[0] > length // 4:
                yield group
                group = []
        group.append(position)
    if group:
        yield group


def _walk(blocks: Blocks, found: Trace, group: Sequence[int], recipient: Gates) -> tuple[Tensor, int]:
    """What leaves the last layer in each cell of a group, (cells, pos from the first, d_model), and its cost."""
    start, n_layers = group[0], len(found.keys)
    part = blocks.suffix(start, found.keys, found.values)
    cells = list(product(sorted(found.joins), group))
    length = found.inputs.shape[1] - start
    states = found.inputs.new_empty(len(cells), length, found.inputs.shape[2])
    n_joined, run = 0, 0
    at_once = max(1, TOKENS_AT_ONCE // length)
    for layer in range(found.joins[cells[0][0]], n_layers + 1):
        while n_joined < len(cells) and found.joins[cells[n_joined][0]] == layer:
            patched, position = cells[n_joined]
            states[n_joined] = found.inputs[layer, start:]
            states[n_joined, position - start] = found.entries[patched][position]
            n_joined += 1
        for first in range(0, n_joined if layer < n_layers else 0, at_once):
            rows = slice(first, min(first + at_once, n_joined))
            states[rows] = part.layer(layer, states[rows], recipient.take([0] * (rows.stop - rows.start)))
            run += length * (rows.stop - rows.start)
    return states, run
