"""The worker: one batch for everyone, places, stops, and the same tokens as alone."""

import gc
import random
import threading
import time
from collections import deque
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.errors import ArgumentError, DeviceMemoryError, TooLongError
from core.generate.answers import greedy_answer
from core.generate.batch import Batch
from core.generate.cache import BufferedLayer
from core.generate.lane import Lane, amplified_lane, patched_lane
from core.generate.lanes import Decoding
from core.generate.record import LaneRecord
from core.generate.requests import Progress, Request
from core.generate.room import Room
from core.generate.sampling import Sampling
from core.generate.scoring import Scoring
from core.generate.seat import Seat
from core.generate.turns import WORK_BESIDE_OTHERS, FairOrder
from core.generate.worker import MAX_WAITING_PER_OWNER, MAX_WRITING_PER_OWNER, Worker
from core.generate.writing import Job, Writing
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.prompts import Message


@pytest.fixture
def worker(pair: Pair):  # type: ignore[no-untyped-def]
    made = Worker(pair)
    yield made
    made.shutdown()


def job(pair: Pair, layers: list[int], n: int = 20, question: str = "What is asthma?") -> Job:
    prompt = pair.prompts.chat([Message(role="user", content=question)])
    return Job(prompt, (Lane("hybrid", Gates.graft(pair.n_layers, layers)),), Sampling(), n)


def test_a_request_runs_to_its_end(worker: Worker, pair: Pair) -> None:
    request = worker.submit(job(pair, [1]), "me")
    assert request.wait(30)
    assert request.status == "done"
    assert tuple(request.records[0].ids) == greedy_answer(pair, request.job.prompt, Gates.graft(pair.n_layers, [1]), 20)
    assert len(request.records[0].scored) == len(request.records[0].ids)
    assert request.seat is None  # nor anything else that would hold logits or the models


def test_a_short_answer_does_not_wait_for_a_long_one(worker: Worker, pair: Pair) -> None:
    first = worker.submit(job(pair, [0], 300), "a")
    while not first.records[0].ids:
        time.sleep(0.002)
    second = worker.submit(job(pair, [1], 3), "b")
    assert second.wait(30)
    assert first.status == "running"
    assert worker.place(second) == 0
    first.close()
    assert first.wait(10)


def test_one_owner_takes_turns_with_a_visible_place(worker: Worker, pair: Pair) -> None:
    """Beyond so many at once, further questions of the same owner wait; another's do not."""
    running = [worker.submit(job(pair, [0], 400), "a") for _ in range(MAX_WRITING_PER_OWNER)]
    while any(request.status == "waiting" for request in running):
        time.sleep(0.002)
    waiting = [worker.submit(job(pair, [k], 3), "a") for k in (1, 2)]
    assert [worker.place(request) for request in waiting] == [1, 2]
    other = worker.submit(job(pair, [0], 3), "b")
    assert other.wait(30)
    assert [request.status for request in waiting] == ["waiting", "waiting"]
    running[0].close()
    assert waiting[0].wait(30)
    assert waiting[1].wait(30)
    assert waiting[0].started_at <= waiting[1].started_at
    for request in running:
        request.close()


def test_owners_take_turns_where_one_fits_and_their_places_say_so(pair: Pair) -> None:
    worker = Worker(pair)
    one = job(pair, [0], 200)
    worker._room = Room(pair, Room(pair).n_bytes_for([one]))
    try:
        first = worker.submit(one, "a")
        while not first.records[0].ids:
            time.sleep(0.002)
        mine = [worker.submit(job(pair, [k], 3), "a") for k in (1, 2)]
        theirs = [worker.submit(job(pair, [k], 3), "b") for k in (1, 2)]
        waiting = [mine[0], theirs[0], mine[1], theirs[1]]
        assert [worker.place(request) for request in waiting] == [1, 2, 3, 4]
        first.close()
        assert all(request.wait(30) for request in waiting)
        started = [request.started_at for request in waiting]
        assert started == sorted(started)
    finally:
        worker.shutdown()


def test_nobody_new_goes_before_those_who_wait_for_ever(pair: Pair) -> None:
    """One that has been let in before waits; at every place that gets free somebody new has just come."""
    order, again = FairOrder(), Writing(job(pair, [0], 3), "again")
    order.let_in(again)
    again = Writing(job(pair, [0], 3), "again")
    waiting: list[Request] = [again]
    for number in range(5):
        waiting.append(Writing(job(pair, [0], 3), f"new {number}"))
        chosen = order.first(waiting, [])
        assert chosen is not None
        assert order.before(chosen, waiting, []) == 0
        order.let_in(chosen)
        waiting.remove(chosen)
    assert again not in waiting


def test_rows_wait_for_memory_rather_than_fail(pair: Pair) -> None:
    worker = Worker(pair)
    one = job(pair, [0], 200)
    worker._room = Room(pair, Room(pair).n_bytes_for([one]))
    try:
        first, second = worker.submit(one, "a"), worker.submit(job(pair, [1], 3), "b")
        while not first.records[0].ids:
            time.sleep(0.002)
        assert worker.place(second) == 1
        assert second.status == "waiting"
        first.close()
        assert second.wait(30)
        assert second.status == "done"
    finally:
        worker.shutdown()


def test_room_counts_rows_and_positions(pair: Pair) -> None:
    one = job(pair, [0], 100)
    config = pair.model.config
    numbers = 2 * pair.n_layers * config.num_key_value_heads * (config.hidden_size // config.num_attention_heads)
    n_prompt = len(one.prompt.ids)
    positions = 3 * (n_prompt + 100) + 3 * n_prompt  # the hybrid, and base and tuned reading along; the prompt of each
    n_bytes = 2 * 4 * numbers * positions  # buffers grow by doubling
    assert Room(pair, n_bytes).holds([one])
    assert not Room(pair, n_bytes - 1).holds([one])
    assert not Room(pair, n_bytes).holds([one, one])


def test_a_short_answer_beside_a_long_one_takes_as_much_as_the_long_one(pair: Pair) -> None:
    room = Room(pair)
    short, long = job(pair, [0], 1), job(pair, [1], 400)
    beside = room.n_bytes_for([short, long]) - room.n_bytes_for([long])
    assert beside == room.n_bytes_for([long])


def test_tokens_an_answer_begins_with_are_kept_with_its_prompt(pair: Pair) -> None:
    room, asked = Room(pair), job(pair, [0], 100)
    forked = replace(asked, begun=(7,) * 50)
    n_row = room.n_bytes_for([job(pair, [0], 101)]) - room.n_bytes_for([asked])  # of its three rows
    assert room.n_bytes_for([forked]) - room.n_bytes_for([asked]) == 50 * n_row


def test_what_does_not_fit_alone_is_refused(worker: Worker, pair: Pair) -> None:
    fits, too_long = job(pair, [0], 100), job(pair, [0], 101)
    worker._room = Room(pair, Room(pair).n_bytes_for([fits]))
    with pytest.raises(TooLongError, match=r"101 new ones in 1 lane may take .* MiB"):
        worker.submit(too_long, "me")
    request = worker.submit(fits, "me")
    while not request.records[0].ids:
        time.sleep(0.002)
    request.close()
    assert request.wait(10)


def test_answers_go_on_while_something_is_computed(worker: Worker, pair: Pair) -> None:
    first = worker.submit(job(pair, [0], 400), "a")
    seen: list[int] = []

    def work(given: Pair, progress: Progress) -> None:
        for _ in range(50):
            time.sleep(0.005)
            progress(0.5)
            seen.append(len(first.records[0].ids))

    assert worker.call(work, "b").wait(60)
    assert seen[-1] > seen[0] + 5
    first.close()


def test_a_long_prompt_is_read_between_the_steps_of_others(worker: Worker, pair: Pair) -> None:
    first = worker.submit(job(pair, [0], 300), "a")
    while not first.records[0].ids:
        time.sleep(0.002)
    long = worker.submit(job(pair, [1], 3, question="What is asthma? " * 30), "b")
    assert len(long.job.prompt.ids) > WORK_BESIDE_OTHERS
    while long.status == "waiting":
        time.sleep(0.0005)
    before = len(first.records[0].ids)
    while not long.records[0].ids:
        time.sleep(0.0005)
    assert len(first.records[0].ids) >= before + 2
    assert long.wait(30)
    first.close()


def test_a_full_device_costs_the_last_to_come(worker: Worker, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows do not fit, one does: the first goes on with what it would have written alone."""
    hidden = Pair.hidden

    def narrow(self: Pair, input_ids: Tensor, gates: Gates, **kwargs: object) -> Tensor:
        if input_ids.shape == (2, 1):
            for layer in kwargs["cache"].layers[:1]:  # type: ignore[attr-defined]  # it fails in the middle
                layer.update(layer.keys[:, :, :1], layer.values[:, :, :1])
            raise DeviceMemoryError("Two rows do not fit.", "Ask for fewer.")
        return hidden(self, input_ids, gates, **kwargs)  # type: ignore[arg-type]

    asked = job(pair, [0], 60)
    alone = greedy_answer(pair, asked.prompt, asked.lanes[0].gates, 60)
    first = worker.submit(asked, "a")
    while not first.records[0].ids:
        time.sleep(0.002)
    monkeypatch.setattr(Pair, "hidden", narrow)
    second = worker.submit(job(pair, [1], 60, question="Is it?"), "b")
    assert second.wait(30)
    assert second.status == "failed"
    assert first.wait(60)
    assert tuple(first.records[0].ids) == alone


def test_stop_acts_within_a_step(worker: Worker, pair: Pair) -> None:
    request = worker.submit(job(pair, [0], 400), "me")
    while len(request.records[0].ids) < 5:
        time.sleep(0.005)
    request.close()
    written = len(request.records[0].ids)
    assert request.wait(5)
    assert request.status == "stopped"
    assert len(request.records[0].ids) <= written + 2
    assert worker.n_rows() == 0


def test_a_waiting_request_that_is_closed_leaves_at_once(worker: Worker, pair: Pair) -> None:
    first = worker.submit(job(pair, [0], 300), "a")
    second = worker.submit(job(pair, [1], 300), "a")
    second.close()
    assert second.wait(0.2)
    assert second.records[0].ids == []
    first.close()
    assert first.wait(10)


def test_limits(worker: Worker, pair: Pair) -> None:
    with pytest.raises(ArgumentError, match="tokens"):
        worker.submit(job(pair, [0], 0), "me")
    running = [worker.submit(job(pair, [0], 400), "me") for _ in range(MAX_WRITING_PER_OWNER)]
    while any(request.status == "waiting" for request in running):
        time.sleep(0.002)
    requests = [worker.submit(job(pair, [0], 400), "me") for _ in range(MAX_WAITING_PER_OWNER)]
    with pytest.raises(ArgumentError, match="waiting"):
        worker.submit(job(pair, [0], 400), "me")
    other = worker.submit(job(pair, [0], 2), "someone else")
    for request in (*requests, *running):
        request.close()
    assert other.wait(30)


def test_shutting_down_ends_every_request(pair: Pair) -> None:
    worker = Worker(pair)
    requests = [worker.submit(job(pair, [0], 400), "me") for _ in range(3)]
    worker.shutdown()
    assert all(request.ended for request in requests)
    with pytest.raises(ArgumentError, match="unloaded"):
        worker.submit(job(pair, [0]), "me")


def test_many_sessions_get_what_each_gets_alone(worker: Worker, pair: Pair) -> None:
    """Random arrivals, gates, kinds of lanes, lengths and stops from eight threads."""
    jobs = {number: [random_job(pair, random.Random(100 * number + k)) for k in range(3)] for number in range(8)}
    alone = {number: [written_alone(pair, one) for one in own] for number, own in jobs.items()}
    failures: list[str] = []
    whole: list[int] = []

    def session(number: int) -> None:
        dice = random.Random(number)
        for own, expected in zip(jobs[number], alone[number], strict=True):
            time.sleep(dice.random() * 0.05)
            request = worker.submit(own, f"session {number}")
            stopped = dice.random() < 0.3
            if stopped:
                time.sleep(dice.random() * 0.1)
                request.close()
            if not request.wait(60):
                failures.append(f"{number} never ended")
            written = [tuple(record.ids) for record in request.records]
            if request.status == "done" and written == expected:
                whole.append(number)
            elif not stopped:
                failures.append(f"{number} is {request.status} and got {written}, not {expected}")
            elif request.status not in ("done", "stopped"):
                failures.append(f"{number} is {request.status}: {request.error}")
            elif [ids[: len(got)] for got, ids in zip(written, expected, strict=True)] != written:
                failures.append(f"{number} was stopped and got other tokens")

    threads = [threading.Thread(target=session, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(whole) >= 12


def test_first_tokens_that_cannot_be_scored_end_nobody_elses_answer(
    worker: Worker, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = worker.submit(job(pair, [0], 400), "a")
    while not first.records[0].scored:
        time.sleep(0.002)

    def full(self: Scoring, stretch: object) -> None:
        raise DeviceMemoryError("Full.", "Wait.")

    monkeypatch.setattr(Scoring, "_of_beginning", full)
    second = worker.submit(job(pair, [1], 30), "b")
    assert second.wait(30)
    assert (second.status, str(second.error)[:5]) == ("failed", "Full.")
    assert first.status == "running"
    first.close()
    assert first.wait(5)
    assert len(first.records[0].scored) == len(first.records[0].ids)


def random_job(pair: Pair, dice: random.Random) -> Job:
    """One to three lanes of any kind over a question of its own."""
    base, tuned = pair.base_gates(), pair.tuned_gates()
    layers = dice.sample(range(pair.n_layers), dice.randrange(1, pair.n_layers))
    lanes = [
        Lane("base", base),
        Lane("tuned", tuned),
        Lane("hybrid", Gates.graft(pair.n_layers, layers, dice.choice(["both", "attn", "mlp"]), 0.5 + dice.random())),
        patched_lane("patched", base, tuned, "mlp_out", (layers[0],)),
        amplified_lane("amplified", base, tuned, 2 * dice.random()),
    ]
    prompt = pair.prompts.chat([Message(role="user", content=f"Question number {dice.randrange(1000)}?")])
    begun = tuple(dice.randrange(40, 200) for _ in range(dice.choice([0, 0, 3])))
    chosen = tuple(dice.sample(lanes, dice.randrange(1, 4)))
    return Job(prompt, chosen, Sampling(), dice.randrange(1, 25) + len(begun), begun)


def written_alone(pair: Pair, asked: Job) -> list[tuple[int, ...]]:
    """Every lane decoded by itself, in a batch of its own."""
    found = []
    for lane in asked.lanes:
        decoding = Decoding(pair, asked.prompt.ids, (lane,), asked.sampling, asked.max_new_tokens, asked.begun)
        for _ in decoding:
            pass
        found.append(tuple(decoding.tokens[0]))
    return found


def test_a_stopped_answer_is_scored_to_its_last_token(worker: Worker, pair: Pair) -> None:
    request = worker.submit(job(pair, [0], 400), "me")
    while len(request.records[0].ids) < 12:
        time.sleep(0.002)
    request.close()
    assert request.wait(5)
    assert len(request.records[0].scored) == len(request.records[0].ids)


def test_a_finished_answer_has_its_noise(worker: Worker, pair: Pair) -> None:
    request = worker.submit(job(pair, [0, 2], 15), "me")
    assert request.wait(30)
    answer = request.records[0].answer(pair.prompts, request.job.prompt)
    assert answer.kl_to_base is not None
    assert answer.kl_to_base_noise is not None
    assert 0 <= answer.kl_to_base_noise < 1e-3 < answer.kl_to_base


def test_an_answer_whose_noise_cannot_be_measured_is_done(
    worker: Worker, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    means, calls = LaneRecord._means_again, 0

    def fail_first(self: LaneRecord, *args: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return means(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(LaneRecord, "_means_again", fail_first)
    asked = job(pair, [1], 12)
    both = replace(asked, lanes=(*asked.lanes, Lane("tuned", pair.tuned_gates())))
    request = worker.submit(both, "me")
    assert request.wait(30)
    assert (request.status, request.error) == ("done", None)
    assert [record.again is None for record in request.records] == [True, False]
    assert request.records[0].answer(pair.prompts, asked.prompt).kl_to_base_noise is None
    assert {record.finished for record in request.records} <= {"end", "length"}


@pytest.mark.parametrize(("ended_by", "finished"), [("person", "stopped"), ("time", "failed"), ("error", "failed")])
def test_a_lane_says_whether_a_person_stopped_it(
    worker: Worker, pair: Pair, monkeypatch: pytest.MonkeyPatch, ended_by: str, finished: str
) -> None:
    def fail(self: Batch) -> None:
        raise DeviceMemoryError("It does not fit.", "Ask for less.")

    request = worker.submit(job(pair, [0], 400), "me")
    while len(request.records[0].ids) < 5:
        time.sleep(0.002)
    if ended_by == "person":
        request.close()
    elif ended_by == "time":
        request.deadline_seconds = 0.0
    else:
        monkeypatch.setattr(Batch, "step", fail)
    assert request.wait(10)
    assert request.records[0].answer(pair.prompts, request.job.prompt).finished == finished


def test_a_failed_request_keeps_no_memory(worker: Worker, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device runs out in the middle of an answer: the error is kept, the caches are not."""
    calls = 0
    hidden = Pair.hidden

    def fail(self: Pair, *args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        if calls > 5:
            raise DeviceMemoryError("A forward pass does not fit.", "Shorten the text.")
        return hidden(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Pair, "hidden", fail)
    request = worker.submit(job(pair, [1], 50), "me")
    assert request.wait(30)
    assert request.status == "failed"
    assert isinstance(request.error, DeviceMemoryError)
    gc.collect()
    assert [layer for layer in gc.get_objects() if type(layer) is BufferedLayer] == []
    monkeypatch.undo()
    assert worker.submit(job(pair, [1], 3), "me").wait(30)


def test_a_task_runs_on_the_worker_and_tells_how_far_it_is(worker: Worker, pair: Pair) -> None:
    threads: list[str] = []

    def work(given: Pair, progress: Progress) -> int:
        assert given is pair
        threads.append(threading.current_thread().name)
        progress(0.5)
        return 42

    task = worker.call(work, "me")
    assert task.wait(10)
    assert (task.status, task.result, task.share) == ("done", 42, 0.5)
    assert threads[0] != threading.current_thread().name


def test_a_task_is_closed_in_the_middle_and_the_next_one_runs(worker: Worker, pair: Pair) -> None:
    begun = threading.Event()

    def endless(given: Pair, progress: Progress) -> None:
        while True:
            begun.set()
            progress(0.1)
            time.sleep(0.01)

    task = worker.call(endless, "me")
    assert begun.wait(10)
    following = worker.call(lambda given, progress: 7, "you")
    answer = worker.submit(job(pair, [1], 3), "you")
    assert worker.place(following) == 1
    assert answer.wait(30)
    assert following.status == "waiting"
    task.close()
    assert task.wait(10)
    assert (task.status, task.result) == ("stopped", None)
    assert following.wait(30)
    assert following.result == 7


def test_a_task_that_fails_says_why_and_the_worker_lives(worker: Worker, pair: Pair) -> None:
    def fails(given: Pair, progress: Progress) -> None:
        raise ArgumentError("No such thing.", "Ask for another.")

    task = worker.call(fails, "me")
    assert task.wait(10)
    assert task.status == "failed"
    assert task.error is not None
    assert task.error.message == "No such thing."
    assert worker.call(lambda given, progress: 1, "me").wait(10)


@pytest.mark.parametrize("error", [DeviceMemoryError("It does not fit.", "Ask for less."), RuntimeError("unforeseen")])
def test_what_fails_in_an_answers_last_step_ends_that_answer_and_the_worker_lives(
    worker: Worker, pair: Pair, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """By then its rows have left the batch."""
    advance = Scoring.advance
    logged: list[object] = []

    def fail(self: Scoring) -> None:
        if not all(seat.writing for seat in self._scored):
            raise error
        advance(self)

    first = worker.submit(job(pair, [0], 400), "a")
    while not first.records[0].ids:
        time.sleep(0.002)
    monkeypatch.setattr(threading, "excepthook", logged.append)
    monkeypatch.setattr(Scoring, "advance", fail)
    request = worker.submit(job(pair, [1], 3), "me")
    assert request.wait(10)
    assert request.status == "failed"
    assert str(error) in str(request.error)
    is_bug = isinstance(error, RuntimeError)
    assert len(logged) == is_bug
    monkeypatch.undo()
    assert worker.submit(job(pair, [1], 3), "me").wait(30)
    assert first.status == ("failed" if is_bug else "running")
    first.close()


def test_a_computation_without_memory_says_so_and_is_no_bug(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[object] = []
    monkeypatch.setattr(threading, "excepthook", logged.append)

    def work(pair: Pair, progress: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 384.00 MiB.")

    task = worker.call(work, "me")
    assert task.wait(10)
    assert isinstance(task.error, DeviceMemoryError)
    assert "do not fit on the device" in str(task.error)
    assert not logged


def test_an_answer_that_cannot_leave_ends_all_and_the_worker_begins_anew(
    worker: Worker, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[object] = []

    def fail(self: Batch, seat: Seat) -> None:
        raise RuntimeError("unforeseen")

    first = worker.submit(job(pair, [0], 400), "a")
    while not first.records[0].ids:
        time.sleep(0.002)
    monkeypatch.setattr(threading, "excepthook", logged.append)
    monkeypatch.setattr(Batch, "leave", fail)
    second = worker.submit(job(pair, [1], 3), "b")
    assert second.wait(10)
    assert first.wait(10)
    assert (first.status, second.status) == ("failed", "failed")
    monkeypatch.undo()
    assert logged
    asked = job(pair, [1], 5)
    third = worker.submit(asked, "a")
    assert third.wait(30)
    assert tuple(third.records[0].ids) == greedy_answer(pair, asked.prompt, asked.lanes[0].gates, 5)


def test_answers_change_places_only_where_no_page_looks(worker: Worker, pair: Pair) -> None:
    class Guarded(deque[object]):
        def append(self, answer: object) -> None:
            assert worker._changed._is_owned()  # type: ignore[attr-defined]
            super().append(answer)

        def remove(self, answer: object) -> None:
            assert worker._changed._is_owned()  # type: ignore[attr-defined]
            super().remove(answer)

    worker._answers = Guarded()  # type: ignore[assignment]
    request = worker.submit(job(pair, [1], 3), "me")
    assert request.wait(30)
    assert request.status == "done"
