"""Summaries of token scores: one number for a text, with its noise, and where the divergence sits.

Knows numbers per token; knows no model.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.measure.metrics import SUMMARISED
from core.measure.tokens import TokenScore


@dataclass(frozen=True)
class Summary:
    """One metric over the masked tokens; null where there are none.

    Attributes:
        mean, sum, median, p95, p99, max: over tokens; percentiles by linear interpolation.
        n: how many tokens.
        noise: how much the mean changes when the same text is run by another numerical route.
        noise_token: 99th percentile over tokens of that change; a token's value below it is no difference.
    """

    mean: float | None
    sum: float | None
    median: float | None
    p95: float | None
    p99: float | None
    max: float | None
    n: int
    noise: float | None
    noise_token: float | None


@dataclass(frozen=True)
class Concentration:
    """Where the summed KL(tuned‖base) sits; shares 0..1, null where there is nothing to share.

    Attributes:
        top_1pct, top_5pct, top_10pct: share of ΣKL in the tokens with the largest KL; their number is rounded up.
        tokens_for_50pct, tokens_for_80pct: smallest share of tokens that holds so much of ΣKL.
    """

    top_1pct: float | None
    top_5pct: float | None
    top_10pct: float | None
    tokens_for_50pct: float | None
    tokens_for_80pct: float | None


@dataclass(frozen=True)
class Bin:
    """Mean KL(tuned‖base) of the tokens whose position or base entropy lies in [low, high]."""

    low: float
    high: float
    mean_kl: float
    n: int


@dataclass(frozen=True)
class Choices:
    """How often the first choices agree and how the written token ranks under base (Lin et al. 2023), shares 0..1."""

    agreement: float | None
    unshifted: float | None
    marginal: float | None
    shifted: float | None


def summarise(values: Sequence[float], others: Sequence[float] | None = None) -> Summary:
    """A summary of one metric.

    Args:
        values: one number per masked token.
        others: the same numbers by another numerical route, for the noise.
    """
    if not values:
        return Summary(None, None, None, None, None, None, 0, None, None)
    numbers = np.asarray(values, dtype=np.float64)
    noise = noise_token = None
    if others is not None:
        change = np.asarray(others, dtype=np.float64) - numbers
        noise, noise_token = float(abs(change.mean())), float(np.percentile(np.abs(change), 99))
    median, p95, p99 = (float(v) for v in np.percentile(numbers, [50, 95, 99]))
    total = float(math.fsum(values))
    return Summary(total / len(values), total, median, p95, p99, float(numbers.max()), len(values), noise, noise_token)


def summarise_tokens(tokens: Sequence[TokenScore], others: Sequence[TokenScore] | None = None) -> dict[str, Summary]:
    """A summary of every metric that has a mean over tokens that are scored, in the table's order."""
    result = {}
    for name in SUMMARISED:
        values = [getattr(t, name) for t in tokens if t.kl_tuned_base is not None]
        again = None if others is None else [getattr(t, name) for t in others if t.kl_tuned_base is not None]
        result[name] = summarise(values, again)
    return result


def concentration(kl: Sequence[float], floor: float = 0.0) -> Concentration:
    """How few tokens hold how much of ΣKL.

    Args:
        kl: one number per masked token.
        floor: a mean of at most this is no difference, and has no shares.
    """
    total = math.fsum(kl)
    if not kl or total <= floor * len(kl):
        return Concentration(None, None, None, None, None)
    held = np.cumsum(np.sort(np.asarray(kl, dtype=np.float64))[::-1]) / total

    def share_of_top(share: float) -> float:
        return float(held[math.ceil(share * len(kl)) - 1])

    def tokens_for(share: float) -> float:
        # A hair of tolerance, so that a sum of equal values reaches its share where it should.
        return (int(np.argmax(held >= share - 1e-12)) + 1) / len(kl)

    return Concentration(share_of_top(0.01), share_of_top(0.05), share_of_top(0.10), tokens_for(0.5), tokens_for(0.8))


def binned_kl(along: Sequence[float], kl: Sequence[float], n_bins: int = 5) -> tuple[Bin, ...]:
    """Mean KL over equally full bins of another quantity, such as relative position or base entropy."""
    if not kl:
        return ()
    order = np.argsort(np.asarray(along), kind="stable")
    bins = [chunk for chunk in np.array_split(order, min(n_bins, len(kl))) if len(chunk)]
    return tuple(
        Bin(
            low=float(min(along[i] for i in chunk)),
            high=float(max(along[i] for i in chunk)),
            mean_kl=math.fsum(kl[i] for i in chunk) / len(chunk),
            n=len(chunk),
        )
        for chunk in bins
    )


def first_choices(tokens: Sequence[TokenScore]) -> Choices:
    """Agreement of first choices and rank classes: 1 unshifted, 2–3 marginal, above 3 shifted."""
    scored = [t for t in tokens if t.top_base and t.top_tuned and t.rank_base is not None]
    if not scored:
        return Choices(None, None, None, None)
    n = len(scored)
    agree = sum(t.top_base[0].id == t.top_tuned[0].id for t in scored if t.top_base and t.top_tuned)
    ranks = [t.rank_base or 0 for t in scored]
    return Choices(
        agreement=agree / n,
        unshifted=sum(rank == 1 for rank in ranks) / n,
        marginal=sum(2 <= rank <= 3 for rank in ranks) / n,
        shifted=sum(rank > 3 for rank in ranks) / n,
    )
