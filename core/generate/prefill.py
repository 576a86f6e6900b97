"""Reading a prompt, a piece at a time, so that others who are decoding need not wait for all of it.

Knows ids, gates and a cache; chooses no tokens.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from core.generate.cache import RowCache
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.patches import RowPatch
from core.pair.shared_rows import RowsInTurn, in_turn, sharing


@dataclass(frozen=True, eq=False)
class PromptRead:
    """Keys and values of a prompt that has been read, for whoever reads on from it once more.

    Attributes:
        cache: of distinct rows; not to be extended.
        which: of every row that was asked for, the row of `cache` it equals.
    """

    cache: RowCache
    which: tuple[int, ...]

    def rows(self, first: int, n_rows: int) -> "PromptRead":
        """Of some adjacent rows, and of the two last: base and tuned."""
        return PromptRead(self.cache, (*self.which[first : first + n_rows], *self.which[-2:]))

    def copy(self, rows: Sequence[int], length: int) -> RowCache:
        """A cache of its own with some rows' first positions."""
        cache = self.cache.copy([self.which[row] for row in rows])
        cache.shorten(length)
        return cache


class Prefill:
    """Rows that read the same ids.

    Args:
        pair: the models.
        ids: what is read.
        gates: one row each; equal rows are read once, and rows whose lower layers are equal read those once, unless
            activations are patched.
        keep_from: states are kept from this position on.
        patches: between these rows.
        read: what these rows have read before `keep_from`; None reads from the beginning.
        n_first: read so many of the rows before the others, where that does not take much longer.

    Attributes:
        n_read: how many positions all rows have read.
    """

    def __init__(
        self,
        pair: Pair,
        ids: Sequence[int],
        gates: Gates,
        keep_from: int,
        patches: Sequence[RowPatch] = (),
        read: PromptRead | None = None,
        n_first: int = 0,
    ) -> None:
        self._pair, self._ids, self._patches, self._keep_from = pair, tuple(ids), tuple(patches), keep_from
        every = list(range(gates.n_rows))
        self._distinct, self._which = (every, every) if patches else gates.distinct()
        self._gates = gates.take(self._distinct).to(pair.device)
        self._cache = RowCache() if read is None else read.copy(self._distinct, keep_from)
        alone = bool(patches) or read is not None
        self._shared = None if alone else sharing(pair, self._gates, len(self._ids))
        first = 0 if alone else max(self._which[:n_first], default=-1) + 1
        self._in_turn = in_turn(pair, self._gates, self._ids, first)
        self._kept: list[Tensor] = []
        self.n_read = self._cache.length

    @property
    def n_rows(self) -> int:
        """How many rows are run."""
        return len(self._distinct)

    @property
    def done(self) -> bool:
        """Whether everything has been read."""
        return self.n_read == len(self._ids)

    def last(self, rows: Sequence[int]) -> Tensor | None:
        """States at the last position, (len(rows), d_model), of rows read before the others; None of any other row."""
        which = [self._which[row] for row in rows]
        if self._in_turn is None or max(which) >= len(self._in_turn.states):
            return None
        return torch.stack([self._in_turn.states[row][-1] for row in which])

    @torch.no_grad()
    def advance(self, at_most: int) -> None:
        """Reads on by at most so many positions, or whole rows where some come before the others: one forward pass."""
        if self._in_turn is not None and (self._in_turn.states or at_most >= len(self._ids)):
            self._read_rows(self._in_turn)
            return
        self._in_turn = None
        start, stop = self.n_read, min(len(self._ids), self.n_read + max(1, at_most))
        piece = self._ids[start:stop]
        if self._shared is not None:
            states = self._shared.hidden(piece, self._cache)
        else:
            ids = self._pair.ids([piece] * self.n_rows)
            states = self._pair.hidden(ids, self._gates, cache=self._cache, patches=self._patches)
        self.n_read = stop
        if stop > self._keep_from:
            self._kept.append(states[:, max(0, self._keep_from - start) :].clone())
        if self.done and self._shared is not None:
            self._cache.spread(self._shared.rows)
            self._shared = None

    def _read_rows(self, rows: RowsInTurn) -> None:
        """Reads the next rows; once all are read it is as if they had been read together."""
        if not rows.done:
            rows.read_next(RowCache())
        if rows.done:
            cache = RowCache.stacked([rows.layers(number) for number in range(self._pair.n_layers)])
            cache.spread(rows.rows)
            self._cache, self._kept = cache, [torch.stack([own[self._keep_from :] for own in rows.states])]
            self.n_read, self._in_turn = len(self._ids), None

    def read(self) -> PromptRead:
        """What has been read, to be asked for before `result` hands the cache on."""
        return PromptRead(RowCache([copy(layer) for layer in self._cache.layers]), tuple(self._which))

    def result(self) -> tuple[RowCache, Tensor]:
        """The cache of all rows, and their states, (rows, pos from `keep_from`, d_model). To be taken once."""
        cache, states = self._cache, torch.cat(self._kept, dim=1)
        self._kept = []
        if len(self._distinct) < len(self._which):
            cache.keep(self._which)
        return cache, states[self._which]
