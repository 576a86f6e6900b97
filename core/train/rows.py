"""Question–answer rows from records, checked one by one.

A row has `question` and `answer`; where present, `reasoning`, `context` and `options` are used too. Knows fields;
knows no tokenizer.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from core.data.fields import all_bad, lettered, options_of, text_of
from core.data.records import read_records
from core.errors import DataError
from core.train.choice import COLUMNS, FileChoice

_ECHO = re.compile(r"^[^.!?]{5,200}\?\s+(?=\S)")


@dataclass(frozen=True)
class Row:
    """One question with its answer.

    Attributes:
        id: the row's own id, or file name and line or row.
        question: context, question and options as one text.
        reasoning: empty where the row has none.
        answer: the final answer.
    """

    id: str
    question: str
    reasoning: str
    answer: str


def choose_rows(choice: FileChoice, seed: int, say: Callable[[str], None] | None = None) -> list[Row]:
    """The rows a `FileChoice` asks for, once each, drawn with `seed`, in file order.

    Args:
        choice: the file and what to take of it.
        seed: of the draw.
        say: told how many rows were skipped, where `choice` allows it.

    Raises:
        DataError: the source cannot be read, is empty, holds rows that cannot be used (the message names them), or
            no row fits.
    """
    found = _fields_and_rows(choice, say)
    if choice.fold is not None:
        first, every = choice.fold
        found = found[first - 1 :: every]
    if choice.where is not None:
        field, value = choice.where
        found = [(fields, row) for fields, row in found if str(fields.get(field)) == value]
    rows = [replace(row, answer=without_echo(row.answer)) if choice.drop_echo else row for _, row in found]
    if choice.max_chars is not None:
        rows = [r for r in rows if len(r.question) + len(r.reasoning) + len(r.answer) <= choice.max_chars]
    if choice.max_repetition is not None:
        rows = [r for r in rows if repetition(r.answer) <= choice.max_repetition]
    if not rows:
        raise DataError(f"No row of {choice.name} fits {choice.asked()}.", "Ask for less.")
    if choice.rows is not None and choice.rows < len(rows):
        kept = sorted(Random(f"{seed} {choice.name}").sample(range(len(rows)), choice.rows))
        rows = [rows[index] for index in kept]
    return rows


def without_echo(answer: str) -> str:
    """The answer without a question that opens it; an answer that is only a question stays as it is."""
    return _ECHO.sub("", answer, count=1)


def repetition(text: str, n: int = 4) -> float:
    """Share of the n-word sequences of a text that occurred in it before; 0 where it has none."""
    words = text.split()
    sequences = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return 1 - len(set(sequences)) / len(sequences) if sequences else 0.0


def _fields_and_rows(choice: FileChoice, say: Callable[[str], None] | None) -> list[tuple[dict[str, Any], Row]]:
    found: list[tuple[dict[str, Any], Row]] = []
    bad: list[DataError] = []
    for record in read_records(choice):
        try:
            if isinstance(record, DataError):
                raise record
            where, fields = record
            found.append((fields, _row(fields, where, dict(choice.columns))))
        except DataError as error:
            bad.append(error)
    if bad and not choice.skip_bad:
        raise all_bad(bad, choice.name)
    if bad and say:
        say(f"{choice.name}: {len(bad)} rows skipped, the first because: {bad[0].message}")
    if not found:
        raise DataError(f"{choice.name} holds no rows that can be used.", "Give a file with at least one.")
    return found


def _row(fields: Any, where: str, columns: Mapping[str, str]) -> Row:
    if not isinstance(fields, dict):
        raise DataError(f"{where} is a {type(fields).__name__}, not an object.", "One JSON object a line.")
    named = {field: fields.get(columns.get(field, field)) for field in COLUMNS}
    for field, column in columns.items():
        if column not in fields:
            raise DataError(
                f"{where} has no column {column!r} for {field}; its columns are {sorted(fields)}.", "Check the mapping."
            )
    texts = {f: text_of(named[f], columns.get(f, f), where) for f in ("question", "reasoning", "answer", "context")}
    for field in ("question", "answer"):
        if not texts[field]:
            column = columns.get(field, field)
            raise DataError(
                f"{where} has no {column!r}; its fields are {sorted(fields)}.",
                f"Every row needs {field!r}; name another column with ,{field}=COLUMN.",
            )
    options = lettered(options_of(named["options"], where))
    return Row(
        id=str(fields.get("id") or where),
        question="\n\n".join(part for part in (texts["context"], texts["question"] + options) if part),
        reasoning=texts["reasoning"],
        answer=texts["answer"],
    )
