"""Runs a study: every prompt measured once, kept as soon as it is, however often the run is stopped.

Knows engines and the store; measures nothing itself.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import core
from core.data.fields import all_bad
from core.errors import DataError, StudyError
from core.study.corpora import Corpus, read_corpora
from core.study.engines import Engine, Stop, Task
from core.study.frames import Floors
from core.study.pairs import PairChoice, PairFacts
from core.study.prompts import StudyPrompt, batches, study_prompts
from core.study.schema import SCHEMA
from core.study.settings import StudySettings, from_plain, to_plain
from core.study.store import StudyStore, create_store, open_store, read_record

_NOTE_SECONDS = 2.0


@dataclass(frozen=True)
class StudyProgress:
    """How far a study is.

    Attributes:
        done: prompts measured, in earlier runs too.
        of: prompts in all.
        seconds: of this run.
        per_second: prompts measured in this run a second; None before the first.
        seconds_left: at this rate; None before the first. Prompts whose layers are measured take longer; they are
            spread evenly.
    """

    done: int
    of: int
    seconds: float
    per_second: float | None
    seconds_left: float | None


@dataclass(frozen=True)
class StudyOutcome:
    """What a run left.

    Attributes:
        state: `finished`, or `stopped`: it can be resumed.
        progress: at its end.
        tables: name → rows in its parquet file.
        left_out: prompts that could not be measured, and why.
    """

    state: Literal["finished", "stopped"]
    progress: StudyProgress
    tables: dict[str, int]
    left_out: tuple[str, ...]


Tell = Callable[[StudyProgress], None]


def run_study(
    engine: Engine,
    settings: StudySettings,
    folder: Path,
    progress: Tell | None = None,
    stop: Stop | None = None,
    tables_wanted: Stop | None = None,
) -> StudyOutcome:
    """Begins a study and runs it to its end, or until it is stopped.

    Args:
        engine: who measures.
        settings: what.
        folder: receives `study.json`, the journal, and `tables/NAME.parquet`; must hold no study.
        progress: told after every prompt.
        stop: asked between prompts.
        tables_wanted: asked between prompts; where it says so, tables of what has been measured are written at once.

    Raises:
        DataError: a corpus or one of its prompts cannot be used, and is not to be skipped.
        StudyError: the folder cannot be used.
    """
    if (folder / "study.json").exists():
        read_record(folder)
        raise StudyError(f"{folder} holds a study already.", "Resume it, or give another folder.")
    corpora = read_corpora(settings.corpora, settings.seed)
    prompts = study_prompts(corpora, settings)
    facts = engine.facts()
    left_out = _checked(engine, prompts, settings)
    record = _record(settings, corpora, engine, facts, left_out, len(prompts))
    with create_store(folder, corpora, record) as store:
        return _go_on(store, engine, settings, prompts, progress, stop, tables_wanted)


def resume_study(
    engine: Engine,
    folder: Path,
    progress: Tell | None = None,
    stop: Stop | None = None,
    tables_wanted: Stop | None = None,
) -> StudyOutcome:
    """Goes on with a study; what has been measured is not measured again.

    Args:
        engine: who measures; of the same pair on the same kind of device.
        folder: of the study.
        progress, stop, tables_wanted: as for `run_study`.

    Raises:
        StudyError: there is no study, another process is at work on it, or its pair was another one.
    """
    with open_store(folder) as store:
        before = facts_from(store.record)
        for (name, old), (_, new) in zip(before.decisive, engine.facts().decisive, strict=True):
            if old != new:
                raise StudyError(
                    f"This study was begun with another {name}: {old}, and now it is {new}.",
                    "Resume it with the same pair on the same kind of device, or start another.",
                )
        settings = settings_from(store.record)
        prompts = study_prompts(store.corpora(), settings)
        return _go_on(store, engine, settings, prompts, progress, stop, tables_wanted)


def settings_from(record: dict[str, Any]) -> StudySettings:
    """The settings in `study.json`."""
    return from_plain(record["settings"])


def facts_from(record: dict[str, Any]) -> PairFacts:
    """The pair's facts in `study.json`."""
    facts = record["facts"]
    return PairFacts(**{**facts, "floors": Floors(**facts["floors"]), "warnings": tuple(facts["warnings"])})


def choice_from(record: dict[str, Any]) -> PairChoice:
    """The pair in `study.json`."""
    return PairChoice(**record["pair"])


def _checked(engine: Engine, prompts: Sequence[StudyPrompt], settings: StudySettings) -> tuple[str, ...]:
    """Prompts the models cannot take, where they are to be skipped."""
    found = [
        (prompt, problem)
        for prompt, problem in zip(prompts, engine.problems(prompts, settings), strict=True)
        if problem is not None
    ]
    skipped = {choice.label for choice in settings.corpora if choice.skip_bad}
    refused = [DataError(problem, "Shorten it.") for prompt, problem in found if prompt.corpus not in skipped]
    if refused:
        raise all_bad(refused, "the corpora")
    if len(found) == len(prompts):
        raise DataError("None of the prompts can be measured.", "Give other corpora.")
    return tuple(problem for _, problem in found)


def _record(
    settings: StudySettings,
    corpora: Sequence[Corpus],
    engine: Engine,
    facts: PairFacts,
    left_out: Sequence[str],
    n_prompts: int,
) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA,
        "state": "running",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": to_plain(settings),
        "settings_sha256": settings.sha256,
        "corpora": [
            {
                "name": corpus.name,
                "kind": corpus.kind,
                "rows": len(corpus.rows),
                "found": corpus.n_found,
                "sha256": corpus.sha256,
                "bad": list(corpus.bad),
            }
            for corpus in corpora
        ],
        "pair": asdict(engine.choice),
        "facts": asdict(facts),
        "prompts": n_prompts,
        "done": 0,
        "left_out": list(left_out),
        "tables": {},
        "runs": [],
    }


def _go_on(
    store: StudyStore,
    engine: Engine,
    settings: StudySettings,
    prompts: Sequence[StudyPrompt],
    progress: Tell | None,
    stop: Stop | None,
    tables_wanted: Stop | None,
) -> StudyOutcome:
    done = store.done()
    before, started, noted = len(done), time.monotonic(), 0.0
    earlier = store.record["runs"]

    def so_far(state: str, **more: Any) -> StudyProgress:
        seconds = time.monotonic() - started
        own = len(done) - before
        rate = own / seconds if own else None
        run = {"engine": engine.name, "prompts": own, "seconds": round(seconds, 1), "versions": _versions()}
        store.note(state=state, done=len(done), runs=[*earlier, run], **more)
        return StudyProgress(
            len(done), len(prompts), seconds, rate, (len(prompts) - len(done)) / rate if rate else None
        )

    state: Literal["finished", "stopped"] = "stopped"
    try:
        so_far("running")
        tasks = [
            Task(batch, wanted)
            for batch in batches(prompts, settings.batch)
            if (wanted := frozenset(prompt.place for prompt in batch) - done)
        ]
        for measured in engine.run(tasks, settings, stop or (lambda: False)):
            store.add(measured)
            done.add(measured.place)
            if progress or time.monotonic() - noted > _NOTE_SECONDS:
                noted = time.monotonic()
                told = so_far("running")
                if progress:
                    progress(told)
            if tables_wanted and tables_wanted():
                so_far("running", tables=store.finish())
        state = "finished" if len(done) == len(prompts) else "stopped"
        tables = store.finish()
        return StudyOutcome(state, so_far(state, tables=tables), tables, tuple(store.record["left_out"]))
    finally:
        so_far(state)


def _versions() -> dict[str, str]:
    """Versions of what computes the figures."""
    return {"graft": core.__version__, **{name: version(name) for name in ("torch", "transformers", "peft")}}
