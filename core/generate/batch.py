"""One batch that several requests decode in together: they join, write a token a step, and leave.

Every row has its own gates and its own length: shorter rows are padded on the left, where nothing attends. Knows rows,
their cache and how tokens are chosen; knows nothing of requests, scores or pages.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from core.generate.cache import RowCache
from core.generate.prefill import Prefill
from core.generate.seat import Finished, Seat, Step
from core.pair.gates import Gates
from core.pair.memory import memory_for
from core.pair.pair import Pair
from core.pair.patches import RowPatch


class Batch:
    """Seats decoding together, one forward pass a step.

    Not for several threads at once: whoever steps also lets seats join and leave.
    """

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._seats: list[Seat] = []
        self._pads: list[int] = []
        self._cache: RowCache | None = None
        self._bound: tuple[Gates, tuple[RowPatch, ...]] | None = None

    @property
    def seats(self) -> tuple[Seat, ...]:
        """Who is decoding."""
        return tuple(self._seats)

    @property
    def n_rows(self) -> int:
        """How many rows are decoded."""
        return len(self._pads)

    @torch.no_grad()
    def start(self, seat: Seat, prefill: Prefill) -> Step:
        """Chooses the first token of lanes whose rows have been read, where others are still being read.

        Args:
            seat: who will join.
            prefill: made by it.
        """
        ready = {lane: state for lane in seat.to_start() if (state := seat.last_read(lane, prefill)) is not None}
        return self._first(seat, list(ready), torch.stack(list(ready.values()))) if ready else Step({}, {})

    @torch.no_grad()
    def join(self, seat: Seat, cache: RowCache, states: Tensor) -> Step:
        """Lets a seat in whose prompt has been read, and chooses the first tokens of lanes that have none.

        Args:
            seat: who joins.
            cache: of its rows, and of extra rows under them, which are left out; used up.
            states: (rows, 1 + len(begun), d_model) from the last token of the prompt on.
        """
        own = seat.own(states[: seat.n_rows])
        seat.begin(own[:, :-1])
        lanes = seat.to_start()
        step = self._first(seat, lanes, own[[seat.writing.index(lane) for lane in lanes], -1])
        kept = seat.rows_kept({lane: ended for lane in seat.writing if (ended := seat.finished[lane]) is not None})
        if kept:
            length = len(seat.prompt_ids) + len(seat.begun)
            cache.keep(kept)
            if self._cache is None:
                self._cache, self._pads = cache, [0] * len(kept)
            else:
                before = self._cache.length
                self._cache.join(cache)
                grown = self._cache.length
                self._pads = [pad + grown - before for pad in self._pads] + [grown - length] * len(kept)
            self._seats.append(seat)
            self._bound = None
        return step

    @torch.no_grad()
    def step(self) -> dict[Seat, Step]:
        """Writes one token in every lane that still writes.

        Raises:
            DeviceMemoryError: the device ran out of memory; batch and seats are as they were before.
        """
        if self._cache is None:
            return {}
        with self._all_or_nothing():
            gates, patches = self._rows()
            ids = [[token] for seat in self._seats for token in seat.last_ids()]
            mask = self._mask(self._cache.length + 1)
            states = self._pair.hidden(
                self._pair.ids(ids), gates, attention_mask=mask, cache=self._cache, patches=patches
            )[:, -1]
            steps = self._written(states)
        return steps

    def leave(self, seat: Seat) -> None:
        """Takes a seat's rows out.

        Raises:
            DeviceMemoryError: the device ran out of memory; batch and seats are as they were before.
        """
        if seat in self._seats:
            ended: dict[int, Finished] = dict.fromkeys(seat.writing, "stopped")
            with self._all_or_nothing():
                self._drop({seat: Step({}, ended)})

    def clear(self) -> None:
        """Takes everyone out."""
        self._seats, self._pads, self._cache, self._bound = [], [], None, None

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Takes back what its body has done to seats and cache where it fails."""
        cache, marks = self._cache, [(seat, seat.mark()) for seat in self._seats]
        length = cache.length if cache is not None else 0
        try:
            with memory_for(f"{self.n_rows} rows of one batch"):
                yield
        except Exception:
            for seat, mark in marks:
                seat.restore(mark)
            if cache is not None:
                cache.shorten(length)
            raise

    def _rows(self) -> tuple[Gates, tuple[RowPatch, ...]]:
        """Gates and patches of the batch, made anew only when rows have come or gone."""
        if self._bound is None:
            patches: list[RowPatch] = []
            row = 0
            for seat in self._seats:
                patches += seat.patches(row)
                row += seat.n_rows
            self._bound = (Gates.stack([seat.gates() for seat in self._seats]).to(self._pair.device), tuple(patches))
        return self._bound

    def _mask(self, length: int) -> Tensor | None:
        if not any(self._pads):
            return None
        pads = torch.tensor(self._pads, device=self._pair.device).unsqueeze(1)
        return (torch.arange(length, device=self._pair.device) >= pads).long()

    def _written(self, states: Tensor) -> dict[Seat, Step]:
        owns, row = [], 0
        for seat in self._seats:
            owns.append(seat.own(states[row : row + seat.n_rows]))
            row += seat.n_rows
        steps = self._chosen(self._seats, owns)
        if any(step.finished for step in steps.values()):
            self._drop(steps)
        return steps

    def _first(self, seat: Seat, lanes: Sequence[int], states: Tensor) -> Step:
        """The first token of some lanes of a seat, from the (lanes, d_model) states that predict it."""
        if seat.wants_best:
            return seat.write(self._pair.unembed.best(states).tolist(), lanes)
        return seat.take(self._pair.unembed(states), lanes)

    def _chosen(self, seats: Sequence[Seat], owns: Sequence[Tensor]) -> dict[Seat, Step]:
        """The next tokens of some seats, from the (lanes, d_model) last states of each."""
        states, sizes = torch.cat(list(owns)), [len(own) for own in owns]
        if all(seat.wants_best for seat in seats):
            best = torch.split(self._pair.unembed.best(states), sizes)
            return {seat: seat.write(own.tolist()) for seat, own in zip(seats, best, strict=True)}
        logits = torch.split(self._pair.unembed(states), sizes)
        return {seat: seat.take(own) for seat, own in zip(seats, logits, strict=True)}

    def _drop(self, steps: dict[Seat, Step]) -> None:
        """Takes ended lanes out of the batch, and the padding that no row needs any more."""
        kept: list[int] = []
        row = 0
        for seat in self._seats:
            n_rows = seat.n_rows
            kept += [row + own for own in seat.rows_kept(steps[seat].finished if seat in steps else {})]
            row += n_rows
        if not kept or self._cache is None:
            self.clear()
            return
        spare = min(self._pads[row] for row in kept)
        self._cache.keep(kept, spare)
        self._pads = [self._pads[row] - spare for row in kept]
        self._seats = [seat for seat in self._seats if seat.writing]
        self._bound = None
