"""The worker: turns, places, stops, and the same tokens as alone."""

import gc
import random
import threading
import time

import pytest

from core.errors import ArgumentError, DeviceMemoryError
from core.generate.answers import greedy_answer
from core.generate.cache import BufferedLayer
from core.generate.record import Lane
from core.generate.requests import Job, Progress
from core.generate.sampling import Sampling
from core.generate.worker import MAX_WAITING_PER_OWNER, Worker
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


def test_requests_take_turns_with_a_visible_place(worker: Worker, pair: Pair) -> None:
    first = worker.submit(job(pair, [0], 200), "a")
    others = [worker.submit(job(pair, [k], 3), "b") for k in (1, 2)]
    places = [worker.place(request) for request in others]
    assert places in ([1, 2], [0, 1])
    assert all(request.wait(60) for request in (first, *others))
    assert [worker.place(request) for request in others] == [0, 0]
    assert first.ended_at <= others[0].ended_at <= others[1].ended_at


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
    requests = [worker.submit(job(pair, [0], 400), "me") for _ in range(MAX_WAITING_PER_OWNER)]
    while requests[0].status == "waiting":
        time.sleep(0.005)
    requests.append(worker.submit(job(pair, [0], 400), "me"))
    with pytest.raises(ArgumentError, match="waiting"):
        worker.submit(job(pair, [0], 400), "me")
    other = worker.submit(job(pair, [0], 2), "someone else")
    for request in requests:
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
    """Random arrivals and stops from several threads."""
    plans = [([k % pair.n_layers], f"Question number {k}?") for k in range(8)]
    alone = {
        k: greedy_answer(pair, job(pair, layers, question=q).prompt, Gates.graft(pair.n_layers, layers), 20)
        for k, (layers, q) in enumerate(plans)
    }
    failures: list[str] = []

    def session(number: int) -> None:
        dice = random.Random(number)
        for _ in range(3):
            time.sleep(dice.random() * 0.05)
            layers, text = plans[number]
            request = worker.submit(job(pair, layers, question=text), f"session {number}")
            if dice.random() < 0.3:
                time.sleep(dice.random() * 0.1)
                request.close()
            if not request.wait(60):
                failures.append(f"{number} never ended")
            written = tuple(request.records[0].ids)
            if written != alone[number][: len(written)]:
                failures.append(f"{number} got other tokens")

    threads = [threading.Thread(target=session, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


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
    following = worker.submit(job(pair, [1], 3), "you")
    assert worker.place(following) == 1
    task.close()
    assert task.wait(10)
    assert (task.status, task.result) == ("stopped", None)
    assert following.wait(30)
    assert following.status == "done"


def test_a_task_that_fails_says_why_and_the_worker_lives(worker: Worker, pair: Pair) -> None:
    def fails(given: Pair, progress: Progress) -> None:
        raise ArgumentError("No such thing.", "Ask for another.")

    task = worker.call(fails, "me")
    assert task.wait(10)
    assert task.status == "failed"
    assert task.error is not None
    assert task.error.message == "No such thing."
    assert worker.call(lambda given, progress: 1, "me").wait(10)
