"""Who measures the prompts of a study: this process, or actors of a Ray cluster, one a device.

Both measure the same batches, so they give the same numbers. Knows batches and workers; knows no folder.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import torch

from core.errors import ArgumentError, GraftError, StudyError
from core.pair.pair import Pair
from core.study.measure_prompt import Measured, check_pair, problem_of
from core.study.pairs import PairChoice, PairFacts, facts_of
from core.study.prompts import StudyPrompt
from core.study.settings import StudySettings
from core.study.tasks import Task, Visit, Visited

Stop = Callable[[], bool]
Work = Task | Visit
Result = Measured | Visited
TRIES = 3
_POLL_SECONDS = 0.5


class Engine(Protocol):
    """Measures prompts."""

    @property
    def name(self) -> str:
        """Which engine it is."""

    @property
    def choice(self) -> PairChoice:
        """The pair it measures."""

    def facts(self) -> PairFacts:
        """The same, once opened."""

    def problems(self, prompts: Sequence[StudyPrompt], settings: StudySettings) -> tuple[str | None, ...]:
        """Why each prompt cannot be measured; None where it can."""

    def run(self, tasks: Iterable[Work], settings: StudySettings, stop: Stop) -> Iterator[Result]:
        """Measures what is wanted, in any order, until there is no more or `stop` says so."""

    def close(self) -> None:
        """Lets go of whatever it holds."""


class LocalEngine:
    """Measures in this process, one batch after another.

    Args:
        pair: the models.
    """

    name = "local"

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self.choice = PairChoice.of(pair)

    def facts(self) -> PairFacts:
        """The pair's facts."""
        return facts_of(self._pair)

    def problems(self, prompts: Sequence[StudyPrompt], settings: StudySettings) -> tuple[str | None, ...]:
        """Why each prompt cannot be measured; None where it can.

        Raises:
            PromptError: none of them can: there is no chat template.
        """
        check_pair(self._pair, settings)
        return tuple(problem_of(self._pair, prompt, settings) for prompt in prompts)

    def run(self, tasks: Iterable[Work], settings: StudySettings, stop: Stop) -> Iterator[Result]:
        """Measures prompt by prompt; `stop` is asked before each."""
        for task in tasks:
            if stop():
                return
            for result in task.results(self._pair, settings):
                yield result
                if stop():
                    return

    def close(self) -> None:
        """Nothing to let go of: the pair is the caller's."""


class _Worker:
    """What runs in an actor: one pair on one device."""

    def __init__(self, choice: PairChoice) -> None:
        self._engine = LocalEngine(choice.load())

    def pid(self) -> int:
        return os.getpid()

    def facts(self) -> PairFacts:
        return self._engine.facts()

    def problems(self, prompts: Sequence[StudyPrompt], settings: StudySettings) -> tuple[str | None, ...]:
        return self._engine.problems(prompts, settings)

    def measure(self, task: Work, settings: StudySettings) -> list[Result]:
        return list(self._engine.run([task], settings, lambda: False))


class RayEngine:
    """Measures in actors of a Ray cluster, each with a pair on a device of its own.

    An actor that dies is replaced and its batch measured again by another; nothing it gave before is lost.

    Args:
        choice: the pair; every machine of the cluster must be able to open it, and have the project installed.
        address: of a running cluster, or `auto`; None starts one on this machine and stops it at the end.
        workers: how many actors; by default one a graphics card of the cluster, or on CPUs one a core.

    Raises:
        ArgumentError: Ray is not installed, there is no such cluster, or it has no device for a single actor.
    """

    name = "ray"

    def __init__(self, choice: PairChoice, address: str | None = None, workers: int | None = None) -> None:
        self.choice = choice
        self._ray = _import_ray()
        self._started = not self._ray.is_initialized()
        on_cuda = torch.device(choice.device).type == "cuda"
        try:
            if self._started:
                own: dict[str, Any] = (
                    {"address": address} if address else {"num_cpus": workers, "_node_ip_address": "127.0.0.1"}
                )
                self._ray.init(include_dashboard=None if address else False, log_to_driver=False, **own)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ArgumentError(f"There is no Ray cluster at {address!r}: {error}.", "Start it first.") from error
        there = int(self._ray.cluster_resources().get("GPU" if on_cuda else "CPU", 0))
        self._wanted = min(workers or there, there)
        if self._wanted < 1:
            self.close()
            raise ArgumentError(f"The cluster has no device for {choice.device}.", "Use another --device.")
        self._actor = self._ray.remote(num_cpus=1, num_gpus=1 if on_cuda else 0)(_Worker)
        self.actors = [self._new() for _ in range(self._wanted)]

    def facts(self) -> PairFacts:
        """The facts of the actors' pairs.

        Raises:
            StudyError: they are not the same.
        """
        found = self._got([actor.facts.remote() for actor in self.actors])
        if len({facts.decisive for facts in found}) > 1:
            raise StudyError("The cluster's machines hold different pairs.", "Fetch the same pair on all of them.")
        first: PairFacts = found[0]
        return first

    def problems(self, prompts: Sequence[StudyPrompt], settings: StudySettings) -> tuple[str | None, ...]:
        """As the local engine; one actor looks at them."""
        found: tuple[str | None, ...] = self._got([self.actors[0].problems.remote(tuple(prompts), settings)])[0]
        return found

    def run(self, tasks: Iterable[Work], settings: StudySettings, stop: Stop) -> Iterator[Result]:
        """Measures batch by batch, visit by visit; on `stop` what is in hand is given up.

        Raises:
            StudyError: a batch has brought down several actors.
            GraftError: whatever measuring raises.
        """
        waiting = deque(tasks)
        idle = deque(self.actors)
        busy: dict[Any, tuple[Any, Work]] = {}
        deaths: dict[tuple[str, ...], int] = {}
        while (waiting or busy) and not stop():
            while waiting and idle:
                actor, task = idle.popleft(), waiting.popleft()
                busy[actor.measure.remote(task, settings)] = (actor, task)
            ready, _ = self._ray.wait(list(busy), num_returns=1, timeout=_POLL_SECONDS)
            for reference in ready:
                actor, task = busy.pop(reference)
                try:
                    found = self._got([reference])[0]
                except self._ray.exceptions.RayActorError as error:
                    deaths[task.documents] = deaths.get(task.documents, 0) + 1
                    if deaths[task.documents] == TRIES:
                        names = ", ".join(task.documents)
                        raise StudyError(
                            f"{TRIES} actors died while they measured {names}: {error}.", "Use a smaller --batch."
                        ) from error
                    self.actors.remove(actor)
                    actor = self._new()
                    self.actors.append(actor)
                    waiting.appendleft(task)
                    found = []
                idle.append(actor)
                yield from found

    def close(self) -> None:
        """Ends the actors, and the cluster where it was started here."""
        for actor in getattr(self, "actors", []):
            self._ray.kill(actor)
        self.actors = []
        if self._started:
            self._ray.shutdown()

    def _new(self) -> Any:
        return self._actor.remote(self.choice)

    def _got(self, references: Sequence[Any]) -> list[Any]:
        """Results; an error of ours as itself."""
        try:
            found: list[Any] = self._ray.get(list(references))
            return found
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, GraftError):
                raise error.cause from None
            raise


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ArgumentError(
            "Ray is not installed.", "Install it with `pip install -r requirements-ray.txt`, or use the local engine."
        ) from error
    return ray
