"""The object that `study` prints.

Knows results; computes nothing.
"""

from dataclasses import dataclass
from typing import Literal

from core.present.report import Report
from core.study.preview import StudyPreview
from core.study.settings import StudySettings


@dataclass(frozen=True)
class StudyReport(Report):
    """A study that was run, resumed, or looked at before it is run."""

    action: Literal["run", "resume", "preview"]
    folder: str | None
    state: Literal["finished", "stopped"] | None
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
    warnings: tuple[str, ...]
