"""The object that `study` prints: of a run, a look ahead, a report, a comparison.

Knows results; computes nothing.
"""

from dataclasses import dataclass
from typing import Literal

from core.present.provenance import Provenance
from core.present.report import Report
from core.study.compare import Comparison
from core.study.preview import StudyPreview
from core.study.settings import StudySettings
from core.study.verdicts import Finding

Cell = str | int | float | None


@dataclass(frozen=True)
class FigureReport:
    """A figure's data.

    Attributes:
        name: which figure.
        title: what it is.
        legend: what is drawn, direction and unit included.
        noise_note: what numerical noise is.
        limit: what it does not show.
        data_sha256: the hash that every form of the figure names.
        rows: the data, by column.
    """

    name: str
    title: str
    legend: str
    noise_note: str
    limit: str
    data_sha256: str
    rows: tuple[dict[str, Cell], ...]


@dataclass(frozen=True)
class CorpusReport:
    """A corpus as it was read.

    Attributes:
        name, kind: as they were given.
        rows: drawn.
        found: usable rows it has.
        sha256: of the rows drawn.
        bad: rows that were skipped, and why.
    """

    name: str
    kind: str
    rows: int
    found: int
    sha256: str
    bad: tuple[str, ...]


@dataclass(frozen=True)
class StudyFindings:
    """What a study says.

    Attributes:
        questions: number → question.
        findings: every claim with its verdict.
        figures: all figures' data.
        corpora: what was read.
        dropped: what was left out of the tables, and why.
        limits: what no finding shows.
        study_line: the line that measures it again.
    """

    questions: dict[str, str]
    findings: tuple[Finding, ...]
    figures: tuple[FigureReport, ...]
    corpora: tuple[CorpusReport, ...]
    dropped: tuple[str, ...]
    limits: tuple[str, ...]
    study_line: str


@dataclass(frozen=True)
class StudyComparison:
    """Two studies against each other.

    Attributes:
        other_folder: of the second study, `b`; the first is `folder`.
        other_provenance: of the second study; the first's is the report's own.
        comparison: what differs.
        figures: all figures' data.
    """

    other_folder: str
    other_provenance: Provenance
    comparison: Comparison
    figures: tuple[FigureReport, ...]


@dataclass(frozen=True)
class StudyReport(Report):
    """A study that was run, resumed, looked at before it is run, read as a report, or compared with another."""

    action: Literal["run", "resume", "preview", "report", "compare"]
    folder: str | None
    state: Literal["finished", "stopped", "running"] | None
    settings: StudySettings
    settings_sha256: str
    engine: Literal["local", "ray"] | None
    prompts: int
    done: int
    sets_done: int
    sets_of: int
    left_out: tuple[str, ...]
    seconds: float | None
    prompts_per_second: float | None
    tables: dict[str, int]
    preview: StudyPreview | None
    report: StudyFindings | None
    comparison: StudyComparison | None
    warnings: tuple[str, ...]
