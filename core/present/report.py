"""What every object on the command line has, and how an object becomes JSON.

A field is never left out, a number that does not exist is null. Knows no particular report.
"""

import json
import math
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

from core.present.provenance import Provenance


@dataclass(frozen=True)
class Report:
    """What every object has: schema version, the line that recomputes it, provenance; null where no one line does."""

    schema_version: int
    command: str | None
    provenance: Provenance


@dataclass(frozen=True)
class ErrorDetail:
    """What went wrong: the kind of error, what happened with its values, what to do."""

    kind: str
    message: str
    remedy: str


@dataclass(frozen=True)
class ErrorReport:
    """What stands on standard output under `--json` when a command fails."""

    error: ErrorDetail


def plain(value: Any) -> Any:
    """A report as JSON values: tuples as lists, non-finite numbers as null."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def to_json(report: Any, indent: int | None = None) -> str:
    """One JSON object; never NaN."""
    return json.dumps(plain(report), ensure_ascii=False, allow_nan=False, indent=indent)
