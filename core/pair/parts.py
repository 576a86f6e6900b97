"""Which part of a conversation each token belongs to.

Parts: `prompt` (words people wrote), `template` (the chat template's own tokens), `format` (fixed headings such
as `## Thinking` or `</think>` and the blank lines around them), `reasoning`, `answer`, `end` (the end-of-turn
token). Works on bytes, so a token that is half a character is placed too. Says also how a given reasoning and answer
are written so that their tokens get these parts. Knows no tokenizer and no model.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Part = Literal["prompt", "template", "format", "reasoning", "answer", "end"]
Mask = Literal["answer", "reasoning", "response", "prompt", "all"]

MASKS: dict[Mask, tuple[Part, ...]] = {
    "response": ("reasoning", "answer"),
    "answer": ("answer",),
    "reasoning": ("reasoning",),
    "prompt": ("prompt",),
    "all": ("prompt", "template", "format", "reasoning", "answer", "end"),
}

THINKING_HEADING = "## Thinking"
RESPONSE_HEADING = "## Final Response"
THINK_OPEN = "<think>"
THINK_CLOSE = "</think>"

# A heading counts where it fills a line of its own; a marker counts anywhere. Blank space around both is format.
_MARKS = re.compile(
    rb"(?P<open>\A\s*<think>\s*)"
    rb"|(?P<close>\s*</think>\s*)"
    rb"|(?P<thinking>(?:\A|(?<=\n)|\s*\n)[ \t]*#{1,3} Thinking[ \t]*(?:\n\s*|\Z))"
    rb"|(?P<response>(?:\A|(?<=\n)|\s*\n)[ \t]*#{1,3} Final Response[ \t]*(?:\n\s*|\Z))"
)


@dataclass(frozen=True)
class AnswerParts:
    """The parts of an answer's tokens.

    Attributes:
        parts: one part per token.
        reasoning_finished: whether the reasoning was closed; None where there is none.
    """

    parts: tuple[Part, ...]
    reasoning_finished: bool | None


def answer_text(reasoning: str, answer: str, opened: bool) -> str:
    """What the assistant is to write: reasoning under headings or in think marks, plain answers otherwise.

    Args:
        reasoning: empty where there is none.
        answer: the final answer.
        opened: whether the chat template itself opened the reasoning; an empty one is closed too.
    """
    if opened:
        return f"{reasoning}\n{THINK_CLOSE}\n\n{answer}"
    if reasoning:
        return f"{THINKING_HEADING}\n\n{reasoning}\n\n{RESPONSE_HEADING}\n\n{answer}"
    return answer


def first_mark(text: str) -> str | None:
    """The first heading or think mark in a text, which would begin or end a reasoning; None where it holds none."""
    mark = _MARKS.search(text.encode())
    return mark.group().decode().strip() if mark else None


def _regions(text: bytes, opened: bool) -> tuple[list[tuple[int, Part]], bool | None]:
    """Start offsets of the answer's regions, in order, and whether the reasoning was closed."""
    state: Part = "reasoning" if opened else "answer"
    finished: bool | None = False if opened else None
    regions: list[tuple[int, Part]] = [(0, state)]
    for mark in _MARKS.finditer(text):
        opening = mark.lastgroup in ("open", "thinking")
        if opening and state == "answer" and text[: mark.start()].strip():
            continue  # a heading in the middle of an answer is the answer's own
        if not opening and state == "answer" and finished is None:
            if mark.lastgroup == "response" and not text[: mark.start()].strip():
                regions += [(mark.start(), "format"), (mark.end(), "answer")]
            continue  # nothing was opened, so nothing is closed
        state = "reasoning" if opening else "answer"
        finished = not opening
        regions += [(mark.start(), "format"), (mark.end(), state)]
    return regions, finished


def answer_parts(tokens: Sequence[bytes], end_tokens: Sequence[bool], opened: bool) -> AnswerParts:
    """Places every token of an answer.

    Args:
        tokens: the bytes of each token.
        end_tokens: whether each token is an end-of-turn token.
        opened: whether the chat template itself opened the reasoning (`<think>`), as DeepSeek-R1's does.

    Returns:
        The parts; a token lies where its first byte lies.
    """
    body = [b"" if is_end else token for token, is_end in zip(tokens, end_tokens, strict=True)]
    regions, finished = _regions(b"".join(body), opened)
    parts: list[Part] = []
    offset, region = 0, 0
    for token, is_end in zip(body, end_tokens, strict=True):
        while region + 1 < len(regions) and regions[region + 1][0] <= offset:
            region += 1
        parts.append("end" if is_end else regions[region][1])
        offset += len(token)
    return AnswerParts(tuple(parts), finished)
