"""A run on its way: a question put to a worker, its lanes as they grow, and the report made of them.

Asking again with only the hybrid's layers changed keeps what base and tuned have written. Knows the worker and
reports; knows no widgets.
"""

import shlex
from collections.abc import Sequence
from dataclasses import replace

from core.generate.record import Lane, LaneRecord
from core.generate.sampling import Sampling
from core.generate.worker import Job, Request, Worker
from core.measure.answers import first_divergence
from core.measure.noise import noise_of
from core.pair.gates import hybrid_gates
from core.pair.pair import Pair
from core.pair.prompts import Message, Prompt
from core.pair.registry import known_pairs
from core.present.provenance import SCHEMA_VERSION, provenance_of
from core.present.runs import LaneRun, RunReport, RunSettings

ORDER = ("base", "hybrid", "tuned")


class LiveRun:
    """One question with its three lanes.

    Attributes:
        messages, settings: what was asked, and how.
        prompt: as token ids.
        records: lane name → what it has written; base and tuned may come from an earlier run.
        request: the worker's request that fills them.
    """

    def __init__(
        self,
        worker: Worker,
        messages: tuple[Message, ...],
        settings: RunSettings,
        prompt: Prompt,
        records: dict[str, LaneRecord],
        request: Request,
    ) -> None:
        self.worker, self.messages, self.settings, self.prompt = worker, messages, settings, prompt
        self.records, self.request = records, request
        self._finished: RunReport | None = None

    @property
    def running(self) -> bool:
        """Whether more tokens will come."""
        return not self.request.ended

    def stop(self) -> None:
        """Asks the worker to remove this run's rows."""
        self.request.close()

    def parted(self, lane: str) -> int | None:
        """The first token at which a lane's answer differs from base's so far."""
        base, other = tuple(self.records["base"].ids), tuple(self.records[lane].ids)
        shared = min(len(base), len(other))
        growing = self.running or not shared
        return first_divergence(base[:shared], other[:shared]) if growing else first_divergence(base, other)

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
            LaneRun(self.records[name].answer(prompts, self.prompt), self.records[name].tokens(prompts, self.prompt))
            for name in ORDER
        )
        return RunReport(
            schema_version=SCHEMA_VERSION,
            command=command_of(self.messages, self.settings, pair),
            provenance=provenance_of(pair, self.settings.seed),
            messages=self.messages,
            settings=self.settings,
            prompt_ids=self.prompt.ids,
            lanes=lanes,
            first_divergence=first_divergence(lanes[0].answer.ids, lanes[2].answer.ids),
            noise=noise_of(pair).js_distance,
            banner=pair.adapter.banner,
            warnings=pair.adapter.warnings,
        )


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
        previous: the last run; its base and tuned lanes are kept where only the hybrid changed.

    Raises:
        GraftError: the question or a setting cannot be used; nothing was submitted.
    """
    pair = worker.pair
    prompt = build_prompt(pair, messages, settings)
    hybrid = Lane(
        "hybrid",
        hybrid_gates(pair.n_layers, settings.layers, settings.part, settings.strength, settings.direction),
    )
    sampling = Sampling(settings.temperature, settings.top_p, settings.seed)
    kept = _kept(previous, worker, messages, settings)
    if kept:
        lanes: tuple[Lane, ...] = (hybrid,)
    else:
        lanes = (Lane("base", pair.base_gates()), hybrid, Lane("tuned", pair.tuned_gates()))
    request = worker.submit(Job(prompt, lanes, sampling, settings.max_new_tokens), owner)
    records = kept | {record.lane.name: record for record in request.records}
    return LiveRun(worker, messages, settings, prompt, records, request)


def _kept(
    previous: LiveRun | None, worker: Worker, messages: tuple[Message, ...], settings: RunSettings
) -> dict[str, LaneRecord]:
    """Base and tuned of the last run, if only the hybrid's settings differ and both had ended by themselves."""
    if previous is None or previous.running or previous.worker is not worker or previous.messages != messages:
        return {}
    same = replace(
        previous.settings,
        layers=settings.layers, part=settings.part, strength=settings.strength, direction=settings.direction,
    )  # fmt: skip
    ended = all(previous.records[name].finished in ("end", "length") for name in ("base", "tuned"))
    if same != settings or not ended:
        return {}
    return {name: previous.records[name] for name in ("base", "tuned")}


def command_of(messages: Sequence[Message], settings: RunSettings, pair: Pair) -> str:
    """The line that gives the same three answers without the page; a conversation's last question only."""
    words = ["python", "-m", "core", "ask", messages[-1]["content"]]
    if pair.spec.name in known_pairs():
        words += ["--pair", pair.spec.name]
    else:
        words += ["--base", pair.spec.base.id, "--tuned", pair.spec.tuned.id]
    words += ["--layers", settings.layers, "--part", settings.part, "--strength", f"{settings.strength:g}"]
    words += ["--max-new-tokens", str(settings.max_new_tokens), "--seed", str(settings.seed)]
    words += ["--device", pair.device, "--dtype", pair.dtype]
    if settings.direction != "tuned-into-base":
        words += ["--direction", settings.direction]
    if settings.temperature:
        words += ["--temperature", f"{settings.temperature:g}", "--top-p", f"{settings.top_p:g}"]
    if settings.system:
        words += ["--system", settings.system]
    if settings.raw:
        words.append("--raw")
    return shlex.join(words)
