"""Which rows of a data file a run uses, as one line of text.

Knows values only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from core.data.place import DataPlace, count, parse_place, parse_settings, skip, word

CHOICE_FORM = (
    "FILE or hub:ID[,split=S][,config=C][,revision=R], then [,rows=N][,passes=N][,max_chars=N][,max_repetition=X]"
    "[,where=FIELD:VALUE][,fold=K/N][,drop_echo=yes][,bad=skip] and [,question=COLUMN][,reasoning=COLUMN]"
    "[,answer=COLUMN][,context=COLUMN][,options=COLUMN]"
)
COLUMNS = ("question", "reasoning", "answer", "context", "options")


@dataclass(frozen=True)
class FileChoice(DataPlace):
    """A data file, or a data set of the hub, and how much of it to use.

    Attributes:
        rows: how many rows to draw; None for all.
        passes: how often each drawn row is seen in one epoch.
        max_chars: rows whose question, reasoning and answer together are longer are left out; None for none.
        max_repetition: rows whose answer repeats a larger share of its four-word sequences are left out.
        where: field and value; other rows are left out.
        fold: `(k, n)` keeps every n-th row, counted from the k-th (from 1), so that folds share no row.
        drop_echo: a question that opens the answer is cut from it.
        skip_bad: rows that cannot be used are left out and reported, instead of refusing the file.
        columns: field → column, where a column has another name than the field.
    """

    rows: int | None = None
    passes: int = 1
    max_chars: int | None = None
    max_repetition: float | None = None
    where: tuple[str, str] | None = None
    fold: tuple[int, int] | None = None
    drop_echo: bool = False
    skip_bad: bool = False
    columns: tuple[tuple[str, str], ...] = ()

    def asked(self) -> str:
        """What narrows the file down, as it is typed."""
        limits = {
            "max_chars": self.max_chars,
            "max_repetition": self.max_repetition,
            "where": None if self.where is None else ":".join(self.where),
            "fold": None if self.fold is None else f"{self.fold[0]}/{self.fold[1]}",
        }
        return ", ".join(f"{name}={value}" for name, value in limits.items() if value is not None)


def parse_choice(text: str) -> FileChoice:
    """A `FileChoice` from `FILE` and settings after commas, as in `cases.jsonl.gz,where=split:train,rows=300`.

    Raises:
        ArgumentError: an unknown setting, or a value that does not fit it.
    """
    name, values, columns = parse_settings(text, _READ, COLUMNS, CHOICE_FORM)
    return FileChoice(parse_place(name), columns=tuple(sorted(columns.items())), **values)


def _share(value: str) -> float:
    if not 0 <= float(value) <= 1:
        raise ValueError(value)
    return float(value)


def _pair(value: str) -> tuple[str, str]:
    field, colon, wanted = value.partition(":")
    if not (field and colon):
        raise ValueError(value)
    return field, wanted


def _fold(value: str) -> tuple[int, int]:
    first, _, last = value.partition("/")
    if count(first) > count(last):
        raise ValueError(value)
    return int(first), int(last)


def _yes(value: str) -> bool:
    if value not in ("yes", "no"):
        raise ValueError(value)
    return value == "yes"


_READ: dict[str, tuple[str, Callable[[str], Any]]] = {
    "rows": ("rows", count),
    "passes": ("passes", count),
    "max_chars": ("max_chars", count),
    "max_repetition": ("max_repetition", _share),
    "where": ("where", _pair),
    "fold": ("fold", _fold),
    "drop_echo": ("drop_echo", _yes),
    "bad": ("skip_bad", skip),
    "split": ("split", word),
    "config": ("config", word),
    "revision": ("revision", word),
}
