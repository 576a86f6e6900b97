"""One worker a pair: the thread that owns the device, and the requests that wait for it.

A page submits a request and reads what has come; closing the request ends it. Requests take turns in the order
they came. Knows requests; knows nothing of pages or sessions beyond an owner's name.
"""

import atexit
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from core.errors import ArgumentError, GraftError
from core.generate.requests import Job, Progress, Request, Result, Task, Writing
from core.pair.pair import Pair

MAX_NEW_TOKENS = 2048
MAX_WAITING_PER_OWNER = 4
AnyRequest = TypeVar("AnyRequest", bound=Request)


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

    def submit(self, job: Job, owner: str) -> Writing:
        """Puts answers to be written into the queue.

        Raises:
            ArgumentError: too many tokens asked for, no lanes, too many requests of this owner, or the worker is gone.
        """
        if not 1 <= job.max_new_tokens <= MAX_NEW_TOKENS:
            raise ArgumentError(f"{job.max_new_tokens} new tokens were asked for.", f"Ask for 1 to {MAX_NEW_TOKENS}.")
        if not job.lanes:
            raise ArgumentError("No lanes were asked for.", "Ask for at least one.")
        return self._enqueue(Writing(job, owner))

    def call(self, work: Callable[[Pair, Progress], Result], owner: str) -> Task[Result]:
        """Puts a computation on the pair into the queue.

        Args:
            work: called in the worker's thread with the pair and a function that takes the share done, 0..1; that
                function does not return where the request was closed meanwhile.
            owner: the browser session.

        Raises:
            ArgumentError: too many requests of this owner, or the worker is gone.
        """
        return self._enqueue(Task(work, owner))

    def _enqueue(self, request: AnyRequest) -> AnyRequest:
        with self._changed:
            if self._stopping:
                raise ArgumentError("This pair has been unloaded.", "Load it again.")
            if sum(other.owner == request.owner for other in self._waiting) >= MAX_WAITING_PER_OWNER:
                raise ArgumentError("Too many questions are waiting already.", "Wait for one to finish, or stop one.")
            request._leave_queue = self._leave_queue
            self._waiting.append(request)
            self._changed.notify()
        return request

    def _leave_queue(self, request: Request) -> None:
        with self._changed:
            if request in self._waiting:
                self._waiting.remove(request)
                request.end("stopped")

    def place(self, request: Request) -> int:
        """How many requests come before this one; 0 once it runs or has ended."""
        with self._changed:
            if request not in self._waiting:
                return 0
            return list(self._waiting).index(request) + (self._running is not None)

    def n_rows(self) -> int:
        """How many lanes are being decoded now."""
        running = self._running
        return 0 if running is None else running.n_rows

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
                request.start()
                request.end(request.run(self.pair))
            except GraftError as error:
                request.end("failed", _bare(error))
            except Exception as error:
                request.end("failed", GraftError(f"{type(error).__name__}: {error}", "This is a bug; see the log."))
                threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, self._thread)))
            finally:
                self._running = None
