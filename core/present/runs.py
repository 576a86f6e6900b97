"""A finished run as one file: what was asked, how, and every token of every answer with its scores.

Downloaded, uploaded again and replayed without a model. Knows reports; runs nothing.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import ArgumentError, DataError
from core.generate.lane import LanePatch
from core.generate.record import LaneAnswer
from core.measure.reference import Likelihood, Reference
from core.measure.tokens import Choice, TokenScore
from core.pair.prompts import Message
from core.present.forks import Fork, fork_lane
from core.present.hybrids import Hybrid, hybrids_from, lane_names
from core.present.provenance import SCHEMA_VERSION, Provenance, Versions
from core.present.report import Report

MAX_BYTES = 40 * 2**20  # five lanes and four forks of 2,000 tokens take 31 MB


@dataclass(frozen=True)
class RunSettings:
    """How a question was asked.

    Attributes:
        system: the system prompt; null for the template's own.
        raw: whether the chat template was left out.
        hybrids: one to three; their lanes are called `hybrid`, `hybrid-2` and `hybrid-3`.
        temperature, top_p, seed, max_new_tokens: how tokens were chosen.
        coupled: whether lanes shared their noise, so that they choose differently only where their distributions do.
        reference: an answer given by a person, to be scored under every lane's model; null for none.
    """

    system: str | None = None
    raw: bool = False
    hybrids: tuple[Hybrid, ...] = (Hybrid(),)
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    max_new_tokens: int = 160
    reference: str | None = None
    coupled: bool = False


@dataclass(frozen=True)
class LaneRun:
    """One answer with its tokens; `fork` says where it left another one, null for the others."""

    answer: LaneAnswer
    tokens: tuple[TokenScore, ...]
    fork: Fork | None = None


@dataclass(frozen=True)
class RunReport(Report):
    """One question with its answers, complete enough to be shown again.

    `noise` is the floor of √(JS bits) under which a token carries no colour; `reference` the scores of a given answer.
    """

    messages: tuple[Message, ...]
    settings: RunSettings
    prompt_ids: tuple[int, ...]
    lanes: tuple[LaneRun, ...]
    reference: Reference | None
    first_divergence: int | None
    noise: float
    banner: str
    warnings: tuple[str, ...]


def run_from_json(text: str | bytes) -> RunReport:
    """A run read back from its file.

    Raises:
        DataError: it is not a run of this schema version, or too large; the message says which.
    """
    if len(text) > MAX_BYTES:
        raise DataError(f"The file has {len(text) / 2**20:.1f} MB; a run has at most {MAX_BYTES // 2**20}.", "")
    try:
        fields = json.loads(text)
        if fields.get("schema_version") != SCHEMA_VERSION:
            raise DataError(
                f"The file has schema version {fields.get('schema_version')}, expected {SCHEMA_VERSION}.",
                "Give a run downloaded from this version.",
            )
        if "messages" not in fields or "settings" not in fields:
            raise DataError(
                "The file is not a run of the Ask page; reports of the command line cannot be shown again.",
                "Give a file that “Download: run” wrote.",
            )
        settings = _settings(fields["settings"])
        lanes = tuple(_lane(lane) for lane in fields["lanes"])
        expected = ["base", *lane_names(settings.hybrids), "tuned"]
        forked = [lane.answer.name for lane in lanes if lane.fork is not None]
        if [lane.answer.name for lane in lanes] != [*expected, *(fork_lane(k + 1) for k in range(len(forked)))]:
            raise DataError(f"The file's lanes are not {', '.join(expected)}.", "Upload a run.")
        _check_forks(lanes)
        if not fields["messages"]:
            raise DataError("The file holds no question.", "Upload a run.")
        return RunReport(
            schema_version=SCHEMA_VERSION,
            command=None if fields["command"] is None else str(fields["command"]),
            provenance=Provenance(**{**fields["provenance"], "versions": Versions(**fields["provenance"]["versions"])}),
            messages=tuple(Message(role=m["role"], content=str(m["content"])) for m in fields["messages"]),
            settings=settings,
            prompt_ids=tuple(int(i) for i in fields["prompt_ids"]),
            lanes=lanes,
            reference=_reference(fields["reference"], settings) if fields["reference"] else None,
            first_divergence=fields["first_divergence"],
            noise=float(fields["noise"]),
            banner=str(fields["banner"]),
            warnings=tuple(str(w) for w in fields["warnings"]),
        )
    except (ArgumentError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"The file is not a Graft run: {type(error).__name__} {error}.", "Upload a run.") from error


def _check_forks(lanes: Sequence[LaneRun]) -> None:
    """Refuses forks that leave no answer of the file, or do not begin as they say."""
    models = {lane.answer.name for lane in lanes if lane.fork is None}
    written: dict[str, tuple[int, ...]] = {}
    for lane in lanes:
        fork, answer = lane.fork, lane.answer
        if fork is not None:
            parent = written.get(fork.parent, ())
            begun = fork.begun(parent) if fork.ids and 0 <= fork.at < len(parent) else None
            if fork.model not in models or begun is None or answer.ids[: len(begun)] != begun:
                raise DataError(f"The file's {answer.name} does not continue one of its answers.", "Upload a run.")
        written[answer.name] = answer.ids


def _settings(fields: dict[str, Any]) -> RunSettings:
    return RunSettings(**{**fields, "hybrids": hybrids_from(_lines(fields["hybrids"]))})


def _lines(hybrids: list[dict[str, Any]]) -> str:
    """Hybrids as the text a person could have typed, so that nothing else gets in."""
    numbers = [
        {name: float(hybrid[name]) for name in ("strength", "alpha") if hybrid.get(name) is not None}
        for hybrid in hybrids
    ]
    return "\n".join(Hybrid(**{**hybrid, **own}).text() for hybrid, own in zip(hybrids, numbers, strict=True))


def _reference(fields: dict[str, Any], settings: RunSettings) -> Reference:
    of_hybrids = zip(lane_names(settings.hybrids), settings.hybrids, strict=True)
    lanes = ["base", *(name for name, hybrid in of_hybrids if hybrid.kind == "graft"), "tuned"]
    tokens = tuple(_token(token) for token in fields["tokens"])
    models = tuple(Likelihood(str(m["name"]), float(m["nats"]), float(m["noise"])) for m in fields["models"])
    if [model.name for model in models] != lanes:
        raise DataError("The file's reference answer is not scored under its lanes.", "Upload a run.")
    return Reference(str(fields["text"]), tokens, models)


def _lane(fields: dict[str, Any]) -> LaneRun:
    given = fields["answer"]
    patch = LanePatch(given["patch"]["site"], tuple(given["patch"]["layers"])) if given.get("patch") else None
    answer = {**given, "ids": tuple(given["ids"]), "parts": tuple(given["parts"]), "patch": patch}
    fork = fields.get("fork")
    return LaneRun(
        LaneAnswer(**answer),
        tuple(_token(token) for token in fields["tokens"]),
        Fork(**{**fork, "ids": tuple(int(i) for i in fork["ids"])}) if fork else None,
    )


def _token(fields: dict[str, Any]) -> TokenScore:
    tops = {name: tuple(Choice(**c) for c in fields[name]) for name in ("top_base", "top_tuned") if fields.get(name)}
    bytes.fromhex(fields["bytes"])
    return TokenScore(**{**fields, **tops})
