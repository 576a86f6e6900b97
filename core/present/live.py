"""A run on its way: a question put to a worker, its lanes as they grow, and the report made of them.

Asking again with other hybrids keeps what every unchanged lane has written. Knows the worker and
reports; knows no widgets.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from core.errors import ArgumentError, GraftError, TooLongError
from core.generate.record import LaneRecord
from core.generate.requests import Progress, Request, Task
from core.generate.sampling import Sampling
from core.generate.worker import Worker
from core.generate.writing import Job, Writing
from core.measure.answers import first_divergence, parted_at
from core.measure.noise import noise_of
from core.measure.reference import Reference, score_reference
from core.pair.pair import Pair
from core.pair.prompts import Message, Prompt
from core.present.forks import MAX_FORKS, Fork, checked_fork, fork_lane
from core.present.hybrids import lane_names, run_lanes
from core.present.provenance import SCHEMA_VERSION, provenance_of
from core.present.run_command import command_of
from core.present.runs import LaneRun, RunReport, RunSettings


class LiveRun:
    """One question with its lanes.

    Attributes:
        messages, settings: what was asked, and how.
        prompt: as token ids.
        records: lane name → what it has written, in the order lanes are shown; some may come from an earlier run.
        request: the worker's request that fills them; None where every lane was kept from an earlier run.
        scoring: the worker's request that scores the reference answer; None without one.
        forks: lane name → what it was begun with and how; their records stand after all others.
    """

    def __init__(
        self,
        worker: Worker,
        messages: tuple[Message, ...],
        settings: RunSettings,
        prompt: Prompt,
        records: dict[str, LaneRecord],
        request: Writing | None,
        scoring: Task[Reference] | None,
    ) -> None:
        self.worker, self.messages, self.settings, self.prompt = worker, messages, settings, prompt
        self.records, self.request, self.scoring = records, request, scoring
        self.forks: dict[str, Fork] = {}
        self._forking: list[Writing] = []
        self._finished: RunReport | None = None

    @property
    def requests(self) -> tuple[Request, ...]:
        """Everything this run has with the worker."""
        return tuple(request for request in (self.request, *self._forking, self.scoring) if request is not None)

    @property
    def running(self) -> bool:
        """Whether more will come."""
        return not all(request.ended for request in self.requests)

    @property
    def written(self) -> bool:
        """Whether every answer is whole and scored; how far rounding moves its figures may not be known yet."""
        writing = [request for request in (self.request, *self._forking) if request is not None]
        return all(request.ended or request.answered_at for request in writing)

    def stop(self) -> None:
        """Asks the worker to remove this run's rows."""
        for request in reversed(self.requests):
            request.close()

    def fork(self, fork: Fork, owner: str) -> Writing:
        """Continues an answer from one of its tokens with another one; its lane is written beside the others.

        Raises:
            ArgumentError: there is no such lane or token, it would write the same again, or there are too many.
        """
        if len(self.forks) >= MAX_FORKS:
            raise ArgumentError(f"There are {MAX_FORKS} forks already.", "Run the question again to begin anew.")
        parent = self.records.get(fork.parent)
        answer = tuple(parent.ids) if parent is not None else ()
        models = [name for name in self.records if name not in self.forks]
        checked_fork(fork, answer, list(self.records), self.worker.pair.prompts.end_ids)
        if fork.model not in models:
            raise ArgumentError(f"{fork.model} is a fork itself.", f"Use the model of {', '.join(models)}.")
        name = fork_lane(len(self.forks) + 1)
        lane = replace(self.records[fork.model].lane, name=name)
        job = Job(self.prompt, (lane,), sampling_of(self.settings), self.settings.max_new_tokens, fork.begun(answer))
        request = self.worker.submit(job, owner)
        self.forks[name], self.records[name] = fork, request.records[0]
        self._forking.append(request)
        self._finished = None
        return request

    def parted(self, lane: str) -> int | None:
        """The first token at which a lane's answer differs from base's, as far as both came; of a fork, its place."""
        if lane in self.forks:
            return self.forks[lane].at
        return parted_at(tuple(self.records["base"].ids), tuple(self.records[lane].ids))

    def report(self) -> RunReport:
        """The run as it stands, as a file; made once where nothing more will come."""
        if self.running:
            return self._report()
        if self._finished is None:
            self._finished = self._report()
        return self._finished

    def _report(self) -> RunReport:
        pair, prompts = self.worker.pair, self.worker.pair.prompts
        lanes = tuple(
            LaneRun(record.answer(prompts, self.prompt), record.tokens(prompts, self.prompt), self.forks.get(name))
            for name, record in self.records.items()
        )
        written = {lane.answer.name: lane.answer.ids for lane in lanes}
        return RunReport(
            schema_version=SCHEMA_VERSION,
            command=command_of(self.messages, self.settings, lanes, pair),
            provenance=provenance_of(pair, self.settings.seed),
            messages=self.messages,
            settings=self.settings,
            prompt_ids=self.prompt.ids,
            lanes=lanes,
            reference=self.scoring.result if self.scoring else None,
            first_divergence=first_divergence(written["base"], written["tuned"]),
            noise=noise_of(pair).js_distance,
            banner=pair.adapter.banner,
            warnings=pair.adapter.warnings,
        )


def sampling_of(settings: RunSettings) -> Sampling:
    """How a run's lanes choose tokens; greedy lanes need no coupling."""
    coupled = settings.coupled and settings.temperature > 0
    return Sampling(settings.temperature, settings.top_p, settings.seed, coupled)


def build_prompt(pair: Pair, messages: Sequence[Message], settings: RunSettings) -> Prompt:
    """The prompt of a conversation under these settings."""
    if settings.raw:
        return pair.prompts.raw(messages[-1]["content"])
    system = [Message(role="system", content=settings.system)] if settings.system else []
    return pair.prompts.chat([*system, *messages])


def start(
    worker: Worker, messages: tuple[Message, ...], settings: RunSettings, owner: str, previous: LiveRun | None = None
) -> LiveRun:
    """Puts a question to the worker.

    Args:
        worker: the pair's worker.
        messages: the conversation, ending with the question.
        settings: how to ask.
        owner: the browser session.
        previous: the last run; lanes that would come out the same are kept from it.

    Raises:
        GraftError: the question or a setting cannot be used, or too much waits already; nothing of it is written.
    """
    pair = worker.pair
    prompt = build_prompt(pair, messages, settings)
    lanes = {lane.name: lane for lane in run_lanes(pair, settings.hybrids)}
    scorable = None if not settings.reference else _reference_ids(pair, prompt, settings.reference)

    kept = _kept(previous, worker, messages, settings)
    new = tuple(lane for name, lane in lanes.items() if name not in kept)
    sampling = sampling_of(settings)
    request = worker.submit(Job(prompt, new, sampling, settings.max_new_tokens), owner) if new else None
    found = kept | {record.lane.name: record for record in (request.records if request else ())}
    scoring = None
    if scorable and settings.reference:
        models = {name: lane.gates for name, lane in lanes.items() if lane.kind == "graft"}
        work = partial(_scored, prompt=prompt, text=settings.reference, ids=scorable, models=models)
        try:
            scoring = worker.call(work, owner)
        except GraftError:
            if request is not None:
                request.close()
            raise
    return LiveRun(worker, messages, settings, prompt, {name: found[name] for name in lanes}, request, scoring)


def _reference_ids(pair: Pair, prompt: Prompt, text: str) -> tuple[int, ...]:
    ids = pair.prompts.answer_ids(text, end=False)
    if len(prompt.ids) + len(ids) > pair.max_positions:
        raise TooLongError(
            f"Question and reference answer have {len(prompt.ids) + len(ids):,} tokens.",
            f"The context holds {pair.max_positions:,}: shorten one.",
        )
    return ids


def _scored(pair: Pair, progress: Progress, **what: Any) -> Reference:
    return score_reference(pair, **what, progress=progress)


def _kept(
    previous: LiveRun | None, worker: Worker, messages: tuple[Message, ...], settings: RunSettings
) -> dict[str, LaneRecord]:
    """The lanes of the last run that would come out the same, if hybrids or the reference were changed.

    None where nothing was: whoever asks the very same again wants it written again.
    """
    if previous is None or previous.running or previous.worker is not worker or previous.messages != messages:
        return {}
    if settings == previous.settings:
        return {}
    if replace(previous.settings, hybrids=settings.hybrids, reference=settings.reference) != settings:
        return {}
    kept = {name: previous.records[name] for name in ("base", "tuned")}
    before = dict(zip(lane_names(previous.settings.hybrids), previous.settings.hybrids, strict=True))
    for lane, hybrid in zip(lane_names(settings.hybrids), settings.hybrids, strict=True):
        same = [name for name, known in before.items() if known.same_model(hybrid)]
        if same:
            kept[lane] = previous.records[same[0]].renamed(lane)
    return {name: record for name, record in kept.items() if record.again is not None}
