"""One batch that several requests decode in together: they join, write a token a step, and leave.

Every row has its own gates and its own length: shorter rows are padded on the left, where nothing attends. Knows rows,
their cache and how tokens are chosen; knows nothing of requests, scores or pages.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from core.errors import ArgumentError, TooLongError
from core.generate.cache import RowCache
from core.generate.lane import Lane
from core.generate.prefill import Prefill
from core.generate.sampling import RowSampler, Sampling
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.patches import RowPatch

Finished = Literal["end", "length", "stopped"]


@dataclass(frozen=True)
class Step:
    """What one step wrote.

    Attributes:
        tokens: lane → the token it wrote.
        finished: lanes that ended with this step, and how.
    """

    tokens: dict[int, int]
    finished: dict[int, Finished]


class Seat:
    """What one request writes: some lanes over one prompt.

    Args:
        pair: the models.
        prompt_ids: the prompt, the same for all lanes.
        lanes: the answers to write.
        sampling: how tokens are chosen; each lane has its own generator.
        max_new_tokens: at most so many tokens a lane, those it begins with included; but at least one of its own.
        begun: tokens every lane's answer begins with, before it writes its own.
        extra_gates: further rows that read prompt and beginning, for whoever calls `Prefill.result`.

    Attributes:
        tokens: per lane, the tokens so far, end-of-turn token included.
        hidden: per lane, the (d_model,) states that predicted its tokens, in order; their unembedding is the lane's
            logits.
        finished: per lane, how it ended; None while it writes.
        writing: the lanes that still write.

    Raises:
        TooLongError: there is no room for a single token.
        ArgumentError: no lanes, or no tokens asked for.
    """

    def __init__(
        self,
        pair: Pair,
        prompt_ids: Sequence[int],
        lanes: Sequence[Lane],
        sampling: Sampling,
        max_new_tokens: int,
        begun: Sequence[int] = (),
        extra_gates: Gates | None = None,
    ) -> None:
        if max_new_tokens < 1:
            raise ArgumentError(f"max_new_tokens is {max_new_tokens}.", "Ask for at least one token.")
        if not lanes:
            raise ArgumentError("No lanes were asked for.", "Ask for at least one.")
        room = pair.max_positions - len(prompt_ids)
        if room < len(begun) + 1:
            raise TooLongError(
                f"The prompt has {len(prompt_ids) + len(begun):,} tokens; the context holds {pair.max_positions:,}.",
                "Shorten it.",
            )
        self.pair, self.prompt_ids, self.lanes, self.begun = pair, tuple(prompt_ids), tuple(lanes), tuple(begun)
        self.tokens = [list(begun) for _ in lanes]
        self.hidden: list[list[Tensor]] = [[] for _ in lanes]
        self.finished: list[Finished | None] = [None] * len(lanes)
        self.writing = list(range(len(lanes)))
        self._limit = min(max(max_new_tokens, len(begun) + 1), room)
        self._samplers = [RowSampler(sampling, len(begun)) for _ in lanes]
        self._extra = extra_gates

    @property
    def n_rows(self) -> int:
        """How many rows its writing lanes take."""
        return sum(self.lanes[lane].n_rows for lane in self.writing)

    @property
    def n_tokens(self) -> int:
        """How many positions its rows have: the prompt, and what the longest lane has."""
        return len(self.prompt_ids) + max(map(len, self.tokens))

    def prefill(self) -> Prefill:
        """Reads prompt and beginning, for all lanes and the extra rows."""
        rows = self.gates() if self._extra is None else Gates.stack([self.gates(), self._extra])
        ids = (*self.prompt_ids, *self.begun)
        return Prefill(self.pair, ids, rows, len(self.prompt_ids) - 1, self.patches(0))

    def gates(self) -> Gates:
        """Of the rows of the lanes that write."""
        return Gates.stack([self.lanes[lane].gates for lane in self.writing])

    def patches(self, first_row: int) -> tuple[RowPatch, ...]:
        """Between those rows, the first of which is `first_row` of a batch."""
        found: list[RowPatch] = []
        for lane in self.writing:
            found += self.lanes[lane].patches(first_row)
            first_row += self.lanes[lane].n_rows
        return tuple(found)

    def last_ids(self) -> list[int]:
        """The token each row reads next."""
        return [self.tokens[lane][-1] for lane in self.writing for _ in range(self.lanes[lane].n_rows)]

    def own(self, states: Tensor) -> Tensor:
        """States of rows, (rows, …, d_model), as states of the lanes that write: (lanes, …, d_model).

        The unembedding is linear, so a weighted sum of logits is the logits of the weighted sum of states.
        """
        if len(states) > len(self.writing):
            states = states.float()  # as the logits are; sums in half precision would lose what they are about
        found, row = [], 0
        for lane in self.writing:
            weights = self.lanes[lane].weights
            if sum(map(bool, weights)) == 1:
                found.append(states[row + weights.index(1.0)])
            else:
                found.append(torch.tensordot(states.new_tensor(weights), states[row : row + len(weights)], 1))
            row += len(weights)
        return torch.stack(found)

    def begin(self, states: Tensor) -> None:
        """Takes the states that predicted the tokens the lanes begin with: (lanes, len(begun), d_model)."""
        for lane, own in zip(self.writing, states, strict=True):
            self.hidden[lane] += list(own)

    def take(self, states: Tensor, logits: Tensor) -> Step:
        """Chooses each writing lane's next token, from (lanes, d_model) and (lanes, d_vocab)."""
        written: dict[int, int] = {}
        ended: dict[int, Finished] = {}
        for row, lane in enumerate(self.writing):
            token = self._samplers[lane].choose(logits[row])
            self.tokens[lane].append(token)
            self.hidden[lane].append(states[row])
            written[lane] = token
            if token in self.pair.prompts.end_ids:
                ended[lane] = "end"
            elif len(self.tokens[lane]) >= self._limit:
                ended[lane] = "length"
            self.finished[lane] = ended.get(lane)
        return Step(written, ended)

    def rows_kept(self, ended: dict[int, Finished]) -> list[int]:
        """Takes ended lanes out; which of the rows before are left."""
        kept: list[int] = []
        row = 0
        for lane in self.writing:
            n_rows = self.lanes[lane].n_rows
            if lane not in ended:
                kept += range(row, row + n_rows)
            row += n_rows
        self.writing = [lane for lane in self.writing if lane not in ended]
        return kept


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
    def join(self, seat: Seat, cache: RowCache, states: Tensor) -> Step:
        """Lets a seat in whose prompt has been read, and chooses its first tokens.

        Args:
            seat: who joins.
            cache: of its rows, and of extra rows under them, which are left out; used up.
            states: (rows, 1 + len(begun), d_model) from the last token of the prompt on.
        """
        own = seat.own(states[: seat.n_rows])
        seat.begin(own[:, :-1])
        step = seat.take(own[:, -1], self._pair.unembed(own[:, -1]))
        kept = seat.rows_kept(step.finished)
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
            DeviceMemoryError: the device ran out of memory; the batch is as it was before.
        """
        if self._cache is None:
            return {}
        gates, patches = self._rows()
        length = self._cache.length
        try:
            ids = [[token] for seat in self._seats for token in seat.last_ids()]
            states = self._pair.hidden(
                self._pair.ids(ids), gates, attention_mask=self._mask(length + 1), cache=self._cache, patches=patches
            )[:, -1]
        except Exception:
            self._cache.shorten(length)
            raise
        return self._written(states)

    def leave(self, seat: Seat) -> None:
        """Takes a seat's rows out."""
        if seat in self._seats:
            ended: dict[int, Finished] = dict.fromkeys(seat.writing, "stopped")
            self._drop({seat: Step({}, ended)})

    def clear(self) -> None:
        """Takes everyone out."""
        self._seats, self._pads, self._cache, self._bound = [], [], None, None

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
        logits = torch.split(self._pair.unembed(torch.cat(owns)), [len(own) for own in owns])
        steps = {seat: seat.take(own, z) for seat, own, z in zip(self._seats, owns, logits, strict=True)}
        if any(step.finished for step in steps.values()):
            self._drop(steps)
        return steps

    def _drop(self, steps: dict[Seat, Step]) -> None:
        """Takes ended lanes out of the batch, and the padding that no row needs any more."""
        kept: list[int] = []
        row = 0
        for seat in self._seats:
            n_rows = seat.n_rows
            kept += [row + own for own in seat.rows_kept(steps[seat].finished if seat in steps else {})]
            row += n_rows
        self._seats = [seat for seat in self._seats if seat.writing]
        self._bound = None
        if not kept or self._cache is None:
            self.clear()
            return
        self._pads = [self._pads[row] for row in kept]
        spare = min(self._pads)
        self._cache.keep(kept, spare)
        self._pads = [pad - spare for pad in self._pads]
