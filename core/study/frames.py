"""What all claims need of the tables: noise floors, settings, one corpus's rows, pairs of twins.

Knows the tables of core/study/tables; knows no claims.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.study.resampling import PERMUTATIONS, RESAMPLES, Estimate, Floats, bootstrap_mean_interval, sign_flip_p

TIMES_NOISE = 5


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
class TwinRatio:
    """Medical over general, pair by pair.

    Attributes:
        ratio: of geometric means of value + floor.
        p: two-sided, by exchanging the twins of each pair.
        n: pairs.
        noise_only: whether both means are within 5× the floor.
    """

    ratio: Estimate
    p: float
    n: int
    noise_only: bool


def of_corpus(frame: pd.DataFrame, prompts: pd.DataFrame, corpus: str, whose: str | None = None) -> pd.DataFrame:
    """The rows of the documents of one corpus, of one kind of text where given, sorted by document."""
    own = frame[frame["document"].isin(prompts.loc[prompts["corpus"] == corpus, "document"])]
    if whose is not None:
        own = own[own["whose"] == whose]
    return own.sort_values("document", kind="stable")


def twin_ratio(values: pd.Series, prompts: pd.DataFrame, floor: float, settings: Settings) -> TwinRatio | None:
    """Medical over general, of pairs of twins that both have a value.

    Args:
        values: one number ≥ 0 a document, with the documents as index.
        prompts: the table.
        floor: added to every value before the logarithm; above 0.
        settings: of the draws.

    Returns:
        None without pairs.
    """
    medical = prompts[(prompts["corpus"] == "medical") & prompts["twin"].isin(values.index)]
    medical = medical[medical["document"].isin(values.index)].sort_values("document")
    if not len(medical):
        return None
    own: Floats = values.loc[medical["document"]].to_numpy(dtype=np.float64)
    other: Floats = values.loc[medical["twin"]].to_numpy(dtype=np.float64)
    gaps = np.log(own + floor) - np.log(other + floor)
    return TwinRatio(
        ratio=bootstrap_mean_interval(gaps, settings.seed, settings.n_resamples).exp(),
        p=sign_flip_p(gaps, settings.seed, settings.n_permutations),
        n=len(gaps),
        noise_only=max(float(own.mean()), float(other.mean())) <= TIMES_NOISE * floor,
    )
