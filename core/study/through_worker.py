"""Measures the prompts of a study through a pair's one worker, so that questions and other computations go on.

Every prompt is a computation of its own that gives way to all others. Knows workers; knows no folder.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from core.errors import ArgumentError
from core.generate.requests import Progress, Result
from core.generate.requests import Task as Computation
from core.generate.worker import Worker
from core.pair.pair import Pair
from core.study.engines import Result as Outcome
from core.study.engines import Stop, Work
from core.study.measure_prompt import check_pair, problem_of
from core.study.pairs import PairChoice, PairFacts, facts_of
from core.study.prompts import StudyPrompt
from core.study.settings import StudySettings


class Interrupted(Exception):
    """The worker has given up the prompt in hand; what was measured before it is kept."""


class WorkerEngine:
    """Measures in a worker's thread; called from another one, which waits.

    Args:
        worker: of the pair.
        owner: in whose name it asks; no browser session's, so that none that goes away ends a study.

    Attributes:
        in_hand: what is being measured and the share of it that is done; empty before and after.
    """

    name = "worker"

    def __init__(self, worker: Worker, owner: str) -> None:
        self.choice = PairChoice.of(worker.pair)
        self.in_hand: tuple[str, float] = ("", 0.0)
        self._worker, self._owner = worker, owner
        self._asked: Computation[Any] | None = None
        self._progress: Progress | None = None
        self._closed = False

    def facts(self) -> PairFacts:
        """The pair's facts."""
        return self._ask(facts_of)

    def problems(self, prompts: Sequence[StudyPrompt], settings: StudySettings) -> tuple[str | None, ...]:
        """Why each prompt cannot be measured; None where it can.

        Raises:
            PromptError: none of them can: there is no chat template.
        """

        def look(pair: Pair) -> tuple[str | None, ...]:
            check_pair(pair, settings)
            found: list[str | None] = []
            for prompt in prompts:
                self._tell("reading rows", len(found) / len(prompts))
                found.append(problem_of(pair, prompt, settings))
            return tuple(found)

        return self._ask(look)

    def run(self, tasks: Iterable[Work], settings: StudySettings, stop: Stop) -> Iterator[Outcome]:
        """Measures prompt by prompt; `stop` is asked before each.

        Where the worker is shut down or the engine closed, the prompt in hand is given up.
        """
        for task in tasks:
            pieces = task.results(self._worker.pair, settings, self._tell)
            while not stop():
                try:
                    found = self._ask(partial(_next, pieces))
                except Interrupted:
                    return
                if found is None:
                    break
                yield found
            else:
                return

    def close(self) -> None:
        """Gives up the prompt in hand at its next report."""
        self._closed = True
        if self._asked is not None:
            self._asked.close()

    def _tell(self, words: str, share: float) -> None:
        self.in_hand = (words, share)
        if self._progress is not None:
            self._progress(share)

    def _ask(self, work: Callable[[Pair], Result]) -> Result:
        """What `work` gives, once the worker has come to it.

        Raises:
            Interrupted: the worker was shut down, or the engine closed.
            GraftError: whatever `work` raises.
        """

        def told(pair: Pair, progress: Progress) -> Result:
            self._progress = progress
            return work(pair)

        try:
            asked = self._worker.call(told, self._owner, gives_way=True)
        except ArgumentError as error:
            raise Interrupted from error  # the pair has been unloaded
        self._asked = asked
        if self._closed:
            asked.close()
        asked.wait()
        self.in_hand = ("", 0.0)
        if asked.error is not None:
            raise asked.error
        if asked.status != "done":
            raise Interrupted
        result: Result = asked.result  # type: ignore[assignment]  # done, so it is there
        return result


def _next(pieces: Iterator[Outcome], pair: Pair) -> Outcome | None:
    return next(pieces, None)
