"""Which object each command prints.

Imports all of them, which takes seconds: for whoever describes the commands, not for the commands themselves.
"""

from core.present.finetune_report import FinetuneReport
from core.present.layer_reports import GridReport, LensReport, SearchReport, SweepReport, WeightsReport, WhyReport
from core.present.reports import AskReport, DiffReport, PairsReport
from core.present.study_reports import StudyReport

REPORTS: dict[str, type] = {
    "pairs": PairsReport,
    "diff": DiffReport,
    "ask": AskReport,
    "why": WhyReport,
    "lens": LensReport,
    "sweep": SweepReport,
    "grid": GridReport,
    "search": SearchReport,
    "weights": WeightsReport,
    "study": StudyReport,
    "finetune": FinetuneReport,
}
