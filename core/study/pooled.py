"""How few tokens of a whole corpus hold how much of its divergence, with an interval over documents.

Knows KL by token and document; knows no text.
"""

from dataclasses import dataclass

import numpy as np

from core.measure.summary import Concentration, concentration
from core.study.matching import Integers
from core.study.resampling import Estimate, Floats, estimate, resampled_sums

_DRAWS_AT_ONCE = 250


@dataclass(frozen=True)
class PooledConcentration:
    """Where the ΣKL of a corpus sits.

    Attributes:
        all: of all tokens, as if they were one text.
        top_10pct: share of ΣKL in the tenth of tokens with the largest KL, with its interval; null where ΣKL is noise.
    """

    all: Concentration
    top_10pct: Estimate | None


def pooled_concentration(
    kl: Floats, document: Integers, floor: float = 0.0, seed: int = 0, n_resamples: int = 10_000
) -> PooledConcentration:
    """Concentration over the tokens of many documents.

    Args:
        kl: (tokens,) nats.
        document: (tokens,) which document each is of.
        floor: a mean of at most this is no difference.
        seed, n_resamples: of the bootstrap over documents.
    """
    pooled = concentration(kl.tolist(), floor)
    if pooled.top_10pct is None:
        return PooledConcentration(pooled, None)
    documents, which = np.unique(document, return_inverse=True)
    order = np.argsort(-kl, kind="stable")
    ranked, owner = kl[order], which.reshape(-1)[order]
    draws = resampled_sums(np.eye(len(documents)), seed, n_resamples)
    shares = [
        _top_tenth(draws[start : start + _DRAWS_AT_ONCE, owner], ranked)
        for start in range(0, n_resamples, _DRAWS_AT_ONCE)
    ]
    return PooledConcentration(pooled, estimate(pooled.top_10pct, np.concatenate(shares), len(documents)))


def _top_tenth(times: Floats, ranked: Floats) -> Floats:
    """Share of the sum in the top tenth where each ranked token counts (draws, tokens) times."""
    before = np.cumsum(times, axis=1) - times
    wanted = np.ceil(0.1 * times.sum(axis=1) - 1e-9)[:, None]
    taken = np.clip(wanted - before, 0, times)
    with np.errstate(invalid="ignore"):
        found: Floats = taken @ ranked / (times @ ranked)
    return found
