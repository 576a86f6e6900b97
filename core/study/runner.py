"""Runs a study: every prompt measured once, then visited for sets of layers, however often the run is stopped.

Knows engines and the store; measures nothing itself.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from core.data.fields import all_bad
from core.errors import DataError, StudyError
from core.study.corpora import Corpus, read_corpora
from core.study.engines import Engine, Result, Stop
from core.study.frames import Floors
from core.study.pairs import PairChoice, PairFacts
from core.study.passes import adapter_visits, nested_visits, scoring_visits, unmeasured, visits_expected
from core.study.prompts import StudyPrompt, study_prompts
from core.study.schema import SCHEMA, VISITED
from core.study.settings import StudySettings, from_plain, to_plain
from core.study.store import StudyStore, create_store, open_store, read_record
from core.study.study_log import StudyLog, StudyProgress
from core.study.tasks import Visit

_NOTE_SECONDS = 2.0


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
        progress: told after every prompt and every visit.
        stop: asked between them.
        tables_wanted: asked between them; where it says so, tables of what has been measured are written at once.

    Raises:
        DataError: a corpus or one of its prompts cannot be used, and is not to be skipped.
        StudyError: the folder cannot be used.
    """
    if (folder / "study.json").exists():
        read_record(folder, (SCHEMA,))
        raise StudyError(f"{folder} holds a study already.", "Resume it, or give another folder.")
    corpora = read_corpora(settings.corpora, settings.seed)
    prompts = study_prompts(corpora, settings)
    facts = engine.facts()
    left_out = _checked(engine, prompts, settings)
    record = _record(settings, corpora, engine, facts, left_out, prompts)
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
    prompts: Sequence[StudyPrompt],
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
        "prompts": len(prompts),
        "done": 0,
        "sets_done": 0,
        "sets_of": sum(visits_expected(prompts, settings).values()),
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
    log = StudyLog(store, engine, settings, prompts, visits_expected(prompts, settings))
    state: Literal["finished", "stopped"] = "stopped"
    try:
        log.note("running")
        noted = time.monotonic()
        for result in _results(store, engine, settings, prompts, stop or (lambda: False), log):
            log.add(result)
            if progress or time.monotonic() - noted > _NOTE_SECONDS:
                noted = time.monotonic()
                told = log.note("running")
                if progress:
                    progress(told)
            if tables_wanted and tables_wanted():
                log.note("running", tables=store.finish())
        tables = store.finish()
        state = "finished" if log.complete else "stopped"
        return StudyOutcome(state, log.note(state, tables=tables), tables, tuple(store.record["left_out"]))
    finally:
        log.note(state)


def _results(
    store: StudyStore,
    engine: Engine,
    settings: StudySettings,
    prompts: Sequence[StudyPrompt],
    stop: Stop,
    log: StudyLog,
) -> Iterator[Result]:
    """Pass by pass; a pass that was stopped is the last."""
    yield from engine.run(unmeasured(prompts, settings, log.done), settings, stop)
    if len(log.done) < len(prompts):
        return
    floor = facts_from(store.record).floors.kl
    passes: dict[str, Callable[[], list[Visit]]] = {
        "nested_sets": lambda: nested_visits(store, prompts, settings),
        "sets": lambda: scoring_visits(store, prompts, settings, floor),
        "adapter_sets": lambda: adapter_visits(store, prompts, settings, floor),
    }
    for table in VISITED:
        visits = passes[table]()
        log.expect(table, len(visits))
        there = store.visited(table)
        yield from engine.run([one for one in visits if one.prompt.place not in there], settings, stop)
        if len(log.visited[table]) < len(visits):
            return
    log.complete = True


__all__ = ["StudyOutcome", "StudyProgress", "choice_from", "facts_from", "resume_study", "run_study", "settings_from"]
