"""How far a study is: prompts measured and visits made, kept in its folder as they are.

Knows the store; measures nothing.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import core
from core.study.engines import Engine, Result
from core.study.prompts import StudyPrompt
from core.study.schema import VISITED
from core.study.settings import StudySettings
from core.study.store import StudyStore
from core.study.tasks import Visited
from core.study.work import prompt_work, visit_work


@dataclass(frozen=True)
class StudyProgress:
    """How far a study is.

    Attributes:
        done: prompts measured, in earlier runs too.
        of: prompts in all.
        sets_done: visits made for sets of layers, after all prompts have been measured.
        sets_of: visits there will be; until then as far as it can be told.
        seconds: of this run.
        per_second: prompts measured and visits made in this run a second; None before the first.
        seconds_left: at the rate of this run; None before the first. A prompt whose layers are measured counts for as
            much more as it is expected to take.
    """

    done: int
    of: int
    sets_done: int
    sets_of: int
    seconds: float
    per_second: float | None
    seconds_left: float | None


class StudyLog:
    """Keeps results and counts them.

    Args:
        store: of the study.
        engine: who measures.
        settings: what.
        prompts: all of them.
        n_visits: table → how many visits it takes, as far as it can be told.

    Attributes:
        done: places of the prompts that have been measured.
        visited: table → places of the prompts that have been visited for it.
        complete: whether nothing is left to do; the runner says so.
    """

    def __init__(
        self,
        store: StudyStore,
        engine: Engine,
        settings: StudySettings,
        prompts: Sequence[StudyPrompt],
        n_visits: Mapping[str, int],
    ) -> None:
        self._store, self._engine = store, engine
        self.done = store.done()
        self.visited = {table: store.visited(table) for table in VISITED}
        self.complete = False
        n_layers = int(store.record["facts"]["n_layers"])
        self._work = {prompt.place: prompt_work(prompt, settings, n_layers) for prompt in prompts}
        self._visit_work = {table: visit_work(table, settings, n_layers) for table in VISITED}
        self._expected = dict(n_visits)
        self._before, self._started = (len(self.done), self._n_visited, self._work_done), time.monotonic()
        self._earlier = store.record["runs"]

    def add(self, result: Result) -> None:
        """Keeps a result."""
        if isinstance(result, Visited):
            self._store.add_visit(result)
            self.visited[result.table].add(result.place)
        else:
            self._store.add(result)
            self.done.add(result.place)

    def expect(self, table: str, n: int) -> None:
        """Says how many visits a table takes; no later one takes more."""
        for name in VISITED[VISITED.index(table) :]:
            self._expected[name] = min(n, self._expected[name])

    def note(self, state: str, **more: Any) -> StudyProgress:
        """Writes it down."""
        seconds, sets_done, sets_of = time.monotonic() - self._started, self._n_visited, sum(self._expected.values())
        prompts, visits = len(self.done) - self._before[0], sets_done - self._before[1]
        left = self._work_left * seconds / (self._work_done - self._before[2]) if prompts + visits else None
        run = {"engine": self._engine.name, "prompts": prompts, "sets": visits, "seconds": round(seconds, 1)}
        expected = {"seconds_left": None if left is None else round(left, 1), "versions": _versions()}
        runs = [*self._earlier, run | expected]
        self._store.note(state=state, done=len(self.done), sets_done=sets_done, sets_of=sets_of, runs=runs, **more)
        rate = (prompts + visits) / seconds if prompts + visits else None
        return StudyProgress(len(self.done), len(self._work), sets_done, sets_of, seconds, rate, left)

    @property
    def _n_visited(self) -> int:
        return sum(map(len, self.visited.values()))

    @property
    def _work_done(self) -> float:
        visits = sum(self._visit_work[table] * len(places) for table, places in self.visited.items())
        return sum(self._work[place] for place in self.done) + visits

    @property
    def _work_left(self) -> float:
        visits = sum(self._visit_work[table] * (n - len(self.visited[table])) for table, n in self._expected.items())
        return sum(work for place, work in self._work.items() if place not in self.done) + visits


def _versions() -> dict[str, str]:
    """Versions of what computes the figures."""
    return {"graft": core.__version__, **{name: version(name) for name in ("torch", "transformers", "peft")}}
