"""How few words or tokens hold how much of the divergence, with headings and without.

Knows the tables `words` and `answers`; knows no model.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.study.matching import Integers
from core.study.pooled import PooledConcentration, pooled_concentration
from core.study.resampling import RESAMPLES, Estimate, bootstrap_mean_interval, bootstrap_ratio_interval

SHARES = ("top_1pct", "top_5pct", "top_10pct", "tokens_for_50pct", "tokens_for_80pct")


@dataclass(frozen=True)
class TextConcentration:
    """Where the ΣKL of single texts sits, headings left out.

    Attributes:
        shares: `top_1pct` … (share of a text's ΣKL in its tokens with the largest KL) and `tokens_for_50pct` … (share
            of its tokens that hold so much), means over texts; null where no text has a difference.
        format_share: share of ΣKL that lies in headings, a ratio of sums; null where there is no divergence.
        texts: how many.
    """

    shares: dict[str, Estimate | None]
    format_share: Estimate | None
    texts: int


def word_concentration(
    words: pd.DataFrame, floor: float, *, with_format: bool = False, seed: int = 0, n_resamples: int = RESAMPLES
) -> PooledConcentration:
    """Concentration over the words of many texts, as if they were one text.

    Args:
        words: rows of the table, of the texts wanted; a word counts with the ΣKL of its tokens.
        floor: noise of one token's KL, nats.
        with_format: whether headings count.
        seed, n_resamples: of the bootstrap over documents.
    """
    own = words if with_format else words[~words["format"].to_numpy(dtype=bool)]
    document: Integers = pd.factorize(own["document"], sort=True)[0].astype(np.int64)
    return pooled_concentration(own["score"].to_numpy(dtype=np.float64), document, floor, seed, n_resamples)


def text_concentration(answers: pd.DataFrame, seed: int = 0, n_resamples: int = RESAMPLES) -> TextConcentration:
    """Concentration over the tokens of each text, and what headings hold.

    Args:
        answers: rows of the table, of the texts wanted.
        seed, n_resamples: of the bootstrap over documents.
    """
    ordered = answers.sort_values("document")
    shares: dict[str, Estimate | None] = {}
    for name in SHARES:
        own = ordered[name].dropna().to_numpy(dtype=np.float64)
        shares[name] = bootstrap_mean_interval(own, seed, n_resamples) if len(own) else None
    whole = ordered["kl_sum_with_format"].to_numpy(dtype=np.float64)
    headings = whole - ordered["kl_sum"].to_numpy(dtype=np.float64)
    share = bootstrap_ratio_interval(headings, whole, seed, n_resamples) if whole.sum() > 0 else None
    return TextConcentration(shares, share, len(ordered))
