"""Lanes scored while they are written: how far base and tuned part on every token of every lane.

Base and tuned follow each lane's text in rows of their own, a few tokens at a time, which costs a fraction of
decoding. Knows decoding and position scores; knows nothing of pages.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.generate.batch import Batch, Finished, Seat, Step
from core.generate.cache import RowCache
from core.generate.followers import Followers
from core.generate.lane import Lane
from core.generate.lanes import POSITIONS_AT_ONCE
from core.generate.sampling import Sampling, coupled_choices, sampled_logits
from core.measure.divergence import kl_from_log, log_softmax, total_variation
from core.measure.positions import PositionScores, score_log_probs
from core.pair.gates import Gates
from core.pair.pair import Pair

CHUNK = 8
AT_ONCE = 32


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
class Update:
    """What one step brought: tokens written, lanes ended, and scores of tokens written before.

    Attributes:
        tokens: lane → token.
        finished: lanes that ended, and how.
        scores: newly scored stretches; a lane's scores follow its tokens by at most `CHUNK` tokens.
    """

    tokens: dict[int, int]
    finished: dict[int, Finished]
    scores: tuple[LaneScores, ...]


class Scoring:
    """Lanes of one seat, scored as they grow.

    Args:
        pair: the models.
        lanes: as for `Seat`; those that are base or tuned need no followers there.
        sampling: how they choose tokens.

    Attributes:
        extra_gates: rows the seat's prefill must read besides: base and tuned.
    """

    def __init__(self, pair: Pair, lanes: Sequence[Lane], sampling: Sampling) -> None:
        self.extra_gates = Gates.stack([pair.base_gates(), pair.tuned_gates()])
        self._pair, self._sampling = pair, sampling
        self._is_base = [lane.is_base for lane in lanes]
        self._is_tuned = [lane.is_tuned for lane in lanes]
        self._followers = Followers(pair, self._is_base, self._is_tuned)
        self._scored = [0] * len(lanes)

    def start(self, seat: Seat, cache: RowCache, states: Tensor) -> None:
        """Takes over prompt and beginning: the last two rows of cache and states are base and tuned."""
        self._followers.start(cache, states[-2], states[-1], len(seat.begun))

    def update(self, seat: Seat, step: Step) -> Update:
        """What a step brought, with scores where enough tokens wait for them."""
        pending = max(len(seat.tokens[lane]) - self._scored[lane] for lane in step.tokens)
        first = self._scored[next(iter(step.tokens))] == 0
        scores = self._score(seat, list(step.tokens)) if first or pending >= CHUNK or step.finished else ()
        self._followers.drop(set(step.finished))
        return Update(step.tokens, step.finished, scores)

    def finish(self, seat: Seat) -> tuple[LaneScores, ...]:
        """Scores the last tokens of stopped lanes and frees the followers."""
        lanes = [lane for lane, how in enumerate(seat.finished) if how is None and seat.hidden[lane]]
        scores = self._score(seat, lanes) if lanes else ()
        self.release()
        return scores

    def release(self) -> None:
        """Frees the followers."""
        self._followers.release()

    @torch.no_grad()
    def _score(self, seat: Seat, lanes: list[int]) -> tuple[LaneScores, ...]:
        """Scores what the writing lanes wrote since the last time; they all wrote equally much."""
        start, stop = self._scored[lanes[0]], len(seat.tokens[lanes[0]])
        if start == stop:
            return ()
        followed = self._followers.follow({lane: seat.tokens[lane] for lane in lanes}, start, stop)
        states = {}
        for lane in lanes:
            own = states[lane, "own"] = torch.stack(seat.hidden[lane][start:stop])
            states[lane, "base"] = own if self._is_base[lane] else followed[lane, "base"]
            states[lane, "tuned"] = own if self._is_tuned[lane] else followed[lane, "tuned"]
        result = []
        for first in range(0, stop - start, AT_ONCE):
            logits = self._unembedded({key: own[first : first + AT_ONCE] for key, own in states.items()})
            for lane in lanes:
                written = seat.tokens[lane][start:stop][first : first + AT_ONCE]
                of_lane = (logits[lane, kind] for kind in ("own", "base", "tuned"))
                result.append(self._compare(lane, start + first, written, *of_lane))
        for lane in lanes:
            self._scored[lane] = stop
            seat.hidden[lane][start:stop] = [torch.empty(0)] * (stop - start)
        return tuple(result)

    def _unembedded(self, states: dict[tuple[int, str], Tensor]) -> dict[tuple[int, str], Tensor]:
        """Logits of all states in one product; a base lane's own are base's, and so on."""
        alone = {key: own for key, own in states.items() if not self._is_own(key)}
        pieces = torch.split(self._pair.unembed(torch.cat(list(alone.values()))), [len(own) for own in alone.values()])
        found = dict(zip(alone, pieces, strict=True))
        return found | {(lane, kind): found[lane, "own"] for lane, kind in states if self._is_own((lane, kind))}

    def _is_own(self, key: tuple[int, str]) -> bool:
        lane, kind = key
        return (kind == "base" and self._is_base[lane]) or (kind == "tuned" and self._is_tuned[lane])

    def _compare(
        self, lane: int, first: int, written: Sequence[int], own: Tensor, base: Tensor, tuned: Tensor
    ) -> LaneScores:
        """Scores from (n, d_vocab) logits of the lane, of base and of tuned."""
        log_base, log_tuned = log_softmax(base), log_softmax(tuned)
        positions = score_log_probs(log_base, log_tuned, self._pair.ids([written])[0], self._pair.prompts.end_ids)
        zero = torch.zeros(len(written), dtype=torch.float64)
        if self._is_base[lane]:
            to_base, to_tuned = zero, positions.values["kl_base_tuned"]
        elif self._is_tuned[lane]:
            to_base, to_tuned = positions.values["kl_tuned_base"], zero
        else:
            log_own = log_softmax(own)
            to_base, to_tuned = (kl_from_log(log_own, other).cpu() for other in (log_base, log_tuned))
        if not self._sampling.coupled:
            return LaneScores(lane, first, positions, to_base, to_tuned)
        chosen = [coupled_choices(self._sampling, each, first) for each in (base, tuned)]
        parted = torch.tensor([a != b for a, b in zip(*chosen, strict=True)])
        drawn = total_variation(*(sampled_logits(self._sampling, each) for each in (base, tuned))).double()
        return LaneScores(lane, first, positions, to_base, to_tuned, parted, drawn)


class ScoredDecoding(Iterator[Update]):
    """Decodes lanes of one prompt and scores them on the way, in the caller's thread.

    Args:
        pair, prompt_ids, lanes, sampling, max_new_tokens, begun: as for `Seat`.

    Attributes:
        seat: what has been written.
    """

    def __init__(
        self,
        pair: Pair,
        prompt_ids: Sequence[int],
        lanes: Sequence[Lane],
        sampling: Sampling = Sampling(),  # noqa: B008  (frozen)
        max_new_tokens: int = 128,
        begun: Sequence[int] = (),
    ) -> None:
        self.scoring = Scoring(pair, lanes, sampling)
        self.seat = Seat(pair, prompt_ids, lanes, sampling, max_new_tokens, begun, self.scoring.extra_gates)
        self._batch = Batch(pair)
        self._started = False

    def __next__(self) -> Update:
        if not self.seat.writing:
            self.scoring.release()
            raise StopIteration
        if self._started:
            return self.scoring.update(self.seat, self._batch.step()[self.seat])
        self._started = True
        prefill = self.seat.prefill()
        while not prefill.done:
            prefill.advance(POSITIONS_AT_ONCE)
        return self.scoring.update(self.seat, enter(self._batch, self.seat, self.scoring, *prefill.result()))


def enter(batch: Batch, seat: Seat, scoring: Scoring, cache: RowCache, states: Tensor) -> Step:
    """Lets a seat into a batch together with its scoring."""
    scoring.start(seat, cache, states)
    return batch.join(seat, cache, states)
