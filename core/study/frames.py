"""What all claims need of the tables: noise floors, settings, one corpus's rows, one corpus against the other.

Knows the tables of core/study/tables; knows no claims.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.study.choice import KINDS
from core.study.resampling import (
    PERMUTATIONS,
    RESAMPLES,
    Estimate,
    Floats,
    bootstrap_mean_interval,
    estimate,
    exchange_p,
    resampled_sums,
    sign_flip_p,
)

TIMES_NOISE = 5
NO_OTHER = "there is text of one kind only"
BOTH_KINDS = "medical and general text, both"


@dataclass(frozen=True)
class Floors:
    """How far base is from itself by another numerical route; each above 0.

    Attributes:
        kl: of one token's KL, nats.
        logp: of one token's ln p, nats.
        drift_norm, drift_cosine: of one state's drift.
    """

    kl: float
    logp: float
    drift_norm: float
    drift_cosine: float


@dataclass(frozen=True)
class Settings:
    """How tests are drawn.

    Attributes:
        seed: of all draws.
        n_permutations, n_resamples: of permutations and of the bootstrap.
    """

    seed: int = 0
    n_permutations: int = PERMUTATIONS
    n_resamples: int = RESAMPLES


@dataclass(frozen=True)
class Contrast:
    """Medical text less general text, in one number a document.

    Attributes:
        difference: of means; over pairs of twins where there are such, else over documents of both corpora.
        p: two-sided, by exchanging the twins of each pair, or else documents between the corpora.
        n: pairs, or documents of the smaller corpus.
        between: what was compared, in words.
        threat: what else could make the same difference.
    """

    difference: Estimate
    p: float
    n: int
    between: str
    threat: str


@dataclass(frozen=True)
class CorpusRatio:
    """Medical over general.

    Attributes:
        ratio: of geometric means of value + floor.
        contrast: of their logarithms.
        noise_only: whether both means are within 5× the floor.
    """

    ratio: Estimate
    contrast: Contrast
    noise_only: bool


def of_corpus(frame: pd.DataFrame, prompts: pd.DataFrame, corpus: str, whose: str | None = None) -> pd.DataFrame:
    """The rows of the documents of one corpus, of one kind of text where given, sorted by document."""
    own = frame[frame["document"].isin(prompts.loc[prompts["corpus"] == corpus, "document"])]
    if whose is not None:
        own = own[own["whose"] == whose]
    return own.sort_values("document", kind="stable")


def contrast(values: pd.Series, prompts: pd.DataFrame, settings: Settings) -> Contrast | None:
    """Medical less general.

    Args:
        values: one number a document, with the documents as index.
        prompts: the table. Where pairs of twins make up at least half of the smaller corpus, they alone are compared.
        settings: of the draws.

    Returns:
        None where a corpus has no value.
    """
    own, other = (
        values.loc[values.index.isin(prompts.loc[prompts["corpus"] == corpus, "document"])].sort_index()
        for corpus in KINDS
    )
    fewer = min(len(own), len(other))
    if not fewer:
        return None
    medical = prompts[prompts["document"].isin(own.index) & prompts["twin"].isin(other.index)].sort_values("document")
    if 2 * len(medical) >= fewer:
        first, second = (values.loc[medical[name]].to_numpy(dtype=np.float64) for name in ("document", "twin"))
        gaps: Floats = first - second
        return Contrast(
            difference=bootstrap_mean_interval(gaps, settings.seed, settings.n_resamples),
            p=sign_flip_p(gaps, settings.seed, settings.n_permutations),
            n=len(gaps),
            between=f"in {len(gaps)} pairs of twins",
            threat="twins that differ in more than their subject",
        )
    groups = [one.to_numpy(dtype=np.float64) for one in (own, other)]
    drawn = [resampled_sums(one, settings.seed + k, settings.n_resamples) / len(one) for k, one in enumerate(groups)]
    return Contrast(
        difference=estimate(float(groups[0].mean() - groups[1].mean()), drawn[0] - drawn[1], fewer),
        p=exchange_p(groups[0], groups[1], settings.seed, settings.n_permutations),
        n=fewer,
        between=f"in {len(own):,} medical and {len(other):,} general documents, few or none of them twins",
        threat="corpora that differ in more than their subject, such as form and length",
    )


def corpus_ratio(values: pd.Series, prompts: pd.DataFrame, floor: float, settings: Settings) -> CorpusRatio | None:
    """Medical over general.

    Args:
        values: one number ≥ 0 a document, with the documents as index.
        prompts: the table.
        floor: added to every value before the logarithm; above 0.
        settings: of the draws.

    Returns:
        None where a corpus has no value.
    """
    found = contrast(np.log(values + floor), prompts, settings)
    if found is None:
        return None
    means = [values[values.index.isin(prompts.loc[prompts["corpus"] == name, "document"])].mean() for name in KINDS]
    return CorpusRatio(found.difference.exp(), found, max(map(float, means)) <= TIMES_NOISE * floor)
