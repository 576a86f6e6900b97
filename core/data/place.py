"""Where data lies, and how that and what is wanted of it are typed in one line.

Knows values only; opens nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from core.errors import ArgumentError

HUB = "hub:"
Reader = Callable[[str], Any]


@dataclass(frozen=True)
class DataPlace:
    """A data file, or a data set of the hub.

    Attributes:
        path: JSON lines (plain or gzipped), JSON, CSV or parquet; or `hub:ID`.
        split, config, revision: of a data set of the hub.
    """

    path: Path
    _: KW_ONLY
    split: str = "train"
    config: str | None = None
    revision: str | None = None

    @property
    def hub_id(self) -> str | None:
        """The data set's id on the hub; None for a file."""
        text = str(self.path)
        return text.removeprefix(HUB) if text.startswith(HUB) else None

    @property
    def name(self) -> str:
        """What messages and records call it."""
        return self.path.name if self.hub_id is None else f"{self.hub_id}@{self.revision or 'main'}/{self.split}"


def parse_place(name: str) -> Path:
    """The path of a file, or `hub:ID` as it is."""
    return Path(name) if name.startswith(HUB) else Path(name).expanduser()


def parse_settings(
    text: str,
    readers: Mapping[str, tuple[str, Reader]],
    columns: Sequence[str],
    form: str,
    optional: Sequence[str] = (),
) -> tuple[str, dict[str, Any], dict[str, str]]:
    """What stands before the first comma, and the settings after it, as in `cases.csv,question=Q,rows=300`.

    Args:
        text: as typed.
        readers: setting → the field it fills, and what makes a value of its text.
        columns: fields that may be mapped to a column by `field=COLUMN`.
        form: what to type, for the error.
        optional: those of `columns` that may be mapped to none, by `field=`.

    Returns:
        The name, field → value, and field → column, empty for none.

    Raises:
        ArgumentError: an unknown setting, or a value that does not fit it.
    """
    name, *settings = text.split(",")
    values: dict[str, Any] = {}
    mapped: dict[str, str] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        try:
            if key in columns and (value or key in optional):
                mapped[key] = value
            else:
                field, read = readers[key]
                values[field] = read(value)
        except (KeyError, ValueError) as error:
            raise ArgumentError(f"{setting!r} in {text!r} is not understood.", f"Use {form}.") from error
    return name, values, mapped


def count(value: str) -> int:
    """A whole number from 1."""
    if not (value.isascii() and value.isdigit()) or int(value) < 1:
        raise ValueError(value)
    return int(value)


def skip(value: str) -> bool:
    """Whether bad rows are skipped: `skip`, or `refuse`."""
    if value not in ("skip", "refuse"):
        raise ValueError(value)
    return value == "skip"


def word(value: str) -> str:
    """Any text but the empty one."""
    if not value:
        raise ValueError(value)
    return value
