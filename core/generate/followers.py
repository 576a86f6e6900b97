"""Base and tuned reading along: rows that follow what all lanes of a batch write, a few tokens at a time.

All that has been written since the last time is read in one forward pass, whoever wrote it. Rows that have less to
read than others read nothing in the first places of the pass, and nothing ever attends there. Knows tokens and caches;
knows no scores.
"""

from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from core.generate.cache import RowCache
from core.generate.seat import Seat
from core.pair.gates import Gates
from core.pair.pair import Pair

Model = Literal["base", "tuned"]


@dataclass(eq=False)
class _Row:
    """One model reading one lane; `read` is how many tokens of the answer it has read."""

    seat: Seat
    lane: int
    model: Model
    read: int


class Followers:
    """Rows of base and tuned, for every lane that is not that model itself.

    Args:
        pair: the models.
    """

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._rows: list[_Row] = []
        self._cache: RowCache | None = None
        self._seen = torch.ones(0, 0, dtype=torch.bool)
        self._gates: Gates | None = None

    def n_rows(self, seat: Seat | None = None) -> int:
        """How many there are, of one seat or of all."""
        return sum(seat is None or row.seat is seat for row in self._rows)

    def join(self, seat: Seat, cache: RowCache) -> None:
        """Lets a seat in whose prompt and beginning have been read.

        Args:
            seat: who joins.
            cache: its last two rows are base and tuned; copied.
        """
        lanes = list(enumerate(seat.lanes))
        rows = [_Row(seat, number, "base", len(seat.begun)) for number, lane in lanes if not lane.is_base]
        rows += [_Row(seat, number, "tuned", len(seat.begun)) for number, lane in lanes if not lane.is_tuned]
        n_before = cache.layers[0].keys.shape[0]
        own = cache.copy([n_before - 2 if row.model == "base" else n_before - 1 for row in rows])
        length = own.length
        if self._cache is None:
            self._cache, self._seen = own, self._seen.new_ones(len(rows), length)
        else:
            before = self._cache.length
            self._cache.join(own)
            grown = self._cache.length
            seen = self._seen.new_zeros(len(self._rows) + len(rows), grown)
            seen[: len(self._rows), grown - before :] = self._seen
            seen[len(self._rows) :, grown - length :] = True
            self._seen = seen
        self._rows += rows
        self._gates = None

    @contextmanager
    def reading(self, waiting: Container[Seat] = ()) -> Iterator[dict[tuple[Seat, int, Model], Tensor]]:
        """Reads what has been written since the last time, but for each lane's last token.

        Where the body of the `with` fails, nothing has been read, and the next time reads it again. Without gradients
        only.

        Args:
            waiting: seats for which nothing is read yet.

        Yields:
            By seat, lane and model, the (n, d_model) states after each token read: each predicts the next one.

        Raises:
            DeviceMemoryError: the device ran out of memory; everything is as it was before.
        """
        new = [[] if row.seat in waiting else row.seat.tokens[row.lane][row.read : -1] for row in self._rows]
        width = max(map(len, new), default=0)
        if not width or self._cache is None:
            yield {}
            return
        ids = self._pair.ids([[0] * (width - len(tokens)) + tokens for tokens in new])
        seen = torch.cat([self._seen, self._seen.new_ones(len(new), width)], dim=1)
        before = self._cache.length
        for row, tokens in zip(seen, new, strict=True):
            row[before : before + width - len(tokens)] = False
        mask = None if bool(seen.all()) else seen.long().to(self._pair.device)
        try:
            states = self._pair.hidden(ids, self._bound(), attention_mask=mask, cache=self._cache)
            yield {
                (follower.seat, follower.lane, follower.model): row_states[width - len(tokens) :]
                for row_states, follower, tokens in zip(states, self._rows, new, strict=True)
            }
        except Exception:
            self._cache.shorten(before)
            raise
        self._seen = seen
        for follower, tokens in zip(self._rows, new, strict=True):
            follower.read += len(tokens)

    def drop(self, seat: Seat, lanes: set[int]) -> None:
        """Lets the followers of some lanes go, and the positions that no row needs any more."""
        kept = [k for k, row in enumerate(self._rows) if row.seat is not seat or row.lane not in lanes]
        if len(kept) == len(self._rows):
            return
        if not kept or self._cache is None:
            self.clear()
            return
        spare = int(self._seen[kept].any(dim=0).int().argmax())
        self._cache.keep(kept, spare)
        self._rows = [self._rows[k] for k in kept]
        self._gates = None
        self._seen = self._seen[kept, spare:]

    def clear(self) -> None:
        """Lets everyone go."""
        self._rows, self._cache, self._gates = [], None, None
        self._seen = self._seen.new_ones(0, 0)

    def _bound(self) -> Gates:
        """Gates of the rows, made anew only when rows have come or gone."""
        if self._gates is None:
            values = [Gates.uniform(self._pair.n_layers, float(row.model == "tuned")) for row in self._rows]
            self._gates = Gates.stack(values).to(self._pair.device)
        return self._gates
