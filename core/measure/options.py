"""The options of a multiple-choice question, found in its text.

Options are lettered from A without a gap, two to five of them, each on a line of its own (`A. …`, `A) …`, `(A) …`,
`A: …`) or one after another in a line (`A) … B) …`, `(A) … (B) …`). What might as well be prose is left alone: better
no letters than letters nobody wrote. Knows text; knows no model.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

LETTERS = "ABCDE"

# One letter more than is allowed, so that a sixth option is seen and the question refused rather than cut short.
_LINES = (
    re.compile(r"[ \t]*([A-F])\.[ \t]+(\S.*)"),
    re.compile(r"[ \t]*([A-F])\)[ \t]*(\S.*)"),
    re.compile(r"[ \t]*\(([A-F])\)[ \t]*(\S.*)"),
    re.compile(r"[ \t]*([A-F]):[ \t]+(\S.*)"),
)
_HALF_OR_PARENTHESIS = re.compile(r"(?<![\w(])([A-F])\)|[()]")
_WHOLE = re.compile(r"(?<!\w)\(([A-F])\)")
_SENTENCE_BEFORE = re.compile(r"(?:^|[.?!:;…]['\"’”]?\s)\s*\Z", re.MULTILINE)
_NO_TEXT = re.compile(r"(?:and|or|and/or|\W)*", re.IGNORECASE)
_BLANK_LINE = re.compile(r"\n[ \t]*\n")


@dataclass(frozen=True)
class Options:
    """What a question offers.

    Attributes:
        stem: the question before its options.
        letters: A, B and so on.
        texts: what each letter stands for.
    """

    stem: str
    letters: tuple[str, ...]
    texts: tuple[str, ...]


def parse_options(question: str) -> Options | None:
    """The options of a question; None where it has none, or more than five."""
    for pattern in _LINES:
        found = _on_lines(question, pattern)
        if found:
            return found
    return _in_a_row(question, _half_marks(question)) or _in_a_row(question, _whole_marks(question))


def _on_lines(question: str, pattern: re.Pattern[str]) -> Options | None:
    """Options on lines with nothing but blank lines between them."""
    lines = question.splitlines()
    matches = [(number, match) for number, line in enumerate(lines) if (match := pattern.fullmatch(line))]
    if not matches:
        return None
    numbers = {number for number, _ in matches}
    first = matches[0][0]
    if any(lines[k].strip() for k in range(first, matches[-1][0]) if k not in numbers):
        return None
    return _checked("\n".join(lines[:first]), [m[1] for _, m in matches], [m[2] for _, m in matches])


def _half_marks(question: str) -> list[re.Match[str]]:
    """`A)` where its parenthesis closes none that was opened before, as in `(hepatitis A)`."""
    marks, depth = [], 0
    for match in _HALF_OR_PARENTHESIS.finditer(question):
        if match.group() == "(":
            depth += 1
        elif match[1] and not depth:
            marks.append(match)
        else:
            depth = max(depth - 1, 0)
    return marks


def _whole_marks(question: str) -> list[re.Match[str]]:
    """`(A)` and its followers where the first begins a sentence: in `panels (A) and (B)` it does not."""
    marks = list(_WHOLE.finditer(question))
    return marks if marks and _SENTENCE_BEFORE.search(question[: marks[0].start()]) else []


def _in_a_row(question: str, marks: Sequence[re.Match[str]]) -> Options | None:
    if not marks:
        return None
    last = question.find("\n", marks[-1].end())
    ends = [*(mark.start() for mark in marks[1:]), len(question) if last < 0 else last]
    texts = [question[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)]
    if any(_BLANK_LINE.search(text) for text in texts):
        return None
    return _checked(
        question[: marks[0].start()], [mark[1] for mark in marks], [text.strip(" \t\n,;") for text in texts]
    )


def _checked(stem: str, letters: Sequence[str], texts: Sequence[str]) -> Options | None:
    wanted = tuple(LETTERS[: len(letters)])
    if len(letters) < 2 or tuple(letters) != wanted or _NO_TEXT.fullmatch(stem):
        return None
    if any(_NO_TEXT.fullmatch(text) for text in texts):
        return None
    return Options(stem.strip(), wanted, tuple(text.strip() for text in texts))
