"""One worker a pair: the thread that owns the device, and the requests that wait for it.

A page submits a request and reads what has come; closing the request removes its rows. Requests take turns in
the order they came. Knows decodings; knows nothing of pages or sessions beyond an owner's name.
"""

import atexit
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from core.errors import ArgumentError, GraftError
from core.generate.record import Lane, LaneRecord
from core.generate.sampling import Sampling
from core.generate.scored import ScoredDecoding
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.prompts import Prompt

Status = Literal["waiting", "running", "done", "stopped", "failed"]

MAX_NEW_TOKENS = 2048
MAX_WAITING_PER_OWNER = 4
DEADLINE_SECONDS = 900.0


@dataclass(frozen=True, eq=False)
class Job:
    """What a request asks for.

    Attributes:
        prompt: the question.
        lanes: the answers to write.
        sampling: how tokens are chosen.
        max_new_tokens: at most so many tokens a lane.
    """

    prompt: Prompt
    lanes: tuple[Lane, ...]
    sampling: Sampling
    max_new_tokens: int


class Request:
    """A job on its way. Any thread may read it or close it.

    Attributes:
        id: unique.
        owner: who asked; several requests of one owner share a limit.
        job: what was asked.
        records: what each lane has written so far.
        status: `waiting`, `running`, `done`, `stopped` or `failed`.
        error: what to show when it failed.
        submitted_at, started_at, first_token_at, ended_at: `time.monotonic()` seconds; 0 before.
    """

    def __init__(self, job: Job, owner: str) -> None:
        self.id = uuid.uuid4().hex
        self.owner, self.job = owner, job
        self.records = [LaneRecord(lane) for lane in job.lanes]
        self.status: Status = "waiting"
        self.error: GraftError | None = None
        self.submitted_at = time.monotonic()
        self.started_at = self.first_token_at = self.ended_at = 0.0
        self._closed = threading.Event()
        self._ended = threading.Event()
        self._leave_queue: Callable[[Request], None] | None = None

    def close(self) -> None:
        """Leaves the queue at once, or asks for the rows to be removed after the step in hand."""
        self._closed.set()
        if self._leave_queue:
            self._leave_queue(self)

    @property
    def closing(self) -> bool:
        """Whether `close` was called."""
        return self._closed.is_set()

    @property
    def ended(self) -> bool:
        """Whether nothing more will come and no rows are left."""
        return self._ended.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Blocks until the request has ended; False if the time ran out first."""
        return self._ended.wait(timeout)

    def _end(self, status: Status, error: GraftError | None = None) -> None:
        for record in self.records:
            record.stop()
        self.status, self.error, self.ended_at = status, error, time.monotonic()
        self._ended.set()


def _bare(error: GraftError) -> GraftError:
    """The error without its traceback, whose frames would keep the caches of a failed step in memory."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


class Worker:
    """Runs requests on one pair, one after another, in a thread of its own."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self._waiting: deque[Request] = deque()
        self._running: Request | None = None
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name=f"worker {pair.spec.name}", daemon=True)
        self._thread.start()
        atexit.register(self.shutdown)  # a thread inside torch must not outlive the interpreter

    def submit(self, job: Job, owner: str) -> Request:
        """Puts a job into the queue.

        Raises:
            ArgumentError: too many tokens asked for, no lanes, too many requests of this owner, or the worker is gone.
        """
        if not 1 <= job.max_new_tokens <= MAX_NEW_TOKENS:
            raise ArgumentError(f"{job.max_new_tokens} new tokens were asked for.", f"Ask for 1 to {MAX_NEW_TOKENS}.")
        if not job.lanes:
            raise ArgumentError("No lanes were asked for.", "Ask for at least one.")
        request = Request(job, owner)
        with self._changed:
            if self._stopping:
                raise ArgumentError("This pair has been unloaded.", "Load it again.")
            if sum(other.owner == owner for other in self._waiting) >= MAX_WAITING_PER_OWNER:
                raise ArgumentError("Too many questions are waiting already.", "Wait for one to finish, or stop one.")
            request._leave_queue = self._leave_queue
            self._waiting.append(request)
            self._changed.notify()
        return request

    def _leave_queue(self, request: Request) -> None:
        with self._changed:
            if request in self._waiting:
                self._waiting.remove(request)
                request._end("stopped")

    def place(self, request: Request) -> int:
        """How many requests come before this one; 0 once it runs or has ended."""
        with self._changed:
            if request not in self._waiting:
                return 0
            return list(self._waiting).index(request) + (self._running is not None)

    def n_rows(self) -> int:
        """How many lanes are being decoded now."""
        running = self._running
        return 0 if running is None else sum(record.finished is None for record in running.records)

    def shutdown(self) -> None:
        """Closes every request and ends the thread; blocks until the step in hand is done."""
        with self._changed:
            self._stopping = True
            open_requests = [*self._waiting, *([self._running] if self._running else [])]
            self._changed.notify()
        for request in open_requests:
            request.close()
        self._thread.join(timeout=60)
        atexit.unregister(self.shutdown)

    def _loop(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._stopping:
                    self._changed.wait()
                if not self._waiting:
                    return
                request = self._running = self._waiting.popleft()
            try:
                self._run(request)
            except GraftError as error:
                request._end("failed", _bare(error))
            except Exception as error:
                request._end("failed", GraftError(f"{type(error).__name__}: {error}", "This is a bug; see the log."))
                threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, self._thread)))
            finally:
                self._running = None

    def _run(self, request: Request) -> None:
        job = request.job
        request.started_at, request.status = time.monotonic(), "running"
        gates = Gates.stack([lane.gates for lane in job.lanes])
        decoding = ScoredDecoding(self.pair, job.prompt.ids, gates, job.sampling, job.max_new_tokens)
        try:
            for update in decoding:
                for number, record in enumerate(request.records):
                    record.add(number, update, self.pair.prompts)
                request.first_token_at = request.first_token_at or time.monotonic()
                if request.closing or time.monotonic() - request.started_at > DEADLINE_SECONDS:
                    break
            last = decoding.finish()
            for number, record in enumerate(request.records):
                record.add_scores(number, last, self.pair.prompts)
        finally:
            decoding.close()
        unfinished = any(record.finished is None for record in request.records)
        if not unfinished:
            for record in request.records:
                record.measure_again(self.pair, job.prompt)
        request._end("stopped" if unfinished else "done")
