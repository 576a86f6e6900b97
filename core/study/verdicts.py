"""What a study says: claims, and the rules by which each is supported, not supported or left open.

Every claim states in advance which direction it claims and the smallest effect that would matter. The rules, in order:

1. `no difference to explain`: the two models differ by no more than 5× numerical noise there.
2. `not supported`: the 95 % interval holds no effect as large as the smallest that matters. A tiny effect that is
   surely not zero belongs here, and so does an effect in the other direction.
3. `supported`: the interval lies wholly on the claimed side of "no effect", the effect is at least the smallest that
   matters, and the corrected p is at most 0.05.
4. `inconclusive`: everything else, and everything measured on fewer than 10 documents or against fewer than 20 random
   adapters.

Each question has its primary claims, corrected together by Holm; all other claims of the study are corrected together
by Benjamini and Hochberg. Claims that rules 1 or 4 settle whatever their p is are not counted. Knows effects; knows no
tables.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from core.study.corrections import benjamini_hochberg, holm
from core.study.depth import adapters_needed
from core.study.resampling import Estimate

Verdict = Literal["supported", "not supported", "inconclusive", "no difference to explain"]
LEVEL = 0.05
LEAST_P = 0.001
"""Under it a p-value is not written out."""
FEWEST_DOCUMENTS = 10
FEWEST_ADAPTERS = 20


@dataclass(frozen=True)
class Measured:
    """A claim with what was measured for it, before its verdict.

    Attributes:
        number: `1a`, `1b`, …: the question, then the claim.
        claim: a sentence that can be false.
        primary: whether it answers the question by itself; stated before looking.
        effect: with its interval over documents; null where there was nothing to compare.
        unit: of the effect.
        none: the effect that is no effect: 0 of a difference, 1 of a ratio.
        least: the smallest effect in the claimed direction that would matter.
        p: of the effect, uncorrected; null with the effect.
        n: documents, questions or pairs of them.
        noise_only: whether the models differ by no more than 5× noise here.
        words: what was found, as a clause with its numbers.
        threat: what else could make the same effect.
        limit: what keeps p from getting small, if anything does.
        adapters: random adapters among which the fine-tune is ranked; null where it is not.
    """

    number: str
    claim: str
    primary: bool
    effect: Estimate | None
    unit: str
    none: float
    least: float
    p: float | None
    n: int
    noise_only: bool
    words: str
    threat: str
    limit: str = ""
    adapters: int | None = None

    @property
    def too_little(self) -> str:
        """What there is too little of for any verdict, and how much there is; empty where there is enough."""
        if self.n < FEWEST_DOCUMENTS:
            return f"At least {FEWEST_DOCUMENTS} documents; there are {self.n}"
        if self.adapters is not None and self.adapters < FEWEST_ADAPTERS:
            return f"At least {FEWEST_ADAPTERS} random adapters; there are {self.adapters}"
        return ""


@dataclass(frozen=True)
class Finding:
    """One claim and what the study says about it.

    Attributes:
        number: `1a`, `1b`, …: the question, then the claim.
        claim: a sentence that can be false.
        primary: whether it answers the question by itself; stated before looking.
        verdict: `supported`, `not supported`, `inconclusive` or `no difference to explain`.
        effect: its size; null where there was nothing to compare.
        unit: of the effect.
        interval: 95 %, over documents; null where undefined.
        p: uncorrected; null with the effect.
        p_corrected: for the number of primary, or of other, claims.
        n: documents, questions or pairs of them.
        words: what was found, as a clause with its numbers.
        sentence: the finding in words: claim, verdict, effect with its interval, then `words`.
        would_change_it: what would make the verdict another.
        none: the effect that is no effect: 0 of a difference, 1 of a ratio.
        least: the smallest effect in the claimed direction that would matter; stated before looking.
        threat: what else could make the same effect.
    """

    number: str
    claim: str
    primary: bool
    verdict: Verdict
    effect: float | None
    unit: str
    interval: tuple[float, float] | None
    p: float | None
    p_corrected: float | None
    n: int
    words: str
    sentence: str
    would_change_it: str
    none: float
    least: float
    threat: str


def settle(measured: Sequence[Measured]) -> tuple[Finding, ...]:
    """Verdicts on all claims of a study at once, since p-values are corrected for how many there are."""
    questions = dict.fromkeys(one.number[0] for one in measured)
    families = [(holm, [one for one in measured if one.primary and one.number[0] == number_]) for number_ in questions]
    families.append((benjamini_hochberg, [one for one in measured if not one.primary]))
    corrected: dict[str, float] = {}
    beside: dict[str, int] = {}
    for correct, family in families:
        tested = {one.number: one.p for one in family if one.p is not None and _is_tested(one)}
        corrected.update(zip(tested, correct(list(tested.values())), strict=True))
        beside.update(dict.fromkeys(tested, len(tested)))
    return tuple(_finding(one, corrected.get(one.number), beside.get(one.number, 1)) for one in measured)


def _is_tested(one: Measured) -> bool:
    return not (one.noise_only or one.too_little or _interval(one.effect) is None)


def verdict_of(one: Measured, p_corrected: float | None) -> Verdict:
    """The rules above, for one claim."""
    if one.noise_only:
        return "no difference to explain"
    ends = _interval(one.effect)
    if one.effect is None or ends is None or p_corrected is None or one.too_little:
        return "inconclusive"
    # As if every claim were "higher than none".
    value, low, high, none, least = (one.effect.value, *ends, one.none, one.least)
    if one.least < one.none:
        value, low, high, none, least = -value, -high, -low, -none, -least
    if high < least:
        return "not supported"
    return "supported" if low > none and value >= least and p_corrected <= LEVEL else "inconclusive"


def _finding(one: Measured, p_corrected: float | None, beside: int) -> Finding:
    verdict = verdict_of(one, p_corrected)
    ends = _interval(one.effect)
    return Finding(
        number=one.number,
        claim=one.claim,
        primary=one.primary,
        verdict=verdict,
        effect=None if one.effect is None else one.effect.value,
        unit=one.unit,
        interval=ends,
        p=one.p,
        p_corrected=p_corrected,
        n=one.n,
        words=one.words,
        sentence=_sentence(one, verdict, ends, p_corrected),
        would_change_it=_would_change(one, verdict, ends, p_corrected, beside),
        none=one.none,
        least=one.least,
        threat=one.threat,
    )


def _interval(effect: Estimate | None) -> tuple[float, float] | None:
    if effect is None or effect.low is None or effect.high is None:
        return None
    return effect.low, effect.high


def _sentence(one: Measured, verdict: Verdict, ends: tuple[float, float] | None, p_corrected: float | None) -> str:
    if verdict == "no difference to explain":
        return f"{one.claim}: no difference to explain; {one.words}."
    if one.effect is None:
        return f"{one.claim}: {verdict}; {one.words}."
    effect = f"{number(one.effect.value)} {one.unit}"
    if ends is not None:
        p = "" if p_corrected is None else f"; {p_clause(p_corrected)} corrected"
        effect += f" (95 % interval {number(ends[0])} to {number(ends[1])}; {n_clause(one.n)}{p})"
    return f"{one.claim}: {verdict}; {effect}; {one.words}."


def _would_change(
    one: Measured, verdict: Verdict, ends: tuple[float, float] | None, p: float | None, beside: int
) -> str:
    """What would make the verdict another; `beside` is how many p-values are corrected together."""
    if verdict == "no difference to explain":
        return "A difference of more than 5 times the numerical noise."
    least = f"{number(one.least)} {one.unit}"
    if verdict == "supported":
        return f"An interval that reaches {number(one.none)} on other documents; {one.threat}."
    if verdict == "not supported":
        return f"An interval that reaches {least} on other documents."
    if one.too_little and one.effect is not None:
        return f"{one.too_little}."
    if ends is None or one.effect is None or p is None:
        return f"Something to compare: {one.limit or 'more documents with both kinds in them'}."
    wanted = (
        f"An interval wholly beyond {number(one.none)} with p at most {LEVEL:g}, or one that does not reach {least}"
    )
    if one.limit and p > LEVEL:
        enough = f"; {adapters_needed(LEVEL, beside)} adapters are enough whatever comes out beside it"
        return f"{wanted}; {one.limit}{enough if one.adapters is not None else ''}."
    half = (ends[1] - ends[0]) / 2
    target = max(abs(one.effect.value - one.none), abs(one.effect.value - one.least))
    needed = math.ceil(one.n * (half / target) ** 2 - 1e-9) if target > 0 else one.n
    more = f": about {needed} documents, if the effect stays as it is" if needed > one.n else ""
    return wanted + more + "."


def number(value: float) -> str:
    """A number with three significant digits, without an exponent where that is readable."""
    return f"{value:.3g}".replace("-", "−")


def n_clause(n: int) -> str:
    """How many documents an interval is of, and that it is too short where they are few."""
    return f"n = {n}, too few: the interval is too short" if n < FEWEST_DOCUMENTS else f"n = {n}"


def p_clause(p: float) -> str:
    """A p-value with its sign: `p = 0.04`, or `p under 0.001`."""
    return f"p {p_words(p)}" if p < LEAST_P else f"p = {p_words(p)}"


def p_words(p: float) -> str:
    """A p-value as it is written in a sentence."""
    return f"under {LEAST_P:g}" if p < LEAST_P else f"{p:.2g}"
