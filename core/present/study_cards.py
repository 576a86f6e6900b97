"""Finding cards: one claim, its verdict, its effect with its interval, and what would change it, ready to be drawn.

Knows findings; computes nothing and draws nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.present.colour import Themed
from core.present.study_figures import FIGURE_OF
from core.study.claims_words import SLOPES
from core.study.findings import QUESTIONS
from core.study.verdicts import LEVEL, Finding, Verdict, n_clause, number, p_clause


@dataclass(frozen=True)
class VerdictLook(Themed):
    """A verdict's colour and its mark; the word always stands beside them."""

    mark: str


VERDICTS: dict[Verdict, VerdictLook] = {
    "supported": VerdictLook("#00704F", "#4FC7A4", "✓"),
    "not supported": VerdictLook("#7A4A00", "#E6B45A", "✗"),
    "inconclusive": VerdictLook("#5F6B78", "#A9B4C0", "?"),
    "no difference to explain": VerdictLook("#5F6B78", "#A9B4C0", "≈"),
}
_STARTS: dict[Verdict, str] = {
    "supported": "Yes: ",
    "not supported": "No: ",
    "inconclusive": "Open: ",
    "no difference to explain": "The two models hardly differ here: ",
}


@dataclass(frozen=True)
class Card:
    """One claim to look at.

    Attributes:
        number: `1a`, `1b`, …: the question, then the claim.
        claim: a sentence that can be false.
        primary: whether it answers the question by itself; stated before looking.
        verdict: the word.
        look: its colour and mark.
        effect: with its unit, in words; `–` where there was nothing to compare.
        interval: 95 %, n and corrected p, in words; empty where undefined.
        least: the smallest effect that matters, as the program has it, in words.
        sentence: what was found, plainly.
        would_change_it: what would make the verdict another.
        limit: what else could make the same effect.
        figure: name of the figure it is drawn in, if there is one.
        strip: places of no effect, the least that matters, effect and ends of the interval, 0..1 along one line;
            null where there is no interval.
    """

    number: str
    claim: str
    primary: bool
    verdict: Verdict
    look: VerdictLook
    effect: str
    interval: str
    least: str
    sentence: str
    would_change_it: str
    limit: str
    figure: str | None
    strip: "Strip | None"


@dataclass(frozen=True)
class Strip:
    """An effect on one line from 0 to 1: where none, the least that matters, the effect and its interval lie."""

    none: float
    least: float
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Question:
    """One of the four questions.

    Attributes:
        number: `1` to `4`.
        question: in words.
        headline: its primary claims with their verdicts, in a sentence.
        primary: cards to show.
        others: cards to fold.
    """

    number: str
    question: str
    headline: str
    primary: tuple[Card, ...]
    others: tuple[Card, ...]


def cards_of(found: Iterable[Finding], figures: Iterable[str] = ()) -> tuple[Card, ...]:
    """One card a finding, in order.

    Args:
        found: findings of a study.
        figures: names of the figures there are.
    """
    names = set(figures)
    return tuple(_card(one, names) for one in found)


def questions_of(cards: Sequence[Card]) -> tuple[Question, ...]:
    """The cards by question; a question without any claim says so."""
    return tuple(_question(key, words, [card for card in cards if card.number[0] == key]) for key, words in
                 QUESTIONS.items())  # fmt: skip


def _question(key: str, words: str, own: Sequence[Card]) -> Question:
    primary = tuple(card for card in own if card.primary)
    said = "; ".join(f"{card.claim}: {card.verdict}" for card in primary)
    return Question(
        number=key,
        question=words,
        headline=f"{said}." if said else "The study measured nothing that answers it.",
        primary=primary,
        others=tuple(card for card in own if not card.primary),
    )


def _card(one: Finding, figures: set[str]) -> Card:
    figure = FIGURE_OF.get(one.number)
    return Card(
        number=one.number,
        claim=one.claim,
        primary=one.primary,
        verdict=one.verdict,
        look=VERDICTS[one.verdict],
        effect="–" if one.effect is None else f"{number(one.effect)} {one.unit}",
        interval=_interval(one),
        least=_least(one),
        sentence=_plain(one),
        would_change_it=one.would_change_it,
        limit=f"The same could come of {one.threat}.",
        figure=figure if figure in figures else None,
        strip=_strip(one),
    )


def _interval(one: Finding) -> str:
    if one.interval is None:
        return ""
    words = f"95 % interval {number(one.interval[0])} to {number(one.interval[1])}, {n_clause(one.n)}"
    return words if one.p_corrected is None else f"{words}, {p_clause(one.p_corrected)} corrected"


def _least(one: Finding) -> str:
    side = "at least" if one.least > one.none else "at most"
    stated = "as a share of the mean KL per token: here " if one.number in SLOPES else ""
    return (
        f"Set in the program{': ' if not stated else ', '}{stated}{side} {number(one.least)} matters, "
        f"{number(one.none)} is no effect, p at most {LEVEL:g}."
    )


def _plain(one: Finding) -> str:
    """The finding without its claim and without the interval, which stand beside it."""
    return f"{_STARTS[one.verdict]}{one.words}."


def _strip(one: Finding) -> Strip | None:
    if one.interval is None or one.effect is None:
        return None
    places = (one.none, one.least, one.effect, *one.interval)
    low, high = min(places), max(places)
    room = (high - low) or 1.0
    scaled = [0.06 + 0.88 * (place - low) / room for place in places]
    return Strip(*scaled)
