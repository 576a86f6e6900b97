"""What one request writes in a batch: some lanes over one prompt, and what has been written in them.

Knows its own rows and tokens; runs nothing but the reading of its prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from core.errors import ArgumentError, TooLongError
from core.generate.lane import Lane, gates_of, own_states, patches_of
from core.generate.prefill import Prefill
from core.generate.sampling import RowSampler, SamplerMark, Sampling
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.patches import RowPatch

Finished = Literal["end", "length", "stopped", "failed"]


@dataclass(frozen=True)
class Step:
    """What one step wrote.

    Attributes:
        tokens: lane → the token it wrote.
        finished: lanes that ended with this step, and how.
    """

    tokens: dict[int, int]
    finished: dict[int, Finished]

    def after(self, other: "Step") -> "Step":
        """Both as one: another step wrote other lanes before."""
        return Step(other.tokens | self.tokens, other.finished | self.finished)


@dataclass(frozen=True, eq=False)
class SeatMark:
    """How far a seat was: per lane its number of tokens, of logits kept, its ending and sampler; who wrote."""

    n_tokens: tuple[int, ...]
    n_logits: tuple[int, ...]
    finished: tuple[Finished | None, ...]
    samplers: tuple[SamplerMark, ...]
    writing: tuple[int, ...]


class Seat:
    """What one request writes: some lanes over one prompt.

    Args:
        pair: the models.
        prompt_ids: the prompt, the same for all lanes.
        lanes: the answers to write.
        sampling: how tokens are chosen; unless lanes share their noise, each has a generator under a seed of its own.
        max_new_tokens: at most so many tokens a lane, those it begins with included; but at least one of its own.
        begun: tokens every lane's answer begins with, before it writes its own.
        extra_gates: further rows that read prompt and beginning, for whoever calls `Prefill.result`. Where there are
            such, somebody means to score what is written, and logits are kept until `scored` says so.

    Attributes:
        tokens: per lane, the tokens so far, end-of-turn token included.
        hidden: per lane, the (d_model,) states that predicted the tokens it begins with.
        logits: per lane, the (d_vocab,) logits its last tokens were chosen from, as far as they are kept.
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
        self.logits: list[list[Tensor]] = [[] for _ in lanes]
        self.sampling = sampling
        self.finished: list[Finished | None] = [None] * len(lanes)
        self.writing = list(range(len(lanes)))
        self._limit = min(max(max_new_tokens, len(begun) + 1), room)
        self._samplers = [RowSampler(_own(sampling, lane, begun), len(begun)) for lane in lanes]
        self._extra = extra_gates

    @property
    def n_rows(self) -> int:
        """How many rows its writing lanes take."""
        return sum(self.lanes[lane].n_rows for lane in self.writing)

    @property
    def n_tokens(self) -> int:
        """How many positions its rows have: the prompt, and what the longest lane has."""
        return len(self.prompt_ids) + max(map(len, self.tokens))

    def prefill(self, first_lane_first: bool = False) -> Prefill:
        """Reads prompt and beginning, for all lanes and the extra rows; for the first lane before others if asked to.

        That is done where it does not take much longer.
        """
        rows = self.gates() if self._extra is None else Gates.stack([self.gates(), self._extra])
        ids = (*self.prompt_ids, *self.begun)
        n_first = self.lanes[0].n_rows if first_lane_first else 0
        return Prefill(self.pair, ids, rows, len(self.prompt_ids) - 1, self.patches(0), n_first=n_first)

    def gates(self) -> Gates:
        """Of the rows of the lanes that write."""
        return gates_of(self._writing_lanes())

    def patches(self, first_row: int) -> tuple[RowPatch, ...]:
        """Between those rows, the first of which is `first_row` of a batch."""
        return patches_of(self._writing_lanes(), first_row)

    def last_ids(self) -> list[int]:
        """The token each row reads next."""
        return [self.tokens[lane][-1] for lane in self.writing for _ in range(self.lanes[lane].n_rows)]

    def own(self, states: Tensor) -> Tensor:
        """States of its rows, (rows, …, d_model), as states of the lanes that write: (lanes, …, d_model)."""
        return own_states(self._writing_lanes(), states)

    def to_start(self) -> list[int]:
        """The lanes that have no token of their own yet."""
        return [lane for lane in self.writing if len(self.tokens[lane]) == len(self.begun)]

    def last_read(self, lane: int, prefill: Prefill) -> Tensor | None:
        """The (d_model,) state that predicts a lane's first token; None unless its rows were read before the others.

        While others are read, of the `prefill` made here.
        """
        first, own = sum(other.n_rows for other in self.lanes[:lane]), self.lanes[lane]
        states = prefill.last(range(first, first + own.n_rows))
        return None if states is None else own_states([own], states)[0]

    def begin(self, states: Tensor) -> None:
        """Takes the states that predicted the tokens the lanes begin with: (lanes, len(begun), d_model)."""
        for lane, own in zip(self.writing, states, strict=True):
            self.hidden[lane] += list(own)

    def scored(self, lane: int, n: int) -> None:
        """Lets go of what the first `n` tokens of a lane were chosen from."""
        kept = max(0, len(self.tokens[lane]) - n)
        del self.logits[lane][: max(0, len(self.logits[lane]) - kept)]
        if n > len(self.begun):
            self.hidden[lane].clear()

    @property
    def wants_best(self) -> bool:
        """Whether all it needs of its logits is which is the highest."""
        return self.sampling.temperature == 0 and self._extra is None

    def take(self, logits: Tensor, lanes: Sequence[int] | None = None) -> Step:
        """Chooses the next token of some lanes, from (lanes, d_vocab) logits; without any named, of all that write."""
        lanes = self.writing if lanes is None else lanes
        chosen = [self._samplers[lane].choose(logits[row]) for row, lane in enumerate(lanes)]
        if self._extra is not None:
            for row, lane in enumerate(lanes):
                self.logits[lane].append(logits[row])
        return self.write(chosen, lanes)

    def write(self, chosen: Sequence[int], lanes: Sequence[int] | None = None) -> Step:
        """Gives some lanes their next token; without any named, all that write."""
        lanes = self.writing if lanes is None else lanes
        ended: dict[int, Finished] = {}
        for lane, token in zip(lanes, chosen, strict=True):
            self.tokens[lane].append(token)
            if token in self.pair.prompts.end_ids:
                ended[lane] = "end"
            elif len(self.tokens[lane]) >= self._limit:
                ended[lane] = "length"
            self.finished[lane] = ended.get(lane)
        return Step(dict(zip(lanes, chosen, strict=True)), ended)

    def mark(self) -> SeatMark:
        """How far it is, for going back where a step fails."""
        return SeatMark(
            tuple(map(len, self.tokens)),
            tuple(map(len, self.logits)),
            tuple(self.finished),
            tuple(sampler.mark() for sampler in self._samplers),
            tuple(self.writing),
        )

    def restore(self, mark: SeatMark) -> None:
        """Forgets every token taken since."""
        for lane in range(len(self.lanes)):
            del self.tokens[lane][mark.n_tokens[lane] :], self.logits[lane][mark.n_logits[lane] :]
            self._samplers[lane].restore(mark.samplers[lane])
        self.finished, self.writing = list(mark.finished), list(mark.writing)

    def _writing_lanes(self) -> list[Lane]:
        return [self.lanes[lane] for lane in self.writing]

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


def _own(sampling: Sampling, lane: Lane, begun: Sequence[int]) -> Sampling:
    """How one lane chooses its tokens."""
    return sampling if sampling.coupled else replace(sampling, seed=lane.own_seed(sampling.seed, begun))
