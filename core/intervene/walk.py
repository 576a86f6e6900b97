"""Many plans on one text by walking the layers once: the prefix tree.

Plans that agree on layers 0..l share all computation up to l; rows part where plans part. The cost is the number of
distinct (layer, prefix) pairs. Knows layers and gates; knows no metric.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.pair.blocks import Blocks, unwalkable
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.prefixes import prefix_levels

ROWS_AT_ONCE = 16
MEMORY_BYTES = 512 * 2**20


@dataclass(frozen=True, eq=False)
class Walk:
    """Hidden states of many plans.

    Attributes:
        hidden: (plans, positions, d_model) after the final norm.
        layer_rows: (layer, row) computations made.
        rows_by_plan: of these, the ones each plan was the first to need.
        n_layers: a plain forward makes so many a row.
        shared: False where each plan took a forward pass of its own, because this architecture's layers cannot be run
            one at a time.
    """

    hidden: Tensor
    layer_rows: int
    rows_by_plan: tuple[int, ...]
    n_layers: int
    shared: bool = True

    @property
    def forwards_equivalent(self) -> float:
        """How many plain forward passes of one row that is."""
        return self.layer_rows / self.n_layers


@torch.no_grad()
def walk(
    pair: Pair,
    ids: Sequence[int],
    gates: Gates,
    positions: Sequence[int],
    memory_bytes: int = MEMORY_BYTES,
    progress: Callable[[float], None] | None = None,
) -> Walk:
    """Runs every row of gates over one text.

    Args:
        pair: the models.
        ids: the text.
        gates: one row a plan, without a position axis.
        positions: where hidden states are wanted.
        memory_bytes: bound for the buffers; plans are taken in groups where they exceed it, and share nothing
            between groups.
        progress: told the share done, 0..1, after each layer; may raise to stop.

    Returns:
        States in the order of the plans. Where this architecture's layers cannot be run one at a time, they come from
        one forward pass per plan.
    """
    if unwalkable(pair, len(ids)):
        return _one_by_one(pair, ids, gates, positions, progress)
    blocks = Blocks(pair, ids)
    start = blocks.start()
    row_bytes = 2 * start[0].numel() * start.element_size()
    n_at_once = max(1, memory_bytes // row_bytes)
    where = torch.tensor(list(positions), device=start.device)
    found: list[Tensor] = []
    counts: list[int] = []
    for first in range(0, gates.n_rows, n_at_once):
        rows = range(first, min(first + n_at_once, gates.n_rows))
        done, share = first / gates.n_rows, len(rows) / gates.n_rows

        def tell(layers: int, done: float = done, share: float = share) -> None:
            if progress:
                progress(done + share * layers / pair.n_layers)

        states, own = _walk_group(blocks, start, gates.take(rows), where, tell)
        found.append(states)
        counts += own
    return Walk(torch.cat(found), blocks.n_rows_run, tuple(counts), pair.n_layers)


def _one_by_one(
    pair: Pair,
    ids: Sequence[int],
    gates: Gates,
    positions: Sequence[int],
    progress: Callable[[float], None] | None,
) -> Walk:
    """The same states from one forward pass per distinct plan."""
    distinct, which = gates.distinct()
    found = []
    for number, row in enumerate(distinct):
        found.append(pair.hidden(pair.ids([ids]), gates.take([row]))[0, list(positions)])
        if progress:
            progress((number + 1) / len(distinct))
    counts = tuple(pair.n_layers if row in distinct else 0 for row in range(gates.n_rows))
    hidden = torch.stack([found[k] for k in which])
    return Walk(hidden, sum(counts), counts, pair.n_layers, shared=False)


def _walk_group(
    blocks: Blocks, start: Tensor, gates: Gates, where: Tensor, tell: Callable[[int], None]
) -> tuple[Tensor, list[int]]:
    """The states of some plans, and how many rows each was the first to need."""
    levels = prefix_levels(gates)
    counts = [0] * gates.n_rows
    buffers = start.new_empty(2, gates.n_rows, *start.shape[1:])
    buffers[0, :1] = start
    for layer, level in enumerate(levels):
        before, after = buffers[layer % 2], buffers[1 - layer % 2]
        for plan in level.firsts:
            counts[plan] += 1
        for first in range(0, len(level.parents), ROWS_AT_ONCE):
            rows = slice(first, min(first + ROWS_AT_ONCE, len(level.parents)))
            after[rows] = blocks.layer(layer, before[list(level.parents[rows])], gates.take(level.firsts[rows]))
        tell(layer + 1)
    last = buffers[len(levels) % 2]
    return torch.stack([blocks.finish(last[node][where]) for node in levels[-1].node_of]), counts
