"""A long prompt is read for the first lane before the others: its first token comes early, and nothing else changes."""

import random
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from core.generate.answers import ask
from core.generate.batch import Batch
from core.generate.lane import Lane, amplified_lane
from core.generate.lanes import Decoding
from core.generate.requests import Status
from core.generate.sampling import Sampling
from core.generate.scoring import Scoring, reading_along
from core.generate.seat import Seat, Step
from core.generate.worker import Worker
from core.generate.writing import Job, Pause, Writing
from core.measure.diff import diff
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.prompts import Message, Prompt
from core.pair.shared_rows import IN_TURN_FROM
from tests.oracle import generate, plain_base, plain_tuned

SAMPLED = Sampling(temperature=1.0, seed=3)


def long_prompt(pair: Pair) -> Prompt:
    prompt = pair.prompts.chat([Message(role="user", content="Is it gout, or is it not? " * 12)])
    assert len(prompt.ids) > IN_TURN_FROM
    return prompt


def three_lanes(pair: Pair) -> tuple[Lane, ...]:
    hybrid = Lane("hybrid", Gates.graft(pair.n_layers, [pair.n_layers - 1]))
    return Lane("base", pair.base_gates()), hybrid, Lane("tuned", pair.tuned_gates())


def alone(pair: Pair, prompt: Prompt, lane: Lane, sampling: Sampling, n: int) -> list[int]:
    decoding = Decoding(pair, prompt.ids, [lane], sampling, n)
    for _ in decoding:
        pass
    return decoding.tokens[0]


def started(
    pair: Pair, lanes: tuple[Lane, ...], sampling: Sampling, n: int, prompt: Prompt | None = None
) -> tuple[Batch, Seat, list[Step]]:
    """A seat whose prompt has been read and that has joined, and the steps that wrote its first tokens."""
    batch, scoring = Batch(pair), Scoring(pair)
    seat = Seat(pair, (prompt or long_prompt(pair)).ids, lanes, sampling, n, (), reading_along(pair))
    prefill, steps = seat.prefill(first_lane_first=True), []
    while not prefill.done:
        prefill.advance(10_000)
        steps.append(batch.start(seat, prefill))
    steps[-1] = scoring.enter(batch, seat, *prefill.result())
    return batch, seat, steps


def between_two_reads(pair: Pair, n: int) -> tuple[Writing, Batch, Scoring, Generator[Pause, None, Status]]:
    """A request whose first lane has read the prompt, where it writes and is scored, and the rest of its work."""
    request = Writing(Job(long_prompt(pair), three_lanes(pair), Sampling(), n), "me")
    batch, scoring = Batch(pair), Scoring(pair)
    request.at_once = 10_000
    pieces = request.pieces(pair, batch, scoring)
    assert [next(pieces), next(pieces)] == ["work", "work"]
    return request, batch, scoring, pieces


@pytest.mark.parametrize("sampling", [Sampling(), SAMPLED])
def test_the_first_lane_has_its_token_before_the_others_are_read(pair: Pair, sampling: Sampling) -> None:
    lanes, prompt = three_lanes(pair), long_prompt(pair)
    batch, seat, steps = started(pair, lanes, sampling, 12)
    assert [sorted(step.tokens) for step in steps] == [[0], [1, 2]]
    while seat.writing:
        batch.step()
    assert seat.tokens == [alone(pair, prompt, lane, sampling, 12) for lane in lanes]


def test_a_lane_of_two_rows_can_be_the_first(pair: Pair) -> None:
    amplified = amplified_lane("amplified", pair.base_gates(), pair.tuned_gates(), 0.5)
    lanes = (amplified, three_lanes(pair)[1])
    batch, seat, steps = started(pair, lanes, Sampling(), 8)
    assert [sorted(step.tokens) for step in steps] == [[0], [1]]
    while seat.writing:
        batch.step()
    assert seat.tokens == [alone(pair, long_prompt(pair), lane, Sampling(), 8) for lane in lanes]


def test_a_lane_that_ends_with_its_first_token_takes_no_row(pair: Pair) -> None:
    base, _, tuned = three_lanes(pair)
    end, other = (alone(pair, long_prompt(pair), lane, Sampling(), 1)[0] for lane in (base, tuned))
    assert end != other
    own = pair.prompts.end_ids
    pair.prompts.end_ids = (end,)
    try:
        batch, seat, steps = started(pair, (base, tuned), Sampling(), 6)
        assert steps == [Step({0: end}, {0: "end"}), Step({1: other}, {})]
        assert (seat.writing, batch.n_rows) == ([1], 1)
        batch.step()
        assert [len(tokens) for tokens in seat.tokens] == [1, 2]
    finally:
        pair.prompts.end_ids = own


def test_a_prompt_read_piece_by_piece_or_a_short_one_starts_all_lanes_at_once(pair: Pair) -> None:
    seat = Seat(pair, long_prompt(pair).ids, three_lanes(pair), Sampling(), 4, (), reading_along(pair))
    prefill = seat.prefill(first_lane_first=True)
    while not prefill.done:
        prefill.advance(50)
        assert Batch(pair).start(seat, prefill) == Step({}, {})
    short = Seat(pair, [5, 80, 33], three_lanes(pair), Sampling(), 4, (), reading_along(pair))
    prefill = short.prefill(first_lane_first=True)
    prefill.advance(10_000)
    assert prefill.done


def test_what_a_worker_writes_and_scores_is_as_ever(pair: Pair) -> None:
    lanes, prompt = three_lanes(pair), long_prompt(pair)
    worker = Worker(pair)
    try:
        request = worker.submit(Job(prompt, lanes, Sampling(), 10), "me")
        assert request.wait(60)
    finally:
        worker.shutdown()
    assert request.status == "done"
    for record, lane in zip(request.records, lanes, strict=True):
        assert record.ids == alone(pair, prompt, lane, Sampling(), 10)
        again = diff(pair, prompt, tuple(record.ids)).tokens[-len(record.ids) :]
        found = [token.kl_tuned_base for token in record.scored]
        assert found == pytest.approx([token.kl_tuned_base for token in again], abs=1e-4)


def test_the_speed_of_the_first_lane_is_not_that_of_reading_for_the_others(pair: Pair) -> None:
    request, batch, scoring, pieces = between_two_reads(pair, 6)
    time.sleep(1)  # the others' prompts are read
    assert next(pieces) == "step"
    assert request.seat is not None
    while len(request.records[0].ids) < 6:
        scoring.begin(request.seat)
        request.step = batch.step()[request.seat]
        next(pieces)
    speed = request.records[0].tokens_per_second
    assert speed is not None
    assert speed > 5  # five steps of a tiny pair take far less than the second before
    pieces.close()


def test_stopped_between_two_reads_it_keeps_the_token_it_has(pair: Pair) -> None:
    request, _, _, pieces = between_two_reads(pair, 10)
    assert [len(record.ids) for record in request.records] == [1, 0, 0]
    assert 0 < request.first_token_at <= time.monotonic()
    request.close()
    with pytest.raises(StopIteration) as ended:
        next(pieces)
    request.end(ended.value.value)
    assert [record.finished for record in request.records] == ["stopped"] * 3
    prompts, prompt = pair.prompts, request.job.prompt
    answers = [record.answer(prompts, prompt) for record in request.records]
    assert [len(answer.ids) for answer in answers] == [1, 0, 0]
    assert [answer.kl_to_tuned for answer in answers] == [None] * 3
    assert [token.js_distance for token in request.records[0].tokens(prompts, prompt)] == [None]


def test_random_lanes_of_long_prompts_write_what_each_writes_alone(pair: Pair) -> None:
    dice = random.Random(11)
    for _ in range(4):
        graft = [Lane(f"hybrid-{k}", Gates.graft(pair.n_layers, [k % pair.n_layers], "mlp")) for k in range(3)]
        lanes = tuple(dice.sample([*three_lanes(pair), *graft], dice.randrange(2, 5)))
        batch, seat, steps = started(pair, lanes, Sampling(), 6)
        assert sorted(steps[0].tokens) == [0]
        while seat.writing:
            batch.step()
        assert seat.tokens == [alone(pair, long_prompt(pair), lane, Sampling(), 6) for lane in lanes]


@pytest.mark.slow
def test_on_the_demo_pair_they_write_what_generate_writes(demo: Pair) -> None:
    asked = "A man of 58 has had pressure on his chest for two hours, sweats, and his left arm hurts. " * 8
    prompt = demo.prompts.chat([Message(role="user", content=f"{asked} What should be done first, and why?")])
    assert len(prompt.ids) > IN_TURN_FROM
    lanes = (Lane("base", demo.base_gates()), Lane("tuned", demo.tuned_gates()))
    _, seat, steps = started(demo, lanes, Sampling(), 24, prompt)
    assert [sorted(step.tokens) for step in steps] == [[0], [1]]
    written = ask(demo, prompt, lanes, Sampling(), 24).lanes
    base_folder, tuned_folder = Path(demo.identity.base_path), Path(demo.identity.tuned_path)
    models = (plain_base(base_folder), plain_tuned(base_folder, tuned_folder))
    expected = [generate(model, prompt.ids, 24) for model in models]
    assert [list(answer.ids) for answer in written] == expected
    assert [tokens[:1] for tokens in seat.tokens] == [ids[:1] for ids in expected]
