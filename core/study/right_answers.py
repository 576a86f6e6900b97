"""Multiple choice before and after: accuracy, and whether more answers turned right than wrong.

Knows which answers are right; knows no letters and no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from core.errors import ShapeError
from core.study.resampling import Estimate


@dataclass(frozen=True)
class Flips:
    """Questions by who answers them right.

    Attributes:
        both, neither: right under both models, and under neither.
        gained: wrong under base and right under the fine-tuned model.
        lost: right under base and wrong under the fine-tuned model.
        p: exact and two-sided, that gained and lost are equally likely; 1 where nothing flipped.
    """

    both: int
    neither: int
    gained: int
    lost: int
    p: float


def mcnemar(right_base: Sequence[bool], right_tuned: Sequence[bool]) -> Flips:
    """McNemar's exact test of paired right and wrong answers.

    Args:
        right_base, right_tuned: (questions,) whether each model is right, in the same order.

    Raises:
        ShapeError: the lengths differ.

    Source: McNemar 1947; the binomial form of it.
    """
    if len(right_base) != len(right_tuned):
        raise ShapeError(f"There are {len(right_base)} and {len(right_tuned)} answers.", "They must pair up.")
    base, tuned = np.asarray(right_base, dtype=bool), np.asarray(right_tuned, dtype=bool)
    gained, lost = int((~base & tuned).sum()), int((base & ~tuned).sum())
    p = float(binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0
    return Flips(int((base & tuned).sum()), int((~base & ~tuned).sum()), gained, lost, p)


def accuracy(right: Sequence[bool]) -> Estimate:
    """Share of right answers with its exact 95 % interval.

    Raises:
        ShapeError: there are no answers.

    Source: Clopper & Pearson 1934, by scipy.
    """
    n = len(right)
    if not n:
        raise ShapeError("There are no answers to count.", "Ask at least one question.")
    count = int(np.asarray(right, dtype=bool).sum())
    found = binomtest(count, n).proportion_ci(confidence_level=0.95, method="exact")
    return Estimate(count / n, float(found.low), float(found.high), n)


def paired_gain(right_base: Sequence[bool], right_tuned: Sequence[bool]) -> Estimate:
    """How much larger the share of right answers is after than before, with its 95 % interval.

    Unlike a bootstrap's, the interval keeps a width where few answers flipped or none.

    Args:
        right_base, right_tuned: (questions,) whether each model is right, in the same order.

    Raises:
        ShapeError: the lengths differ, or there are no answers.

    Source: Newcombe 1998, Statistics in Medicine 17:2635, method 10; Wilson's intervals by scipy.
    """
    flips = mcnemar(right_base, right_tuned)
    both, gained, lost, neither = flips.both, flips.gained, flips.lost, flips.neither
    n = len(right_base)
    if not n:
        raise ShapeError("There are no answers to count.", "Ask at least one question.")
    after, before = (both + gained) / n, (both + lost) / n
    (low_after, high_after), (low_before, high_before) = (
        binomtest(count, n).proportion_ci(method="wilson") for count in (both + gained, both + lost)
    )
    product = (both + gained) * (lost + neither) * (both + lost) * (gained + neither)
    alike = float(both * neither - gained * lost)
    if alike > 0:
        alike = max(alike - n / 2, 0.0)
    phi = alike / product**0.5 if product else 0.0

    def width(one: float, other: float) -> float:
        return float(max(one**2 - 2 * phi * one * other + other**2, 0.0) ** 0.5)

    gain = after - before
    low = gain - width(after - low_after, high_before - before)
    return Estimate(gain, low, gain + width(high_after - after, before - low_before), n)
