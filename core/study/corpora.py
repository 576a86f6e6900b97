"""Corpora: questions with reference answers or options, medical or general, each row checked.

Knows files and fields; knows no model.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

from core.data.fields import LETTERS, all_bad, lettered, options_of, text_of
from core.data.records import read_records
from core.errors import DataError
from core.measure.options import LETTERS as MEASURED_LETTERS
from core.measure.options import Options
from core.pair.parts import answer_text, first_mark
from core.study.choice import COLUMNS, CorpusChoice, Kind

_TEXTS = ("question", "reasoning", "answer")
_TOLD = ("field", "style", "twin")
_Asked = dict[tuple[str, str | None, tuple[str, ...]], tuple[str, str]]
"""Question, answer, options → corpus and place of the row that has them."""


@dataclass(frozen=True)
class CorpusRow:
    """One question.

    Attributes:
        id: the row's own id, or file name and line or row; no other row of the corpus has it.
        question: context, question and options as one text.
        answer: the reference answer; None where there is none.
        options: texts of the options, A first; empty where it has none.
        letter: of the right option; None where it is not known.
        field, style, twin: what the file says of it: specialty, kind of answer, id of its counterpart in another
            corpus; None where it says nothing.
        reasoning: what leads to the reference answer; None where there is none, or no reference answer.
    """

    id: str
    question: str
    answer: str | None
    options: tuple[str, ...] = ()
    letter: str | None = None
    field: str | None = None
    style: str | None = None
    twin: str | None = None
    reasoning: str | None = None

    def reference(self, opened: bool) -> str:
        """The reference answer, with its reasoning before it, as the models would write it; empty where there is none.

        Args:
            opened: whether the chat template opens a reasoning; an empty one is closed before the answer.
        """
        return answer_text(self.reasoning or "", self.answer, opened) if self.answer else ""

    def offered(self) -> Options | None:
        """Its options as the measuring of letters takes them."""
        return Options(self.question, tuple(LETTERS[: len(self.options)]), self.options) if self.options else None


@dataclass(frozen=True)
class Corpus:
    """The rows of a corpus that a study reads.

    Attributes:
        name: what tables call it.
        kind: whether it counts as medical or as general.
        rows: in file order.
        n_found: usable rows there were, before any were drawn.
        bad: what was wrong with rows that were left out, each with its line or row number.
    """

    name: str
    kind: Kind
    rows: tuple[CorpusRow, ...]
    n_found: int
    bad: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Of everything the rows hold, as it was read; rows without a reasoning have the hash of those before it."""
        held = (asdict(row) for row in self.rows)
        plain = ({name: value for name, value in row.items() if value or name != "reasoning"} for row in held)
        lines = (json.dumps(row, ensure_ascii=False, sort_keys=True) for row in plain)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def read_corpora(choices: Sequence[CorpusChoice], seed: int) -> tuple[Corpus, ...]:
    """Every corpus of a study; none of them repeats a row of its own or of one before it.

    Raises:
        DataError: as `read_corpus`; two corpora have one name.
    """
    names = [choice.label for choice in choices]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"Two corpora are called {name!r}.", "Give one of them another name with ,name=N.")
    asked: _Asked = {}
    return tuple(_read(choice, seed, asked) for choice in choices)


def read_corpus(choice: CorpusChoice, seed: int) -> Corpus:
    """The rows a choice asks for, in file order.

    Which rows are drawn depends on the seed, on how many there are and on how many are wanted: two files whose rows
    are twins of each other, line by line, keep their twins.

    Args:
        choice: what to read.
        seed: of the draw.

    Raises:
        DataError: the source cannot be read, holds rows that cannot be used (the message names them) where they are
            not to be skipped, or has no row that can. A row with question, answer and options of another one is not
            another document, whatever its reasoning, and cannot be used.
    """
    return _read(choice, seed, {})


def _read(choice: CorpusChoice, seed: int, asked: _Asked) -> Corpus:
    """As `read_corpus`; `asked` holds what the corpora before it ask, and is added to."""
    rows: list[CorpusRow] = []
    bad: list[DataError] = []
    seen: dict[str, str] = {}
    for record in read_records(choice):
        try:
            if isinstance(record, DataError):
                raise record
            where, fields = record
            if _is_wanted(fields, choice):
                row = _row(fields, where, choice)
                if row.id in seen:
                    raise DataError(f"{where} has the id {row.id!r} of {seen[row.id]}.", "Give every row its own.")
                text = (row.question, row.answer, row.options)
                if text in asked:
                    raise DataError(f"{where} repeats {_place_of(asked[text], choice)}.", "Keep one of them.")
                seen[row.id] = where
                asked[text] = (choice.label, where)
                rows.append(row)
        except DataError as error:
            bad.append(error)
    if bad and not choice.skip_bad:
        raise all_bad(bad, choice.name)
    if not rows:
        raise DataError(f"{choice.name} holds no rows that can be used.", "Give a file with at least one.")
    return Corpus(choice.label, choice.kind, _drawn(rows, choice.rows, seed), len(rows), tuple(e.message for e in bad))


def _place_of(place: tuple[str, str], choice: CorpusChoice) -> str:
    label, where = place
    return where if label == choice.label else f"{where} of {label}"


def _drawn(rows: Sequence[CorpusRow], n: int | None, seed: int) -> tuple[CorpusRow, ...]:
    if n is None or n >= len(rows):
        return tuple(rows)
    return tuple(rows[index] for index in sorted(Random(f"{seed} rows").sample(range(len(rows)), n)))


def _is_wanted(fields: Any, choice: CorpusChoice) -> bool:
    if choice.only is None or not isinstance(fields, dict):
        return True
    name, values = choice.only
    return str(fields.get(name)) in values


def _row(fields: Any, where: str, choice: CorpusChoice) -> CorpusRow:
    if not isinstance(fields, dict):
        raise DataError(f"{where} is a {type(fields).__name__}, not an object.", "One JSON object a line.")
    columns = dict(choice.columns)
    named = {name: _value(fields, columns.get(name, name), name in columns, where) for name in COLUMNS}
    texts = {name: text_of(named[name], columns.get(name, name), where) for name in _TEXTS}
    if not texts["question"]:
        column = columns.get("question", "question")
        raise DataError(
            f"{where} has no {column!r}; its fields are {sorted(fields)}.",
            "Every row needs a question; name another column with ,question=COLUMN.",
        )
    options = _options(named["options"], where, choice)
    letter = _letter(named["letter"], options, where)
    if not texts["answer"] and not options:
        raise DataError(
            f"{where} has neither an answer nor options; its fields are {sorted(fields)}.",
            "Give it a reference answer (,answer=COLUMN) or options (,options=COLUMN).",
        )
    if mark := first_mark(texts["reasoning"]):
        raise DataError(
            f"{where}: {columns.get('reasoning', 'reasoning')!r} holds {mark!r}, which begins or ends a reasoning.",
            "Leave marks and headings out, they are written as each model knows them; or read none with ,reasoning=.",
        )
    context = _joined(named["context"], columns.get("context", "context"), where)
    asked = texts["question"] + lettered(options)
    return CorpusRow(
        id=str(where if named["id"] in (None, "") else named["id"]),
        question=f"{context}\n\n{asked}" if context else asked,
        answer=texts["answer"] or None,
        options=tuple(options.values()),
        letter=letter,
        reasoning=(texts["answer"] and texts["reasoning"]) or None,
        **{name: None if named[name] in (None, "") else str(named[name]) for name in _TOLD},
    )


def _value(fields: Mapping[str, Any], column: str, mapped: bool, where: str) -> Any:
    """What a column holds: itself, one of its own fields (`a.b`), or several columns as a list (`a+b`)."""
    if column in fields or not column:
        return fields.get(column)
    if "+" in column:
        return [_value(fields, one, mapped, where) for one in column.split("+")]
    outer, dot, inner = column.partition(".")
    if dot and isinstance(fields.get(outer), dict) and inner in fields[outer]:
        return fields[outer][inner]
    if mapped:
        raise DataError(f"{where} has no column {column!r}; its columns are {sorted(fields)}.", "Check the mapping.")
    return None


def _joined(value: Any, name: str, where: str) -> str:
    """A context: one text, or several with a blank line between."""
    if isinstance(value, list | tuple):
        return "\n\n".join(part for part in (text_of(one, name, where) for one in value) if part)
    return text_of(value, name, where)


def _options(value: Any, where: str, choice: CorpusChoice) -> dict[str, str]:
    found = options_of(list(choice.fixed_options) if choice.fixed_options else value, where)
    wanted = list(MEASURED_LETTERS[: len(found)])
    if found and (list(found) != wanted or len(found) < 2):
        raise DataError(
            f"{where} has the options {', '.join(found)}.",
            f"Give two to {len(MEASURED_LETTERS)} of them, lettered from A without a gap.",
        )
    return found


def _letter(value: Any, options: Mapping[str, str], where: str) -> str | None:
    """The right option's letter, from the letter itself, the option's text, or its number from 0."""
    if value is None or value == "" or not options:
        return None
    letters = list(options)
    if isinstance(value, int) and not isinstance(value, bool):
        if 0 <= value < len(letters):
            return letters[value]
    else:
        text = str(value).strip()
        if text.upper() in letters:
            return text.upper()
        same = [letter for letter, option in options.items() if option.strip() == text]
        if len(same) == 1:
            return same[0]
    raise DataError(
        f"{where}: the right option is {value!r}; there are {', '.join(letters)}.",
        "Give its letter, its text, or its number from 0.",
    )
