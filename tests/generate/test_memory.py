"""A device that is full in the middle of something: nothing is half done, and the next try goes on from there."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from core.errors import DeviceMemoryError
from core.generate import scoring as scoring_module
from core.generate.batch import Batch
from core.generate.cache import BufferedLayer, RowCache
from core.generate.lane import Lane
from core.generate.lanes import Decoding, start_alone
from core.generate.sampling import RowSampler, Sampling
from core.generate.scored import ScoredDecoding
from core.generate.scoring import LaneScores, Scoring, reading_along
from core.generate.seat import Seat
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.unembed import Unembedding
from tests.generate.test_scoring import enter, joined

PROMPT = [5, 80, 33]
SAMPLED = Sampling(0.8, 0.95, seed=3)


@contextmanager
def full(patch: pytest.MonkeyPatch, owner: object, name: str, at_call: int = 1) -> Iterator[list[int]]:
    """The device is full once, when a function is called for the nth time; yields how often it was."""
    function, calls, failed = getattr(owner, name), 0, [0]

    def once(*args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        if calls == at_call:
            failed[0] += 1
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return function(*args, **kwargs)

    with patch.context() as context:
        context.setattr(owner, name, once)
        yield failed


def hybrid(pair: Pair, layer: int) -> Lane:
    return Lane("hybrid", Gates.graft(pair.n_layers, [layer]))


def filled(n_rows: int, length: int) -> RowCache:
    cache = RowCache()
    for layer in range(3):
        cache.update(torch.rand(n_rows, 2, length, 4), torch.rand(n_rows, 2, length, 4), layer)
    return cache


def test_a_cache_that_cannot_take_rows_in_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = filled(2, 5)
    before = [layer.keys.clone() for layer in cache.layers]
    with full(monkeypatch, BufferedLayer, "joined", 2), pytest.raises(DeviceMemoryError):
        cache.join(filled(1, 9))
    with full(monkeypatch, BufferedLayer, "copy_rows", 2), pytest.raises(DeviceMemoryError):
        cache.keep([1], 2)
    for layer, keys in zip(cache.layers, before, strict=True):
        assert torch.equal(layer.keys, keys)


@pytest.mark.parametrize(
    ("owner", "name", "at_call"),
    [(Unembedding, "__call__", 3), (RowSampler, "choose", 8), (BufferedLayer, "copy_rows", 2)],
)
def test_a_step_is_taken_whole_or_not_at_all(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, at_call: int
) -> None:
    """Full at the logits, between the choices of two lanes, or where a lane that has ended is let go."""
    lanes = [hybrid(pair, 1), hybrid(pair, 2)]
    alone = [Decoding(pair, PROMPT, lanes, SAMPLED, n) for n in (12, 6)]
    for decoding in alone:
        list(decoding)
    seats = [Seat(pair, PROMPT, lanes, SAMPLED, n) for n in (12, 6)]
    batch = Batch(pair)
    for seat in seats:
        start_alone(batch, seat)
    n_failed = 0
    with full(monkeypatch, owner, name, at_call) as failed:
        while batch.seats:
            written = [list(map(len, seat.tokens)) for seat in seats]
            try:
                batch.step()
            except DeviceMemoryError:
                n_failed += 1
                assert written == [list(map(len, seat.tokens)) for seat in seats]
    assert (n_failed, failed) == (1, [1])
    assert [seat.tokens for seat in seats] == [decoding.tokens for decoding in alone]


def test_a_seat_that_cannot_leave_is_still_there(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    seats = [Seat(pair, PROMPT, [hybrid(pair, layer)], Sampling(), 12) for layer in (1, 2)]
    batch = Batch(pair)
    for seat in seats:
        start_alone(batch, seat)
    with full(monkeypatch, BufferedLayer, "copy_rows", 2), pytest.raises(DeviceMemoryError):
        batch.leave(seats[0])
    while batch.seats:
        batch.step()
    for seat in seats:
        alone = Decoding(pair, PROMPT, seat.lanes, Sampling(), 12)
        list(alone)
        assert seat.tokens == alone.tokens


@pytest.mark.parametrize(
    ("owner", "name", "at_call"), [(Unembedding, "__call__", 2), (scoring_module, "score_logits", 2)]
)
def test_what_could_not_be_scored_is_scored_the_next_time(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, at_call: int
) -> None:
    """Full at the logits of what base and tuned have read, or where they are compared."""
    monkeypatch.setattr(scoring_module, "UNEMBEDDED_AT_ONCE", 12)
    seat = Seat(pair, PROMPT, [hybrid(pair, 1), hybrid(pair, 2)], Sampling(), 40, (), reading_along(pair))
    batch, scoring = Batch(pair), Scoring(pair)
    enter(pair, batch, scoring, seat)
    found: list[LaneScores] = list(scoring.take(seat))
    n_failed = 0
    while batch.seats:
        batch.step()
        waiting = scoring._waiting(seat)
        if n_failed or not scoring._is_due(seat):
            scoring.advance()
        else:
            with full(monkeypatch, owner, name, at_call) as failed, pytest.raises(DeviceMemoryError):
                scoring.advance()
            n_failed += failed[0]
            assert scoring.take(seat) == ()
            assert scoring._waiting(seat) == waiting
        found += scoring.take(seat)
    assert n_failed == 1
    alone = ScoredDecoding(pair, PROMPT, seat.lanes, Sampling(), 40)
    expected = [scores for update in alone for scores in update.scores]
    for lane in (0, 1):
        for figure in ("kl_tuned_base", "kl_to_base", "delta_logp"):
            assert joined(found, lane, figure) == pytest.approx(joined(expected, lane, figure), abs=2e-5)
