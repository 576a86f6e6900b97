"""Everything a study says, from its folder: findings, figures and the document made of them; and two side by side.

Knows the order of the steps; computes nothing itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.present.document_file import DocumentFile
from core.present.figures import Figure
from core.present.study_comparison import comparison_document, comparison_figures
from core.present.study_figures import figures_of
from core.present.study_report import study_document
from core.study.compare import compare
from core.study.results import Results, findings_of, read_results
from core.study.verdicts import Finding

Stage = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class ToldStudy:
    """A study with all that follows from it.

    Attributes:
        results: its tables.
        found: its findings.
        figures: name → figure.
        file: the report.
    """

    results: Results
    found: tuple[Finding, ...]
    figures: dict[str, Figure]
    file: DocumentFile


def told_study(folder: Path, stage: Stage) -> ToldStudy:
    """Reads a study and tests every claim; takes seconds to a minute.

    Args:
        folder: of the study.
        stage: told what is being done.

    Raises:
        StudyError: as `read_results`.
    """
    stage("reading tables")
    results = read_results(folder)
    stage("testing every claim: 10,000 permutations, intervals over documents")
    found = findings_of(results)
    stage("making the figures")
    figures = figures_of(results, found)
    document = study_document(results, found, figures, ("study", "report", str(folder)))
    return ToldStudy(results, found, figures, DocumentFile(document, f"graft-{folder.name}"))


def told_together(a: ToldStudy, b: ToldStudy, stage: Stage) -> DocumentFile:
    """Two studies side by side.

    Args:
        a, b: the studies.
        stage: told what is being done.

    Raises:
        StudyError: they have nothing in common.
    """
    stage("setting the studies against each other")
    found = compare(a.results, b.results, a.found, b.found)
    figures = comparison_figures(found, a.results, b.results, a.figures, b.figures)
    folders = (a.results.folder, b.results.folder)
    document = comparison_document(found, a.results, b.results, figures, ("study", "compare", *map(str, folders)))
    return DocumentFile(document, f"graft-{folders[0].name}-and-{folders[1].name}")
