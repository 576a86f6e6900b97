"""`study report` and `study compare`: what studies say, without any model."""

import argparse
from collections.abc import Mapping
from typing import Any

from core.errors import ArgumentError
from core.present.document_file import DocumentFile
from core.present.figures import Figure
from core.present.provenance import SCHEMA_VERSION, command_line
from core.present.study_comparison import comparison_document, comparison_figures
from core.present.study_figures import figures_of
from core.present.study_report import study_document
from core.present.study_reports import CorpusReport, FigureReport, StudyComparison, StudyFindings, StudyReport
from core.present.study_source import provenance_of_study
from core.present.study_text_parts import LIMITS
from core.study.compare import compare
from core.study.findings import QUESTIONS
from core.study.results import Results, findings_of, read_results
from core.study.runner import facts_from, settings_from
from core.study.typed import study_line


def report_study(arguments: argparse.Namespace) -> tuple[StudyReport, DocumentFile]:
    """One study as an object and as a document.

    Raises:
        StudyError: there is no study, or it has no tables.
    """
    results = read_results(arguments.folder)
    found = findings_of(results)
    figures = figures_of(results, found)
    said = StudyFindings(
        questions=QUESTIONS,
        findings=found,
        figures=_rows(figures),
        corpora=tuple(
            CorpusReport(one["name"], one["kind"], one["rows"], one["found"], one["sha256"], tuple(one["bad"]))
            for one in results.record["corpora"]
        ),
        dropped=results.dropped,
        limits=LIMITS,
        study_line=study_line(results.record),
    )
    document = study_document(results, found, figures, arguments.typed)
    name = f"graft-{provenance_of_study(results).pair}-study"
    return StudyReport(**_head(arguments, results), report=said, comparison=None), DocumentFile(document, name)


def compare_studies(arguments: argparse.Namespace) -> tuple[StudyReport, DocumentFile]:
    """Two studies as an object and as a document.

    Raises:
        ArgumentError: there is no second folder.
        StudyError: one is no study, it is the same twice, or they have nothing in common.
    """
    if arguments.other is None:
        raise ArgumentError("`study compare` needs two folders.", "See `python -m core study --help`.")
    a, b = read_results(arguments.folder), read_results(arguments.other)
    found_a, found_b = findings_of(a), findings_of(b)
    found = compare(a, b, found_a, found_b)
    figures = comparison_figures(found, a, b, figures_of(a, found_a), figures_of(b, found_b))
    said = StudyComparison(str(arguments.other), provenance_of_study(b), found, _rows(figures))
    document = comparison_document(found, a, b, figures, arguments.typed)
    report = StudyReport(**_head(arguments, a), report=None, comparison=said)
    return report, DocumentFile(document, "graft-studies-compared")


def _rows(figures: Mapping[str, Figure]) -> tuple[FigureReport, ...]:
    return tuple(
        FigureReport(name, one.title, one.legend, one.noise_note, one.limit, one.data_hash, one.rows)
        for name, one in figures.items()
    )


def _head(arguments: argparse.Namespace, results: Results) -> dict[str, Any]:
    record = results.record
    settings = settings_from(record)
    return {
        "schema_version": SCHEMA_VERSION,
        "command": command_line(arguments.typed),
        "provenance": provenance_of_study(results),
        "action": arguments.action,
        "folder": str(arguments.folder),
        "state": record["state"],
        "settings": settings,
        "settings_sha256": settings.sha256,
        "engine": None,
        "prompts": record["prompts"],
        "done": record["done"],
        "sets_done": record.get("sets_done", 0),
        "sets_of": record.get("sets_of", 0),
        "left_out": tuple(record["left_out"]),
        "seconds": None,
        "prompts_per_second": None,
        "tables": {name: len(table) for name, table in results.tables.items()},
        "preview": None,
        "warnings": facts_from(record).warnings,
    }
