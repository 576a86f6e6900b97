"""One worker a pair: the thread that owns the device, and everything that is asked of it.

Answers to all questions decode together in one batch: they join it when their prompt has been read, write a token a
step, and leave. Computations take turns, and answers go on between two of their reports; one that gives way is held up
there by all others. Knows requests and how much room there is; knows nothing of pages or sessions beyond an owner's
name.
"""

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from core.errors import ArgumentError, GraftError
from core.generate.batch import Batch
from core.generate.requests import Progress, Request, Result, Status, Task
from core.generate.room import Room
from core.generate.scoring import Scoring
from core.generate.seat import Seat, Step
from core.generate.turns import (
    WORK_ALONE,
    WORK_BESIDE_OTHERS,
    WORK_WHILE_NOBODY_WRITES,
    Answer,
    FairOrder,
    next_to_work,
    waiting_for_step,
)
from core.generate.writing import Job, Writing
from core.pair.pair import Pair

MAX_WAITING_PER_OWNER = 4
MAX_WRITING_PER_OWNER = 3
AnyRequest = TypeVar("AnyRequest", bound=Request)


class Worker:
    """Runs requests on one pair in a thread of its own.

    It should be the only thread that computes for long: a thread that has computed keeps helpers of its own until it
    ends, and with more helpers than processors every product waits longer (half as long again, on two processors).
    """

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self._waiting: deque[Request] = deque()
        self._answers: deque[Answer] = deque()
        self._tasks: list[Task[object]] = []  # the last one runs, those before it have given way
        self._batch, self._scoring = Batch(pair), Scoring(pair)
        self._turns, self._fair = 0, FairOrder()
        self._room = Room(pair)
        self._turn_ended = self._turn_took = 0.0
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name=f"worker {pair.spec.name}", daemon=True)
        self._thread.start()
        atexit.register(self.shutdown)  # a thread inside torch must not outlive the interpreter

    def submit(self, job: Job, owner: str) -> Writing:
        """Asks for answers.

        Raises:
            ArgumentError: too many tokens or lanes asked for, none, too many requests of this owner, or the worker is
                gone.
            TooLongError: its keys and values would not fit in memory even alone.
        """
        self._room.check(job)
        return self._enqueue(Writing(job, owner))

    def call(self, work: Callable[[Pair, Progress], Result], owner: str, gives_way: bool = False) -> Task[Result]:
        """Asks for a computation on the pair.

        Args:
            work: called in the worker's thread with the pair and a function that takes the share done, 0..1; that
                function does not return where the request was closed meanwhile.
            owner: the browser session.
            gives_way: let other computations go first, whenever the work reports; without a deadline.

        Raises:
            ArgumentError: too many requests of this owner, or the worker is gone.
        """
        return self._enqueue(Task(work, owner, gives_way))

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
        """How many of its kind come before this request; 0 once it runs, is about to, or has ended."""
        with self._changed:
            if request not in self._waiting:
                return 0
            if isinstance(request, Task):
                before = [t for t in self._waiting if isinstance(t, Task) and t.gives_way <= request.gives_way]
                running = [task for task in self._tasks if task.gives_way <= request.gives_way]
                return before.index(request) + bool(running)
            place = self._fair.before(request, self._waiting, self._owners())
            fits = isinstance(request, Writing) and place == 0 and self._fits(request)
            return place + 1 if self._answers and not fits else place

    def _owners(self) -> list[str]:
        """Of the answers that are in, who came in first before the others."""
        return [one.request.owner for one in sorted(self._answers, key=lambda one: one.request.started_at)]

    def n_rows(self) -> int:
        """How many lanes are being decoded now."""
        with self._changed:
            return sum(answer.request.n_rows for answer in self._answers)

    @property
    def gone(self) -> bool:
        """Whether it takes no requests any more."""
        return self._stopping

    def shutdown(self) -> None:
        """Closes every request and ends the thread; blocks until the step in hand is done."""
        with self._changed:
            self._stopping = True
            running = [answer.request for answer in self._answers]
            requests = [*self._waiting, *running, *self._tasks]
            self._changed.notify()
        for request in requests:
            request.close()
        self._thread.join(timeout=60)
        atexit.unregister(self.shutdown)

    def _loop(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._answers and not self._stopping:
                    self._changed.wait()
                if self._stopping and not self._waiting and not self._answers:
                    return
            if (task := self._next_task(gives_way=True)) is not None:
                self._run(task)
            self._turn()

    def _next_task(self, gives_way: bool) -> Task[object] | None:
        """Takes the computation whose turn it is out of the queue; one that gives way only where that is asked for."""
        with self._changed:
            waiting = [request for request in self._waiting if isinstance(request, Task)]
            task = next((task for task in waiting if not task.gives_way), None)
            if task is None and gives_way:
                task = next(iter(waiting), None)
            if task is not None:
                self._waiting.remove(task)
                self._tasks.append(task)
            return task

    def _run(self, task: Task[object]) -> None:
        """Computes something; the answers that are being written go on meanwhile."""
        try:
            task.start()
            task.end(task.run(self.pair, self._give_way if task.gives_way else self._meanwhile))
        except Exception as error:
            task.end("failed", self._shown(error))
        finally:
            with self._changed:
                self._tasks.remove(task)

    def _give_way(self) -> None:
        """Every other computation that waits, from beginning to end, then a turn of the answers."""
        while (task := self._next_task(gives_way=False)) is not None:
            self._run(task)
        self._meanwhile()

    def _meanwhile(self) -> None:
        """One turn of the answers, unless they have had more than their half of the time."""
        if time.monotonic() - self._turn_ended >= self._turn_took:
            self._turn()

    def _turn(self) -> None:
        """One step of every answer, and for some of them a piece of other work."""
        started = time.monotonic()
        try:
            self._admit()
            if self._batch.n_rows:
                self._step()
            self._turns += 1
            for answer in next_to_work(self._answers, self._turns, bool(self._batch.n_rows)):
                with self._changed:
                    self._answers.remove(answer)
                    self._answers.append(answer)  # the others come first next time
                answer.request.at_once = self._at_once()
                self._go_on(answer)
        except Exception as error:
            self._begin_anew(self._shown(error))
        self._turn_ended = time.monotonic()
        self._turn_took = self._turn_ended - started

    def _at_once(self) -> int:
        if not self._tasks and len(self._answers) == 1:
            return WORK_ALONE
        return WORK_BESIDE_OTHERS if self._batch.n_rows or self._tasks else WORK_WHILE_NOBODY_WRITES

    def _step(self) -> None:
        for answer in waiting_for_step(self._answers):
            self._begin(answer)
        steps: dict[Seat, Step] = {}
        try:
            steps = self._batch.step()
            self._scoring.advance()
        except Exception as error:
            stuck = waiting_for_step(self._answers)
            if not stuck:
                raise
            shown = self._shown(error)
            # Where the device is full, the last to come gives way.
            for answer in stuck[-1:] if isinstance(error, GraftError) else stuck:
                self._end(answer, "failed", shown)
        for answer in tuple(self._answers if steps else ()):
            if answer.waits == "step" and answer.request.seat is not None:
                answer.request.step = steps.get(answer.request.seat)
                self._go_on(answer)

    def _begin(self, answer: Answer) -> None:
        """Scores what an answer begins with; nobody else pays for it where that fails."""
        try:
            if answer.request.seat is not None:
                self._scoring.begin(answer.request.seat)
        except Exception as error:
            self._end(answer, "failed", self._shown(error))

    def _go_on(self, answer: Answer) -> None:
        """Lets an answer compute its next piece."""
        try:
            answer.waits = next(answer.pieces)
        except StopIteration as ended:
            self._end(answer, ended.value)
        except Exception as error:
            self._end(answer, "failed", self._shown(error))

    def _end(self, answer: Answer, status: Status, error: GraftError | None = None) -> None:
        answer.pieces.close()
        if answer.request.seat is not None:  # an answer that failed while it left is still there
            self._batch.leave(answer.request.seat)
            self._scoring.leave(answer.request.seat)
        with self._changed:
            self._answers.remove(answer)
        answer.request.end(status, error)

    def _begin_anew(self, error: GraftError) -> None:
        """Ends every answer, where nobody can say any more what state the batch is in."""
        self._batch.clear()
        self._scoring.clear()
        with self._changed:
            answers = tuple(self._answers)
            self._answers.clear()
        for answer in answers:
            try:
                answer.pieces.close()
            except Exception as further:
                self._shown(further)
            answer.request.end("failed", error)

    def _admit(self) -> None:
        """Lets in whoever there is room for: in fair order."""
        with self._changed:
            while True:
                chosen = self._fair.first(self._waiting, self._owners())
                if chosen is None or not self._fits(chosen):
                    return
                self._waiting.remove(chosen)
                self._fair.let_in(chosen)
                chosen.start()
                self._answers.append(Answer(chosen, chosen.pieces(self.pair, self._batch, self._scoring)))

    def _fits(self, request: Writing) -> bool:
        jobs = [answer.request.job for answer in self._answers]
        if sum(answer.request.owner == request.owner for answer in self._answers) >= MAX_WRITING_PER_OWNER:
            return False
        return not jobs or self._room.holds((*jobs, request.job))

    def _shown(self, error: Exception) -> GraftError:
        """What a person is shown; what is a bug is logged."""
        if isinstance(error, GraftError):
            return _bare(error)
        threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, self._thread)))
        return GraftError(f"{type(error).__name__}: {error}", "This is a bug; see the log.")


def _bare(error: GraftError) -> GraftError:
    """The error without its traceback, whose frames would keep the caches of a failed step in memory."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
