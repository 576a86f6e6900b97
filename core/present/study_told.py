"""Everything a study says, from its folder: findings, figures and the document made of them.

Knows the order of the steps; computes nothing itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.present.document import Document
from core.present.figures import Figure
from core.present.study_figures import figures_of
from core.present.study_report import study_document
from core.study.results import Results, findings_of, read_results
from core.study.verdicts import Finding


@dataclass(frozen=True, eq=False)
class ToldStudy:
    """A study with all that follows from it.

    Attributes:
        results: its tables.
        found: its findings.
        figures: name → figure.
        document: the report.
    """

    results: Results
    found: tuple[Finding, ...]
    figures: dict[str, Figure]
    document: Document


def told_study(folder: Path, stage: Callable[[str], None]) -> ToldStudy:
    """Reads a study and tests every claim; takes seconds to a minute.

    Args:
        folder: of the study.
        stage: told what is being done.

    Raises:
        StudyError: as `read_results`.
    """
    stage("reading tables")
    results = read_results(folder)
    stage("testing the claims: 10,000 permutations each, intervals over documents")
    found = findings_of(results)
    stage("drawing figures")
    figures = figures_of(results, found)
    typed = ("study", "report", str(folder))
    return ToldStudy(results, found, figures, study_document(results, found, figures, typed))
