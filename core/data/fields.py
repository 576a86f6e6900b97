"""What the fields of a record hold: texts, options, and what to say of those that hold neither.

Knows values; knows no files.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from core.errors import DataError

SHOWN_BAD = 12
LETTERS = "ABCDEFGHIJ"


def text_of(value: Any, name: str, where: str) -> str:
    """A field as a text; empty where it holds nothing.

    Raises:
        DataError: it holds something else.
    """
    if value is None or value == "":
        return ""
    if not isinstance(value, str):
        raise DataError(f"{where}: {name!r} is a {type(value).__name__}, not a text.", "Give a string.")
    return value.strip()


def options_of(options: Any, where: str) -> dict[str, str]:
    """Letter → option, from an object, a list, or either of them as JSON; options without a text are left out.

    Raises:
        DataError: it is nothing of the kind.
    """
    if isinstance(options, str) and options.strip():
        try:
            options = json.loads(options)
        except ValueError as error:
            raise DataError(f"{where}: 'options' is a text and not JSON.", "Give an object or a list.") from error
    if not options:
        return {}
    if isinstance(options, list):
        options = dict(zip(LETTERS, options, strict=False))
    if not isinstance(options, dict):
        raise DataError(f"{where}: 'options' is a {type(options).__name__}.", "Give an object from letter to text.")
    return {str(letter): str(text) for letter, text in options.items() if text not in (None, "")}


def lettered(options: Mapping[str, str]) -> str:
    """Options as lines under a question; empty where there are none."""
    return "".join(f"\n{letter}. {text}" for letter, text in options.items())


def all_bad(bad: Sequence[DataError], name: str) -> DataError:
    """One error that names every bad row, up to a screenful."""
    if len(bad) == 1:
        left_out = "Or add ,bad=skip after the file's name to leave it out."
        return DataError(bad[0].message, f"{bad[0].remedy} {left_out}".strip())
    lines = [f"- {error.message}" for error in bad[:SHOWN_BAD]]
    more = f"\n… and {len(bad) - SHOWN_BAD} more" if len(bad) > SHOWN_BAD else ""
    return DataError(
        f"{len(bad)} rows of {name} cannot be used:\n" + "\n".join(lines) + more,
        "Mend them, or add ,bad=skip after the file's name to leave them out.",
    )
