"""Rows every prompt has, and how a row becomes one of a table: with its key, every column filled or None.

Knows prompts and columns; measures nothing.
"""

from collections.abc import Sequence

from core.measure.multiple_choice import LetterChoice
from core.pair.prompts import Prompt
from core.study.prompts import StudyPrompt
from core.study.schema import TABLES, Row, Tables


def prompt_row(prompt: StudyPrompt, asked: Prompt | None, left_out: str | None) -> Row:
    """The row of `prompts`: the question, its length, and why it could not be measured."""
    row = prompt.row
    return {
        "id": row.id,
        "twin": prompt.twin or "",
        "field": row.field or "",
        "style": row.style or "",
        "question": row.question,
        "reference": row.answer,
        "reasoning": row.reasoning,
        "options": len(row.options),
        "letter": row.letter,
        "prompt_tokens": len(asked.ids) if asked else None,
        "swept": prompt.swept,
        "controlled": prompt.controlled,
        "left_out": left_out,
    }


def choice_row(prompt: StudyPrompt, base: LetterChoice, tuned: LetterChoice) -> Row:
    """The row of `choices`: both models' letters."""
    right = base.letters.index(prompt.row.letter or "")
    row: Row = {"options": len(base.letters), "right": prompt.row.letter}
    for name, choice in (("base", base), ("tuned", tuned)):
        row |= {
            name: choice.chosen,
            f"p_right_{name}": choice.probabilities[right],
            f"mass_{name}": choice.mass,
            f"noise_{name}": choice.noise,
        }
    return row


def complete_rows(prompt: StudyPrompt, table: str, rows: Sequence[Row]) -> list[Row]:
    """Rows with their key and in the order of the table's columns; what was not measured is None."""
    key = {"document": prompt.document, "corpus": prompt.kind, "source": prompt.corpus}
    return [{column: (key | row).get(column) for column in TABLES[table]} for row in rows]


def complete(prompt: StudyPrompt, tables: Tables) -> Tables:
    """Every table of one prompt with its key."""
    return {table: complete_rows(prompt, table, rows) for table, rows in tables.items()}
