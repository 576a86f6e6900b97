"""One scoring for everyone: what each gets beside others is what it gets alone, and what `diff` says of its text."""

import random

import pytest
import torch
from torch import Tensor

from core.errors import DeviceMemoryError
from core.generate.batch import Batch
from core.generate.lane import Lane, amplified_lane, patched_lane
from core.generate.prefill import Prefill
from core.generate.record import AGAIN_AT_ONCE, LaneRecord, rows_of
from core.generate.sampling import Sampling
from core.generate.scored import ScoredDecoding
from core.generate.scoring import LONGEST, UNEMBEDDED_AT_ONCE, LaneScores, Scoring, reading_along
from core.generate.seat import Seat
from core.measure.diff import diff
from core.measure.noise import noise_of
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.prompts import Message, Prompt


def question(pair: Pair, text: str) -> Prompt:
    return pair.prompts.chat([Message(role="user", content=text)])


def enter(pair: Pair, batch: Batch, scoring: Scoring, seat: Seat) -> None:
    prefill = seat.prefill()
    prefill.advance(10_000)
    scoring.enter(batch, seat, *prefill.result())
    scoring.begin(seat)


def joined(found: list[LaneScores], lane: int, name: str) -> list[float]:
    own = sorted((scores for scores in found if scores.lane == lane), key=lambda scores: scores.first)
    assert [scores.first for scores in own] == [sum(len(s.positions) for s in own[:k]) for k in range(len(own))]
    if name in ("kl_to_base", "kl_to_tuned"):
        return torch.cat([getattr(scores, name) for scores in own]).tolist()
    return torch.cat([scores.positions.values[name] for scores in own]).tolist()


def random_seat(pair: Pair, number: int, dice: random.Random) -> tuple[Prompt, Seat]:
    prompt = question(pair, "Is it gout? " * dice.randrange(1, 4))
    base, tuned = pair.base_gates(), pair.tuned_gates()
    choices = [
        Lane("base", base),
        Lane("tuned", tuned),
        Lane("hybrid", Gates.graft(pair.n_layers, [number % pair.n_layers])),
        patched_lane("patched", base, tuned, "mlp_out", (1,)),
        amplified_lane("amplified", base, tuned, 0.5),
    ]
    lanes = dice.sample(choices, dice.randrange(1, 4))
    begun = [dice.randrange(40, 200) for _ in range(dice.choice([0, 0, 5]))]
    return prompt, Seat(pair, prompt.ids, lanes, Sampling(), dice.randrange(6, 60), begun, reading_along(pair))


def test_followers_shared_by_many_give_each_what_it_gets_alone(pair: Pair) -> None:
    dice = random.Random(5)
    made = [random_seat(pair, number, dice) for number in range(6)]
    batch, scoring = Batch(pair), Scoring(pair)
    found: dict[int, list[LaneScores]] = {number: [] for number in range(6)}
    waiting = list(range(6))
    while waiting or batch.seats:
        if waiting and (not batch.seats or dice.random() < 0.2):
            enter(pair, batch, scoring, made[waiting.pop(0)][1])
        else:
            batch.step()
            scoring.advance()
        for number, (_, seat) in enumerate(made):
            found[number] += scoring.take(seat)
            written = [len(tokens) for tokens in seat.tokens]
            scored = [sum(len(s.positions) for s in found[number] if s.lane == k) for k in range(len(seat.lanes))]
            assert all(n - m <= LONGEST for n, m in zip(written, scored, strict=True) if found[number])
    for number, (prompt, seat) in enumerate(made):
        alone = ScoredDecoding(pair, prompt.ids, seat.lanes, Sampling(), seat._limit, seat.begun)
        expected = [scores for update in alone for scores in update.scores]
        for lane, tokens in enumerate(seat.tokens):
            assert tokens == alone.seat.tokens[lane]
            for name in ("kl_tuned_base", "js_distance", "delta_logp", "kl_to_base", "kl_to_tuned"):
                own = joined(found[number], lane, name)
                assert len(own) == len(tokens)
                assert own == pytest.approx(joined(expected, lane, name), abs=1e-4), (number, lane, name)
            again = diff(pair, prompt, tokens).tokens[len(prompt.ids) :]
            for name in ("kl_tuned_base", "kl_base_tuned", "js", "tv", "entropy_base", "logp_tuned", "rank_base"):
                values = [float(getattr(token, name)) for token in again]
                assert joined(found[number], lane, name) == pytest.approx(values, abs=1e-4), (number, lane, name)
    assert scoring._followers.n_rows() == 0
    assert scoring._followers._cache is None


def test_a_long_beginning_is_scored_between_the_steps_of_all(pair: Pair) -> None:
    prompt = question(pair, "Is it gout?")
    lanes = [Lane("hybrid", Gates.graft(pair.n_layers, [1]))]
    begun = [40 + number % 150 for number in range(300)]
    other = Seat(pair, prompt.ids, [Lane("tuned", pair.tuned_gates())], Sampling(), 60, (), reading_along(pair))
    fork = Seat(pair, prompt.ids, lanes, Sampling(), 312, begun, reading_along(pair))
    batch, scoring = Batch(pair), Scoring(pair)
    enter(pair, batch, scoring, other)
    batch.step()
    prefill = fork.prefill()
    prefill.advance(10_000)
    scoring.enter(batch, fork, *prefill.result())
    found: dict[Seat, list[LaneScores]] = {other: [], fork: []}
    began = []
    while batch.seats or scoring.is_beginning(fork):
        scoring.begin(fork)
        own = scoring.take(fork)
        began.append(sum(len(scores.positions) for scores in own))
        found[fork] += own
        batch.step()
        scoring.advance()
        for seat, scores in found.items():
            scores += scoring.take(seat)
    assert max(began) <= UNEMBEDDED_AT_ONCE
    assert sum(n > 0 for n in began) == 4  # 301 tokens
    for seat, scores in found.items():
        tokens = diff(pair, prompt, seat.tokens[0]).tokens[len(prompt.ids) :]
        expected = [float(token.kl_tuned_base or 0) for token in tokens]
        assert joined(scores, 0, "kl_tuned_base") == pytest.approx(expected, abs=1e-4)


def test_a_beginning_that_a_full_device_stopped_goes_on_from_there(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = question(pair, "Is it gout?")
    lanes = [Lane("base", pair.base_gates()), Lane("hybrid", Gates.graft(pair.n_layers, [1]))]
    begun = [40 + number % 150 for number in range(130)]
    seat = Seat(pair, prompt.ids, lanes, Sampling(), 131, begun, reading_along(pair))
    batch, scoring = Batch(pair), Scoring(pair)
    prefill = seat.prefill()
    prefill.advance(10_000)
    scoring.enter(batch, seat, *prefill.result())
    whole, n_calls = Scoring._compared, 0

    def failing(self: Scoring, *args: object) -> LaneScores:
        nonlocal n_calls
        n_calls += 1
        if n_calls in (2, 5):
            raise DeviceMemoryError("It does not fit.", "Ask for less.")
        return whole(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Scoring, "_compared", failing)
    failed = 0
    while scoring.is_beginning(seat):
        try:
            scoring.begin(seat)
        except DeviceMemoryError:
            failed += 1
    assert failed == 2
    found = list(scoring.take(seat))
    for lane in range(2):
        expected = [
            float(t.kl_tuned_base or 0) for t in diff(pair, prompt, seat.tokens[lane]).tokens[len(prompt.ids) :]
        ]
        assert joined(found, lane, "kl_tuned_base") == pytest.approx(expected, abs=1e-4)


def test_logits_are_let_go_once_they_are_scored(pair: Pair) -> None:
    decoding = ScoredDecoding(pair, [5, 80, 33], [Lane("tuned", pair.tuned_gates())], Sampling(), 60)
    for _ in decoding:
        assert len(decoding.seat.logits[0]) < LONGEST
    assert decoding.seat.logits == [[]]


def test_what_a_full_device_stopped_is_scored_the_next_time(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    seat = Seat(pair, [5, 80, 33], [Lane("tuned", pair.tuned_gates())], Sampling(), 40, (), reading_along(pair))
    batch, scoring = Batch(pair), Scoring(pair)
    enter(pair, batch, scoring, seat)
    hidden, failed = Pair.hidden, 0

    def once(self: Pair, input_ids: Tensor, *args: object, **kwargs: object) -> Tensor:
        nonlocal failed
        if input_ids.shape[1] > 1 and not failed:
            failed += 1
            for layer in kwargs["cache"].layers[:1]:  # type: ignore[attr-defined]  # it fails in the middle
                layer.update(layer.keys[:, :, :1], layer.values[:, :, :1])
            raise DeviceMemoryError("It does not fit.", "Ask for less.")
        return hidden(self, input_ids, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Pair, "hidden", once)
    found: list[LaneScores] = []
    while batch.seats:
        batch.step()
        try:
            scoring.advance()
        except DeviceMemoryError:
            assert failed == 1
        found += scoring.take(seat)
    alone = ScoredDecoding(pair, seat.prompt_ids, seat.lanes, Sampling(), 40)
    expected = [scores for update in alone for scores in update.scores]
    assert joined(found, 0, "kl_tuned_base") == pytest.approx(joined(expected, 0, "kl_tuned_base"), abs=2e-5)


def test_reading_on_from_the_prompt_is_reading_everything(pair: Pair) -> None:
    """For the noise of its figures a text is read again from its prompt's last token on."""
    prompt = question(pair, "What is asthma?")
    base, tuned = pair.base_gates(), pair.tuned_gates()
    lanes = [Lane("base", base), amplified_lane("amplified", base, tuned, 0.5), Lane("tuned", tuned)]
    decoding = ScoredDecoding(pair, prompt.ids, lanes, Sampling(), 20)
    list(decoding)
    assert decoding.read is not None
    for number, (lane, read) in enumerate(zip(lanes, rows_of(lanes, decoding.read), strict=True)):
        ids = (*prompt.ids, *decoding.seat.tokens[number])[:-1]
        rows = Gates.stack([lane.gates, base, tuned])
        short = Prefill(pair, ids, rows, len(prompt.ids) - 1, read=read)
        whole = Prefill(pair, ids, rows, len(prompt.ids) - 1)
        assert (short.n_read, whole.n_read) == (len(prompt.ids) - 1, 0)
        for reading in (short, whole):
            while not reading.done:
                reading.advance(7)
        torch.testing.assert_close(short.result()[1], whole.result()[1], rtol=0, atol=1e-4)
        record = LaneRecord(lane)
        record.ids = decoding.seat.tokens[number]
        assert len(list(record.measure_again(pair, prompt, read))) == 1
        assert record.again is not None


def written(
    pair: Pair, begun: tuple[int, ...] = (), n_new: int = 70, coupled: bool = False
) -> tuple[Prompt, LaneRecord]:
    """A hybrid's answer, scored and read again."""
    prompt = question(pair, "What is asthma?")
    lane = Lane("hybrid", Gates.graft(pair.n_layers, [0, 2]))
    sampling = Sampling(1.0, 1.0, seed=3, coupled=True) if coupled else Sampling()
    decoding = ScoredDecoding(pair, prompt.ids, [lane], sampling, n_new, begun)
    record = LaneRecord(lane, begun)
    for update in decoding:
        record.add(0, update, pair.prompts)
    assert decoding.read is not None
    list(record.measure_again(pair, prompt, rows_of([lane], decoding.read)[0]))
    return prompt, record


def test_how_much_may_be_read_at_once_does_not_change_the_noise(pair: Pair) -> None:
    prompt = question(pair, "What is asthma?")
    lane = Lane("hybrid", Gates.graft(pair.n_layers, [0, 2]))
    decoding = ScoredDecoding(pair, prompt.ids, [lane], Sampling(), 100)
    list(decoding)
    assert decoding.read is not None
    (read,) = rows_of([lane], decoding.read)
    found, pauses = set(), []
    for at_once in (1, 2 * AGAIN_AT_ONCE, 4096):
        record = LaneRecord(lane)
        record.ids = decoding.seat.tokens[0]
        pauses.append(len(list(record.measure_again(pair, prompt, read, lambda _, n=at_once: n))))
        found.add(record.again)
    passes = -(-len(decoding.seat.tokens[0]) // AGAIN_AT_ONCE)
    assert passes > 2
    assert pauses == [passes, -(-passes // 2), 1]
    assert len(found) == 1


def test_no_noise_is_smaller_than_the_floor_save_of_itself(pair: Pair) -> None:
    prompt, record = written(pair)
    answer = record.answer(pair.prompts, prompt)
    floor = noise_of(pair).kl
    assert floor > 0
    assert min(answer.kl_to_base_noise or 0, answer.kl_to_tuned_noise or 0) >= floor
    record.again = (answer.kl_to_base, (answer.kl_to_tuned or 0) + 1)
    answer = record.answer(pair.prompts, prompt)
    assert (answer.kl_to_base_noise, answer.kl_to_tuned_noise) == (floor, pytest.approx(1))
    record.lane, record.again = Lane("base", pair.base_gates()), (answer.kl_to_base, answer.kl_to_tuned)
    answer = record.answer(pair.prompts, prompt)
    assert (answer.kl_to_base_noise, answer.kl_to_tuned_noise) == (0, floor)


def test_figures_of_an_answer_leave_out_what_it_was_begun_with(pair: Pair) -> None:
    begun = (60, 71, 90, 44, 120)
    prompt, record = written(pair, begun, 30, coupled=True)
    answer = record.answer(pair.prompts, prompt)
    own = [k for k, part in enumerate(answer.parts) if part in ("reasoning", "answer") and k >= len(begun)]
    assert 0 < len(own) <= len(answer.ids) - len(begun)
    for name in ("kl_to_base", "kl_to_tuned"):
        scores = joined(record.scores, 0, name)
        mean = sum(scores[k] for k in own) / len(own)
        assert getattr(answer, name) == pytest.approx(mean)
        assert abs(getattr(answer, name) - sum(scores) / len(scores)) > 1e-3
        assert 0 < getattr(answer, f"{name}_noise") < 1e-3  # what was read again is the same tokens
    for name, field in (("mean_tv", "drawn_tv"), ("parting_rate", "parted")):
        values = torch.cat([getattr(scores, field) for scores in record.scores]).double().tolist()
        assert getattr(answer, name) == pytest.approx(sum(values[k] for k in own) / len(own))


def test_an_answer_without_tokens_of_its_own_has_no_figures(pair: Pair) -> None:
    prompt, record = written(pair, n_new=30, coupled=True)
    known = record.answer(pair.prompts, prompt)
    assert None not in (known.kl_to_base, known.kl_to_tuned, known.mean_tv, known.parting_rate)
    record.n_begun = len(record.ids)
    answer = record.answer(pair.prompts, prompt)
    assert (answer.kl_to_base, answer.kl_to_tuned, answer.mean_tv, answer.parting_rate) == (None,) * 4
