"""Scores of what a batch writes: how far base and tuned part on every token of every lane.

Base and tuned follow the lanes' texts in rows of their own. What all lanes of all seats have written is read and scored
together, every few tokens. Knows seats and position scores; knows nothing of requests and pages.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.generate.batch import Batch
from core.generate.cache import RowCache
from core.generate.followers import Followers, Model
from core.generate.sampling import Sampling, coupled_partings, sampled_logits
from core.generate.seat import Seat, Step
from core.measure.divergence import total_variation
from core.measure.positions import PositionScores, score_logits
from core.pair.gates import Gates
from core.pair.memory import memory_for
from core.pair.pair import Pair

CHUNK = 8
"""Scores follow the first tokens by at most so many, so that colours come soon."""
LONGEST = 32
"""And later ones by at most so many, as long as few rows are read at a time."""
POSITIONS = 128
"""Reading more than so many at once is hardly quicker for each."""
UNEMBEDDED_AT_ONCE = 96


@dataclass(frozen=True, eq=False)
class LaneScores:
    """Scores of consecutive tokens of one lane.

    Attributes:
        lane: which.
        first: index into the answer of the first token scored here.
        positions: base against tuned on these tokens.
        kl_to_base, kl_to_tuned: KL(lane‖base) and KL(lane‖tuned) per token, nats.
        parted: whether base and tuned would have chosen differently under the lanes' shared noise, per token; None
            where sampling is not coupled.
        drawn_tv: total variation of what they draw from, after temperature and top-p, per token, 0..1; None likewise.
    """

    lane: int
    first: int
    positions: PositionScores
    kl_to_base: Tensor
    kl_to_tuned: Tensor
    parted: Tensor | None = None
    drawn_tv: Tensor | None = None


@dataclass(frozen=True, eq=False)
class _Stretch:
    """Tokens of one lane to be scored; a model that is the lane itself has no states of its own."""

    seat: Seat
    lane: int
    first: int
    states: dict[Model, Tensor]
    own: Tensor

    @property
    def n_states(self) -> int:
        return sum(len(states) for states in self.states.values())


def reading_along(pair: Pair) -> Gates:
    """Rows that a scored seat's prefill must read besides its own: base and tuned."""
    return Gates.stack([pair.base_gates(), pair.tuned_gates()])


class Scoring:
    """Lanes of the seats of one batch, scored as they grow.

    Args:
        pair: the models.
    """

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._followers = Followers(pair)
        self._scored: dict[Seat, list[int]] = {}
        self._found: dict[Seat, list[LaneScores]] = {}
        self._beginnings: dict[Seat, list[_Stretch]] = {}

    @torch.no_grad()
    def enter(self, batch: Batch, seat: Seat, cache: RowCache, states: Tensor) -> Step:
        """Lets a seat into a batch whose prompt has been read. `begin`, before every step as long as `is_beginning`,
        scores its first tokens.

        Args:
            batch: where it writes.
            seat: who joins; its prefill has read the rows of `reading_along` too.
            cache: of its rows, then base and tuned; used up.
            states: (rows, 1 + len(begun), d_model) from the last token of the prompt on.
        """
        self._followers.join(seat, cache)
        self._scored[seat], self._found[seat] = [0] * len(seat.lanes), []
        step = batch.join(seat, cache, states)
        read: dict[Model, Tensor] = {"base": states[-2], "tuned": states[-1]}
        self._beginnings[seat] = [self._stretch(seat, lane, read) for lane in range(len(seat.lanes))]
        return step

    def is_beginning(self, seat: Seat) -> bool:
        """Whether first tokens of a seat are not scored yet; what it writes meanwhile waits."""
        return seat in self._beginnings

    @torch.no_grad()
    def begin(self, seat: Seat) -> None:
        """Scores first tokens of a seat that has entered, once they have been shown; a long beginning piece by piece.

        Raises:
            DeviceMemoryError: the device ran out of memory; the next time goes on from there.
        """
        stretches, n_scored = self._beginnings.get(seat, []), 0
        while stretches and n_scored < UNEMBEDDED_AT_ONCE:
            with memory_for("Scores of the first tokens"):
                found = self._of_beginning(stretches[0])
            if found.first + len(found.positions) > len(seat.begun):
                stretches.pop(0)
            if not stretches:
                del self._beginnings[seat]
            n_scored += len(found.positions)
            self._keep(seat, [found])

    def advance(self) -> None:
        """Scores what has been written, where enough of it waits or somebody has ended.

        Raises:
            DeviceMemoryError: the device ran out of memory; everything is as it was before.
        """
        if any(self._is_due(seat) for seat in self._scored):
            self._score()

    def take(self, seat: Seat) -> tuple[LaneScores, ...]:
        """What has been scored of a seat since the last time."""
        found = tuple(self._found.get(seat, ()))
        if found:
            self._found[seat] = []
        return found

    def finish(self, seat: Seat) -> tuple[LaneScores, ...]:
        """Scores the last tokens of a seat that writes no more, and lets it go."""
        while self.is_beginning(seat):
            self.begin(seat)
        if self._waiting(seat):
            self._score()
        found = self.take(seat)
        self.leave(seat)
        return found

    def leave(self, seat: Seat) -> None:
        """Lets a seat go, scored or not."""
        self._followers.drop(seat, set(range(len(seat.lanes))))
        self._scored.pop(seat, None)
        self._found.pop(seat, None)
        self._beginnings.pop(seat, None)

    def clear(self) -> None:
        """Lets everyone go."""
        self._followers.clear()
        self._scored.clear()
        self._found.clear()
        self._beginnings.clear()

    def _waiting(self, seat: Seat) -> int:
        """How many tokens of its longest lane are not scored yet."""
        scored = self._scored.get(seat)
        return max(len(own) - n for own, n in zip(seat.tokens, scored, strict=True)) if scored else 0

    def _is_due(self, seat: Seat) -> bool:
        if self.is_beginning(seat):
            return False
        waiting = self._waiting(seat)
        if not seat.writing:
            return waiting > 0
        if max(self._scored[seat]) < CHUNK:
            return waiting >= CHUNK
        return waiting >= min(LONGEST, max(CHUNK, POSITIONS // max(1, self._followers.n_rows())))

    @torch.no_grad()
    def _score(self) -> None:
        """Reads and scores everything that waits, whoever wrote it."""
        with memory_for("Scores of what was written"), self._followers.reading(self._beginnings) as read:
            found = self._scores(self._all_stretches(read))
        for seat, scores in found.items():
            self._keep(seat, scores)

    def _all_stretches(self, read: dict[tuple[Seat, int, Model], Tensor]) -> list[_Stretch]:
        """Of all seats but those whose beginning is not scored: nothing has been read for them."""
        stretches = []
        for seat, scored in self._scored.items():
            for lane in () if self.is_beginning(seat) else range(len(seat.lanes)):
                if len(seat.tokens[lane]) > scored[lane]:
                    models: tuple[Model, ...] = ("base", "tuned")
                    own = {model: read[seat, lane, model] for model in models if (seat, lane, model) in read}
                    stretches.append(self._stretch(seat, lane, own))
        return stretches

    def _scores(self, stretches: Sequence[_Stretch]) -> dict[Seat, list[LaneScores]]:
        found: dict[Seat, list[LaneScores]] = {}
        for group in _groups(stretches):
            states = [own for stretch in group for own in stretch.states.values()]
            logits = iter(torch.split(self._pair.unembed(torch.cat(states)), [len(own) for own in states]))
            for stretch in group:
                scores = self._compared(stretch, {model: next(logits) for model in stretch.states})
                found.setdefault(stretch.seat, []).append(scores)
        return found

    def _stretch(self, seat: Seat, lane: int, states: dict[Model, Tensor]) -> _Stretch:
        itself: dict[Model, bool] = {"base": seat.lanes[lane].is_base, "tuned": seat.lanes[lane].is_tuned}
        needed = {model: found for model, found in states.items() if not itself[model]}
        return _Stretch(seat, lane, self._scored[seat][lane], needed, torch.stack(seat.logits[lane]))

    def _of_beginning(self, stretch: _Stretch) -> LaneScores:
        """Scores of the next of the tokens a lane was given to begin with, and at last of its first own."""
        given, start = stretch.seat.hidden[stretch.lane], self._scored[stretch.seat][stretch.lane]
        at = slice(start, start + UNEMBEDDED_AT_ONCE)
        own = [self._pair.unembed(torch.stack(given[at]))] if given[at] else []
        own += [stretch.own] if start + UNEMBEDDED_AT_ONCE > len(given) else []
        states = {model: every[at] for model, every in stretch.states.items()}
        piece = _Stretch(stretch.seat, stretch.lane, start, states, torch.cat(own))
        return self._compared(piece, {model: self._pair.unembed(every) for model, every in states.items()})

    def _keep(self, seat: Seat, found: Sequence[LaneScores]) -> None:
        """Takes scores in, and lets go of what they were made of."""
        for scores in found:
            self._found[seat].append(scores)
            self._scored[seat][scores.lane] = scores.first + len(scores.positions)
            seat.scored(scores.lane, self._scored[seat][scores.lane])
        self._followers.drop(seat, {lane for lane in range(len(seat.lanes)) if self._is_over(seat, lane)})

    def _is_over(self, seat: Seat, lane: int) -> bool:
        return seat.finished[lane] is not None and self._scored[seat][lane] == len(seat.tokens[lane])

    def _compared(self, stretch: _Stretch, logits: dict[Model, Tensor]) -> LaneScores:
        """Scores from the logits of the lane and of the models it is not."""
        own, lane = stretch.own, stretch.seat.lanes[stretch.lane]
        base, tuned = logits.get("base", own), logits.get("tuned", own)
        tokens = stretch.seat.tokens[stretch.lane][stretch.first : stretch.first + len(own)]
        other = None if lane.is_base or lane.is_tuned else own
        positions, distances = score_logits(base, tuned, self._pair.ids([tokens])[0], self._pair.prompts.end_ids, other)
        zero = torch.zeros(len(own), dtype=torch.float64)
        if distances is not None:
            to_base, to_tuned = distances
        elif lane.is_base:
            to_base, to_tuned = zero, positions.values["kl_base_tuned"]
        else:
            to_base, to_tuned = positions.values["kl_tuned_base"], zero
        drawn = _drawn(stretch.seat.sampling, stretch.first, base, tuned)
        return LaneScores(stretch.lane, stretch.first, positions, to_base, to_tuned, *drawn)


def _groups(stretches: Sequence[_Stretch]) -> list[list[_Stretch]]:
    """Stretches whose states go through the unembedding in one product."""
    groups: list[list[_Stretch]] = []
    size = 0
    for stretch in stretches:
        if not groups or size + stretch.n_states > UNEMBEDDED_AT_ONCE:
            groups.append([])
            size = 0
        groups[-1].append(stretch)
        size += stretch.n_states
    return groups


def _drawn(sampling: Sampling, first: int, base: Tensor, tuned: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Whether coupled rows would part, and the total variation of what they draw from."""
    if not sampling.coupled:
        return None, None
    parted = torch.tensor(coupled_partings(sampling, base, tuned, first))
    return parted, total_variation(*(sampled_logits(sampling, each) for each in (base, tuned))).double()
