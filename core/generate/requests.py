"""Requests to a worker, and the simplest of them: something to be computed on the pair.

Any thread may read or close a request; the worker's thread runs it. Knows no queue.
"""

import math
import threading
import time
import uuid
from collections.abc import Callable
from typing import Generic, Literal, Protocol, TypeVar

from core.errors import GraftError
from core.pair.memory import memory_for
from core.pair.pair import Pair

Status = Literal["waiting", "running", "done", "stopped", "failed"]
Result = TypeVar("Result")


class Progress(Protocol):
    """What work reports with; does not return once its request is closed."""

    def __call__(self, share: float, so_far: object = None) -> None:
        """Takes the share done, 0..1, and the result so far where there is one."""


DEADLINE_SECONDS = 900.0


class Closed(Exception):
    """Raised inside a task whose request was closed; never seen outside the worker."""


class Request:
    """Something asked of a worker. Any thread may read it or close it.

    Attributes:
        id: unique.
        owner: who asked; several requests of one owner share a limit.
        status: `waiting`, `running`, `done`, `stopped` or `failed`.
        error: what to show when it failed.
        submitted_at, started_at, ended_at: `time.monotonic()` seconds; 0 before.
        deadline_seconds: it is closed once it has run for so long.
    """

    def __init__(self, owner: str, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self.id = uuid.uuid4().hex
        self.owner = owner
        self.deadline_seconds = deadline_seconds
        self.status: Status = "waiting"
        self.error: GraftError | None = None
        self.submitted_at = time.monotonic()
        self.started_at = self.ended_at = 0.0
        self._closed = threading.Event()
        self._ended = threading.Event()
        self._leave_queue: Callable[[Request], None] | None = None

    def close(self) -> None:
        """Leaves the queue at once, or asks the work to end after the step in hand."""
        self._closed.set()
        if (leave_queue := self._leave_queue) is not None:
            leave_queue(self)

    @property
    def closing(self) -> bool:
        """Whether `close` was called, or the time allowed is over."""
        late = self.started_at and time.monotonic() - self.started_at > self.deadline_seconds
        return self._closed.is_set() or bool(late)

    @property
    def ended(self) -> bool:
        """Whether nothing more will come and nothing of it is left in memory."""
        return self._ended.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Blocks until the request has ended; False if the time ran out first."""
        return self._ended.wait(timeout)

    @property
    def n_rows(self) -> int:
        """How many lanes it is decoding now."""
        return 0

    def start(self) -> None:
        """Marks it as running."""
        self.started_at, self.status = time.monotonic(), "running"

    def end(self, status: Status, error: GraftError | None = None) -> None:
        """Marks it as ended."""
        self.status, self.error, self.ended_at = status, error, time.monotonic()
        self._leave_queue = None  # it holds the worker, and so the models
        self._ended.set()


class Task(Request, Generic[Result]):
    """Something to compute on the pair.

    Attributes:
        result: what came out; None before and where it failed or was stopped.
        share: how much is done, 0..1, as far as the work says so.
        so_far: what the work has told of its result; stays after a stop.
        gives_way: whether other computations go first, even once this one runs.
    """

    def __init__(self, work: Callable[[Pair, Progress], Result], owner: str, gives_way: bool = False) -> None:
        super().__init__(owner, math.inf if gives_way else DEADLINE_SECONDS)
        self._work = work
        self.gives_way = gives_way
        self._meanwhile: Callable[[], None] | None = None
        self.result: Result | None = None
        self.share = 0.0
        self.so_far: object = None

    def run(self, pair: Pair, meanwhile: Callable[[], None] | None = None) -> Status:
        """Calls the work with the pair and a function to report progress to; that function ends a closed task.

        Args:
            pair: the models.
            meanwhile: called at every report, for what else has to go on.

        Raises:
            DeviceMemoryError: the device ran out of memory.
        """
        self._meanwhile = meanwhile
        try:
            with memory_for("The numbers of this computation", "Ask for less at once, or shorten the text."):
                self.result = self._work(pair, self._progress)
        except Closed:
            return "stopped"
        finally:
            self._meanwhile = None
        return "done"

    def _progress(self, share: float, so_far: object = None) -> None:
        self.share = share
        if so_far is not None:
            self.so_far = so_far
        if self._meanwhile:
            self._meanwhile()
        if self.closing:
            raise Closed
