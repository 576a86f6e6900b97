"""Estimates over documents: a mean or a ratio of sums, its bootstrap interval, and a paired test.

Tokens and words of one document are not independent, documents are: so documents are what is drawn and flipped. Knows
arrays; knows nothing of what was measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import permutation_test

from core.errors import ShapeError

Floats = NDArray[np.float64]
RESAMPLES = 10_000
PERMUTATIONS = 10_000
PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval.

    Attributes:
        value: computed from all documents.
        low, high: percentiles 2.5 and 97.5 of it over resampled documents; null where it is undefined in one of them,
            or under two documents.
        n: how many documents.
    """

    value: float
    low: float | None
    high: float | None
    n: int

    def exp(self) -> "Estimate":
        """The same of the exponential: a mean of logarithms as a geometric mean."""
        low, high = (None if end is None else float(np.exp(end)) for end in (self.low, self.high))
        return Estimate(float(np.exp(self.value)), low, high, self.n)


def resampled_sums(sums: ArrayLike, seed: int = 0, n_resamples: int = RESAMPLES) -> Floats:
    """Sums over documents drawn with replacement, as many as there are.

    Whatever is a function of sums over documents (means, ratios, slopes, curves) has its bootstrap in these: the
    draws are counts, and all resamples are one matrix product.

    Args:
        sums: (documents, …) of one number or more a document.
        seed: of the draws; the same seed and number of documents give the same draws.
        n_resamples: how many.

    Returns:
        (n_resamples, …) float64.
    """
    own = np.asarray(sums, dtype=np.float64)
    n = len(own)
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=n_resamples).astype(np.float64)
    found: Floats = (drawn @ own.reshape(n, -1)).reshape(n_resamples, *own.shape[1:])
    return found


def resampled_means(values: ArrayLike, seed: int = 0) -> Floats:
    """Means over columns drawn with replacement, in every row anew: what was drawn at random besides documents.

    Args:
        values: (n_resamples, columns).
        seed: of the draws, which are others than those of `resampled_sums`.

    Returns:
        (n_resamples,) float64.
    """
    own = np.asarray(values, dtype=np.float64)
    n = own.shape[1]
    times = np.random.default_rng([seed, 1]).multinomial(n, np.full(n, 1 / n), size=len(own))
    found: Floats = (own * times).sum(axis=1) / n
    return found


def estimate(value: float, resampled: ArrayLike, n: int) -> Estimate:
    """A value with the percentile interval of its resampled values; none where one of them is undefined."""
    values = np.asarray(resampled, dtype=np.float64)
    if n < 2 or not np.isfinite(values).all():
        return Estimate(float(value), None, None, n)
    low, high = (float(end) for end in np.percentile(values, PERCENTILES))
    return Estimate(float(value), low, high, n)


def bootstrap_mean_interval(values: Sequence[float] | Floats, seed: int = 0, n_resamples: int = RESAMPLES) -> Estimate:
    """The mean over documents; of paired data, give the differences.

    Args:
        values: (documents,) one number a document.
        seed, n_resamples: of the bootstrap.

    Raises:
        ShapeError: there are no values.

    Source: Efron & Tibshirani 1993, chapter 13 (percentile interval).
    """
    return bootstrap_ratio_interval(values, np.ones(len(values)), seed, n_resamples)


def bootstrap_ratio_interval(
    numerators: Sequence[float] | Floats,
    denominators: Sequence[float] | Floats,
    seed: int = 0,
    n_resamples: int = RESAMPLES,
) -> Estimate:
    """Σ numerators / Σ denominators over documents, such as nats per token; of paired data, numerators are differences.

    Args:
        numerators: (documents,).
        denominators: (documents,), ≥ 0.
        seed, n_resamples: of the bootstrap.

    Raises:
        ShapeError: the lengths differ, or there is nothing to divide by.
    """
    above, below = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    if above.shape != below.shape or not below.sum() > 0:
        raise ShapeError(
            f"There are {len(above)} numerators and {len(below)} denominators, with a sum of {below.sum():g}.",
            "Give one of each a document, the denominators above 0.",
        )
    drawn = resampled_sums(np.stack([above, below], axis=1), seed, n_resamples)
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample may draw only documents that have nothing
        ratios = drawn[:, 0] / drawn[:, 1]
    return estimate(above.sum() / below.sum(), ratios, len(above))


def sign_flip_p(differences: Sequence[float] | Floats, seed: int = 0, n_permutations: int = PERMUTATIONS) -> float:
    """Two-sided p of paired differences whose sum would be as likely of either sign if the pairing meant nothing.

    Args:
        differences: (documents,) one a document. With few documents all sign changes are tried, otherwise
            `n_permutations` random ones, and p = (b + 1)/(n + 1).
        seed, n_permutations: of the sign changes.

    Returns:
        0..1; 1 where there is no difference at all, or fewer than two documents.
    """
    own = np.asarray(differences, dtype=np.float64)
    if len(own) < 2 or not own.any():
        return 1.0
    found = permutation_test(
        (own,), _mean, permutation_type="samples", vectorized=True, n_resamples=n_permutations,
        batch=1_000, rng=np.random.default_rng(seed),
    )  # fmt: skip
    return float(found.pvalue)


def exchange_p(one: Floats, other: Floats, seed: int = 0, n_permutations: int = PERMUTATIONS) -> float:
    """Two-sided p of the difference of two means, if it meant nothing in which group a document is.

    Args:
        one, other: (documents,) each.
        seed, n_permutations: as for `sign_flip_p`.

    Returns:
        0..1; 1 where nothing differs, or a group has fewer than two documents.
    """
    if min(len(one), len(other)) < 2 or len({*one.tolist(), *other.tolist()}) == 1:
        return 1.0
    found = permutation_test(
        (one, other), _mean_difference, permutation_type="independent", vectorized=True, n_resamples=n_permutations,
        batch=1_000, rng=np.random.default_rng(seed),
    )  # fmt: skip
    return float(found.pvalue)


def _mean_difference(one: Floats, other: Floats, axis: int) -> Floats:
    found: Floats = one.mean(axis=axis) - other.mean(axis=axis)
    return found


def _mean(values: Floats, axis: int) -> Floats:
    found: Floats = values.mean(axis=axis)
    return found


def permutation_p(observed: float, permuted: ArrayLike) -> tuple[float, float]:
    """How extreme a value is among those of permuted labels.

    Returns:
        (one-sided p that it is high, two-sided p): (b + 1)/(n + 1), two-sided twice the smaller tail, at most 1.

    Source: Phipson & Smyth 2010.
    """
    others = np.asarray(permuted, dtype=np.float64)
    # The same arrangement summed in another order must count as equal.
    hair = 1e-9 * max(1.0, abs(observed))
    high = (int((others >= observed - hair).sum()) + 1) / (len(others) + 1)
    low = (int((others <= observed + hair).sum()) + 1) / (len(others) + 1)
    return high, min(1.0, 2 * min(high, low))
