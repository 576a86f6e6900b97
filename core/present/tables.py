"""Results as rows of a table, long form. Know reports; compute nothing."""

from dataclasses import asdict
from typing import Any

from core.present.runs import RunReport


def run_rows(report: RunReport) -> list[dict[str, Any]]:
    """One row a token of every lane, in order; the ten first choices stay in the JSON."""
    return [
        {"lane": lane.answer.name} | {k: v for k, v in asdict(token).items() if not k.startswith("top_")}
        for lane in report.lanes
        for token in lane.tokens
    ]
