"""`study`: both models over many prompts: run, resume, preview, report, compare."""

import argparse
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.commands.common import add_output, add_pair, check_out, chosen_spec, emit, open_pair, say
from core.commands.study_reading import compare_studies, report_study
from core.errors import ArgumentError
from core.present.document_file import FORMS
from core.present.provenance import SCHEMA_VERSION, command_line, provenance_of, versions
from core.present.study_reports import StudyReport
from core.present.study_source import provenance_of_facts
from core.present.study_text import duration, study_text
from core.study.choice import CORPUS_FORM, PRESETS, parse_corpus
from core.study.depth import CURVES
from core.study.engines import Engine, LocalEngine, RayEngine
from core.study.pairs import PairChoice
from core.study.preview import preview_study
from core.study.runner import StudyProgress, choice_from, facts_from, resume_study, run_study, settings_from
from core.study.schema import SCHEMA
from core.study.settings import MEASUREMENTS, StudySettings
from core.study.store import read_record

READING = {"report": report_study, "compare": compare_studies}
ACTIONS = ("run", "resume", "preview", *READING)
INTERRUPTED = 130
_NUMBERS = (
    "max_new_tokens", "batch", "sweep_prompts", "sweep_tokens", "permutations", "control_prompts", "random_adapters",
    "random_sets", "seed",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    d = StudySettings((PRESETS["medqa"],))
    parser.add_argument("action", choices=ACTIONS, help="begin, go on, look ahead, read a study, compare two")
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="of the study; not for preview")
    parser.add_argument("other", nargs="?", type=Path, metavar="FOLDER_B", help="the second study, for compare alone")
    parser.add_argument(
        "--corpus",
        nargs="+",
        action="extend",
        default=[],
        metavar="SPEC",
        help=f"{CORPUS_FORM}; presets: {', '.join(PRESETS)} (default for run and preview: both shipped corpora)",
    )
    parser.add_argument("--measure", default=",".join(d.measurements), help=f"out of {', '.join(MEASUREMENTS)}")
    for name in _NUMBERS:
        value = getattr(d, name)
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=int, default=value, metavar="N", help=f"default: {value}"
        )
    parser.add_argument(
        "--hybrid",
        default=d.hybrid,
        metavar="LAYERS",
        help=f"grafted in the hybrid that writes too: lower, middle, upper, or layers; default: {d.hybrid}",
    )
    parser.add_argument(
        "--control-kinds", default=",".join(d.control_kinds), help=f"curves in random adapters: {', '.join(CURVES)}"
    )
    parser.add_argument("--system", metavar="TEXT", help="system prompt")
    parser.add_argument("--raw", action="store_true", help="no chat template: the models continue each question")
    parser.add_argument("--untimed", action="store_true", help="preview without measuring how long a prompt takes")
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="who measures")
    parser.add_argument("--address", metavar="HOST:PORT", help="of a running Ray cluster; without it one is started")
    parser.add_argument("--workers", type=int, metavar="N", help="actors of the Ray cluster; default: one a device")
    add_pair(parser)
    add_output(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs, resumes, previews, reports or compares."""
    check_out(arguments.out, ("json", *FORMS) if arguments.action in READING else ("json",))
    if (arguments.folder is None) != (arguments.action == "preview"):
        what = "takes no folder" if arguments.folder else "needs a folder"
        raise ArgumentError(f"`study {arguments.action}` {what}.", "See `python -m core study --help`.")
    if arguments.other is not None and arguments.action != "compare":
        raise ArgumentError(f"`study {arguments.action}` takes one folder.", "Only `study compare` takes two.")
    if arguments.action in READING:
        report, document = READING[arguments.action](arguments)
        emit(report, study_text(report), arguments, document)
        return
    if arguments.workers is not None and arguments.workers < 1:
        raise ArgumentError(f"--workers is {arguments.workers}.", "Use at least 1.")
    report = {"run": _run, "resume": _resume, "preview": _preview}[arguments.action](arguments)
    emit(report, study_text(report), arguments)
    if report.state == "stopped":
        raise SystemExit(INTERRUPTED)


def _settings(arguments: argparse.Namespace) -> StudySettings:
    specs = arguments.corpus or ["shipped:medical", "shipped:general"]
    numbers: dict[str, int] = {name: getattr(arguments, name) for name in _NUMBERS}
    return StudySettings(
        corpora=tuple(parse_corpus(text) for text in specs),
        measurements=tuple(arguments.measure.split(",")),
        hybrid=arguments.hybrid,
        control_kinds=tuple(arguments.control_kinds.split(",")),
        system=arguments.system,
        raw=arguments.raw,
        **numbers,
    )


def _preview(arguments: argparse.Namespace) -> StudyReport:
    settings = _settings(arguments)
    pair = open_pair(arguments)
    found = preview_study(pair, settings, timed=not arguments.untimed)
    return StudyReport(
        SCHEMA_VERSION,
        command_line(arguments.typed),
        provenance_of(pair, settings.seed),
        **_shared("preview", None, settings),
        state=None,
        engine=None,
        prompts=found.prompts,
        done=0,
        sets_done=0,
        sets_of=found.visits,
        left_out=tuple(reason for corpus in found.corpora for reason in corpus.too_long),
        seconds=None,
        prompts_per_second=None,
        tables={},
        preview=found,
        report=None,
        comparison=None,
        warnings=pair.adapter.warnings,
    )


def _run(arguments: argparse.Namespace) -> StudyReport:
    settings = _settings(arguments)
    spec = chosen_spec(arguments)  # refused before anything is loaded
    choice = PairChoice(
        None if arguments.base else spec.name, arguments.base, arguments.tuned, arguments.device, arguments.dtype
    )
    return _with_engine(arguments, choice, settings)


def _resume(arguments: argparse.Namespace) -> StudyReport:
    if arguments.corpus:
        raise ArgumentError("A study that is resumed has its corpora.", "Leave out --corpus.")
    record = read_record(arguments.folder, (SCHEMA,))
    choice = choice_from(record)
    if "--device" in arguments.typed:
        choice = replace(choice, device=arguments.device)
    return _with_engine(arguments, choice, settings_from(record))


def _with_engine(arguments: argparse.Namespace, choice: PairChoice, settings: StudySettings) -> StudyReport:
    with _engine(arguments, choice) as engine, _stopping() as stop:
        if arguments.action == "run":
            say("`study preview` with the same options measures how long this takes; it goes on wherever it is stopped")
            outcome = run_study(engine, settings, arguments.folder, _tell, stop.is_set)
        else:
            outcome = resume_study(engine, arguments.folder, _tell, stop.is_set)
    facts = facts_from(read_record(arguments.folder))
    return StudyReport(
        SCHEMA_VERSION,
        command_line(arguments.typed),
        provenance_of_facts(facts, settings.seed, versions()),
        **_shared(arguments.action, str(arguments.folder), settings),
        state=outcome.state,
        engine=arguments.engine,
        prompts=outcome.progress.of,
        done=outcome.progress.done,
        sets_done=outcome.progress.sets_done,
        sets_of=outcome.progress.sets_of,
        left_out=outcome.left_out,
        seconds=outcome.progress.seconds,
        prompts_per_second=outcome.progress.per_second,
        tables=outcome.tables,
        preview=None,
        report=None,
        comparison=None,
        warnings=facts.warnings,
    )


def _shared(action: str, folder: str | None, settings: StudySettings) -> dict[str, Any]:
    return {"action": action, "folder": folder, "settings": settings, "settings_sha256": settings.sha256}


@contextmanager
def _engine(arguments: argparse.Namespace, choice: PairChoice) -> Iterator[Engine]:
    engine: Engine
    if arguments.engine == "ray":
        engine = RayEngine(choice, arguments.address, arguments.workers)
    else:
        if arguments.address or arguments.workers:
            raise ArgumentError("--address and --workers go with --engine ray.", "Leave them out.")
        engine = LocalEngine(choice.load())
    try:
        yield engine
    finally:
        engine.close()


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """The first Ctrl-C asks to stop after the prompt in hand, the second interrupts."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.getsignal(signal.SIGINT)

    def ask(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        say("stopping after the prompt in hand; once more to stop at once")

    signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _tell(progress: StudyProgress) -> None:
    left = f", about {duration(progress.seconds_left)} left" if progress.seconds_left is not None else ""
    visits = progress.sets_of and progress.done == progress.of
    sets = f"sets on {progress.sets_done} of {progress.sets_of}, " if visits else ""
    say(f"{progress.done} of {progress.of} prompts, {sets}{(progress.per_second or 0) * 60:.1f} a minute{left}")
