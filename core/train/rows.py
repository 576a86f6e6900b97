"""Question–answer rows from JSON lines, checked one by one.

A row has `question` and `answer`; where present, `reasoning`, `context` and `options` are used too. Knows files
and fields; knows no tokenizer.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from core.errors import ArgumentError, DataError


@dataclass(frozen=True)
class Row:
    """One question with its answer.

    Attributes:
        id: the row's own id, or file name and line.
        question: context, question and options as one text.
        reasoning: empty where the row has none.
        answer: the final answer.
    """

    id: str
    question: str
    reasoning: str
    answer: str


@dataclass(frozen=True)
class FileChoice:
    """A data file and how much of it to use.

    Attributes:
        path: JSON lines, plain or gzipped.
        rows: how many rows to draw; None for all.
        passes: how often each drawn row is seen in one epoch.
        max_chars: rows whose question, reasoning and answer together are longer are left out; None for none.
    """

    path: Path
    rows: int | None = None
    passes: int = 1
    max_chars: int | None = None


def parse_choice(text: str) -> FileChoice:
    """A `FileChoice` from `FILE[,rows=N][,passes=N][,max_chars=N]`.

    Raises:
        ArgumentError: an unknown or non-positive setting.
    """
    name, *settings = text.split(",")
    values: dict[str, int] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in ("rows", "passes", "max_chars") or not (value.isascii() and value.isdigit()) or int(value) < 1:
            raise ArgumentError(
                f"{setting!r} in {text!r} is not understood.", "Use rows=N, passes=N or max_chars=N with N ≥ 1."
            )
        values[key] = int(value)
    return FileChoice(Path(name).expanduser(), values.get("rows"), values.get("passes", 1), values.get("max_chars"))


def read_rows(path: Path) -> list[Row]:
    """Every row of a JSON lines file (`.gz` too).

    Raises:
        DataError: the file is missing, unreadable or empty, or a line is not a usable row; the message names the line.
    """
    if not path.is_file():
        raise DataError(f"There is no file {path}.", "Check the path.")
    rows = [_row(fields, path, number) for number, fields in _objects(path)]
    if not rows:
        raise DataError(f"{path.name} holds no rows.", "Give a file with at least one row.")
    return rows


def choose_rows(choice: FileChoice, seed: int) -> list[Row]:
    """The rows a `FileChoice` asks for, once each, drawn with `seed`, in file order.

    Raises:
        DataError: as `read_rows`, or nothing is left after `max_chars`.
    """
    rows = read_rows(choice.path)
    if choice.max_chars is not None:
        rows = [r for r in rows if len(r.question) + len(r.reasoning) + len(r.answer) <= choice.max_chars]
    if not rows:
        raise DataError(f"No row of {choice.path.name} is as short as {choice.max_chars} characters.", "Raise it.")
    if choice.rows is not None and choice.rows < len(rows):
        kept = sorted(Random(f"{seed} {choice.path.name}").sample(range(len(rows)), choice.rows))
        rows = [rows[index] for index in kept]
    return rows


def _objects(path: Path) -> Iterator[tuple[int, Any]]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    try:
                        yield number, json.loads(line)
                    except ValueError as error:
                        raise DataError(f"{path.name} line {number} is not JSON: {error}.", "Mend the line.") from error
    except (OSError, UnicodeDecodeError, EOFError, zlib.error) as error:
        raise DataError(f"{path.name} cannot be read: {error}.", "Give UTF-8 JSON lines, plain or gzipped.") from error


def _row(fields: Any, path: Path, number: int) -> Row:
    where = f"{path.name} line {number}"
    if not isinstance(fields, dict):
        raise DataError(f"{where} is a {type(fields).__name__}, not an object.", "One JSON object a line.")
    question = _text(fields, "question", where, required=True)
    answer = _text(fields, "answer", where, required=True)
    reasoning = _text(fields, "reasoning", where, required=False)
    context = _text(fields, "context", where, required=False)
    return Row(
        id=str(fields.get("id") or where),
        question="\n\n".join(part for part in (context, question + _options(fields, where)) if part),
        reasoning=reasoning,
        answer=answer,
    )


def _text(fields: dict[str, Any], name: str, where: str, required: bool) -> str:
    value = fields.get(name) or ""
    if not isinstance(value, str):
        raise DataError(f"{where}: {name!r} is a {type(value).__name__}, not a text.", "Give a string.")
    if required and not value.strip():
        raise DataError(f"{where} has no {name!r}; its fields are {sorted(fields)}.", f"Every row needs {name!r}.")
    return value.strip()


def _options(fields: dict[str, Any], where: str) -> str:
    options = fields.get("options")
    if not options:
        return ""
    if not isinstance(options, dict):
        raise DataError(f"{where}: 'options' is a {type(options).__name__}.", "Give an object from letter to text.")
    return "".join(f"\n{letter}. {text}" for letter, text in options.items() if text not in (None, ""))
