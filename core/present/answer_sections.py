"""Two answers beside each other, reasoning against reasoning and final answer against final answer.

What was written while a reasoning was still open is reasoning, never an answer. Knows answers with their tokens; knows
no widgets.
"""

from dataclasses import dataclass

from core.pair.parts import Part
from core.present.runs import LaneRun
from core.present.worddiff import Stretch, word_diff

NOT_FINISHED = "reasoning, not finished"
NO_ANSWER = "No final answer: the reasoning was not finished."
NO_REASONING = "This answer has no reasoning."


@dataclass(frozen=True)
class Side:
    """One answer's text in a section.

    Attributes:
        label: what it is, where that has to be said.
        stretches: the text, what both sides share apart from what one has alone.
        note: why there is no text; empty where there is.
    """

    label: str
    stretches: tuple[Stretch, ...]
    note: str


@dataclass(frozen=True)
class Section:
    """Two texts to be read beside each other.

    Attributes:
        heading: empty where the answers have no reasoning and there is but one section.
        left, right: the two.
        n_shared, n_left, n_right: words in both, and of each; null where a side has no text to compare.
    """

    heading: str
    left: Side
    right: Side
    n_shared: int | None
    n_left: int | None
    n_right: int | None


def sections(left: LaneRun, right: LaneRun) -> tuple[Section, ...]:
    """One section, or two where an answer has reasoning."""
    lanes = (left, right)
    if not any(has_reasoning(lane) for lane in lanes):
        return (_section("", (("", left.answer.text, ""), ("", right.answer.text, ""))),)
    reasoning = [
        (NOT_FINISHED if lane.answer.reasoning_finished is False else "reasoning", part_text(lane, "reasoning"), "")
        if has_reasoning(lane)
        else ("reasoning", None, NO_REASONING)
        for lane in lanes
    ]
    answers = [
        ("final answer", None, NO_ANSWER)
        if lane.answer.reasoning_finished is False
        else ("final answer", part_text(lane, "answer"), "")
        for lane in lanes
    ]
    return (
        _section("Reasoning", (reasoning[0], reasoning[1])),
        _section("Final answer", (answers[0], answers[1])),
    )


def has_reasoning(lane: LaneRun) -> bool:
    """Whether an answer has reasoning, finished or not."""
    return lane.answer.reasoning_finished is not None


def part_text(lane: LaneRun, part: Part) -> str:
    """What of an answer belongs to a part."""
    pieces = [bytes.fromhex(token.bytes) for token in lane.tokens if token.part == part]
    return b"".join(pieces).decode("utf-8", errors="replace").strip()


def _section(heading: str, sides: tuple[tuple[str, str | None, str], tuple[str, str | None, str]]) -> Section:
    (left, a, why_a), (right, b, why_b) = sides
    if a is None or b is None:  # nothing to compare with: the text stands as it is
        whole = [(Stretch(text, True),) if text else () for text in (a, b)]
        return Section(heading, Side(left, whole[0], why_a), Side(right, whole[1], why_b), None, None, None)
    found = word_diff(a, b)
    return Section(
        heading,
        Side(left, found.left, why_a),
        Side(right, found.right, why_b),
        found.n_shared,
        found.n_left,
        found.n_right,
    )
