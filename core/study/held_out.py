"""Sets of layers on prompts they were not found on, beside random sets of their size.

Both halves count: a set found on either is scored on the other, so every prompt is scored once, by a set that never
saw it. Knows the tables `nested_sets` and `sets`; runs nothing.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.study.resampling import RESAMPLES, Estimate, Floats, bootstrap_ratio_interval, permutation_p


@dataclass(frozen=True)
class FoundSet:
    """The smallest nested set that brings back enough on one half, on the other one.

    Attributes:
        found_on: the half.
        size: how many layers or parts; null where no set brings back enough.
        of: how many there are.
        units: which, as in `3, 7-9`; null with the size.
        recovery_found: on the half on which it was found; null with the size.
        recovery: on the other half, over its documents; null with the size.
        random: recoveries there of random sets of its size.
        random_mean, random_sd: of these; null where there are none, or fewer than two.
    """

    found_on: int
    size: int | None
    of: int
    units: str | None
    recovery_found: float | None
    recovery: Estimate | None
    random: tuple[float, ...]
    random_mean: float | None
    random_sd: float | None


@dataclass(frozen=True)
class HeldOut:
    """What sets bring back on prompts they were not found on.

    Attributes:
        by: what they are made of: `layer` or `part`.
        reach: the recovery for which they were found.
        sets: one a half.
        recovery: over the documents of both halves, each under the set of the other; null where there is no set.
        above_random: by how much that is above the mean of random sets of the same size; null without either.
        p: that a random set does as well, one-sided: found and random sets of each half change places in every way.
        least_p: the smallest that p could be with so many random sets.
    """

    by: str
    reach: float
    sets: tuple[FoundSet, ...]
    recovery: Estimate | None
    above_random: Estimate | None
    p: float | None
    least_p: float | None


def held_out_sets(
    nested: pd.DataFrame,
    sets: pd.DataFrame,
    reaches: tuple[float, ...] = (0.8, 0.9),
    seed: int = 0,
    n_resamples: int = RESAMPLES,
) -> tuple[HeldOut, ...]:
    """Every sort of set at every reach.

    Args:
        nested, sets: the tables, of one or of both kinds of prompts.
        reaches: recoveries for which sets were sought.
        seed, n_resamples: of the bootstrap over documents.
    """  # fmt: skip
    return tuple(
        _held_out(nested[nested["by"] == by], sets[(sets["by"] == by) & (sets["reach"] == reach)], by, reach, seed,
                  n_resamples)
        for by in sorted(nested["by"].unique())
        for reach in reaches
    )  # fmt: skip


def _held_out(nested: pd.DataFrame, sets: pd.DataFrame, by: str, reach: float, seed: int, n_resamples: int) -> HeldOut:
    found = tuple(
        _found_set(nested[nested["half"] == half], sets[sets["found_on"] == half], int(half), seed, n_resamples)
        for half in sorted(nested["half"].unique())
    )
    own = sets[sets["number"] == 0].set_index("document").sort_index()
    if not own["kl_base_sum"].sum() > 0:
        return HeldOut(by, reach, found, None, None, None, None)
    base, kl = (own[name].to_numpy(dtype=np.float64) for name in ("kl_base_sum", "kl_sum"))
    recovery = bootstrap_ratio_interval(base - kl, base, seed, n_resamples)
    random = sets[sets["number"] > 0].groupby("document")["kl_sum"].mean()
    if not len(random):
        return HeldOut(by, reach, found, recovery, None, None, None)
    above = bootstrap_ratio_interval(random.loc[own.index].to_numpy(dtype=np.float64) - kl, base, seed, n_resamples)
    p, n = _p(sets)
    return HeldOut(by, reach, found, recovery, above, p, 1 / n)


def _found_set(nested: pd.DataFrame, sets: pd.DataFrame, half: int, seed: int, n_resamples: int) -> FoundSet:
    of = int(nested["size"].max())
    own = sets[sets["number"] == 0].sort_values("document")
    if not own["kl_base_sum"].sum() > 0:
        return FoundSet(half, None, of, None, None, None, (), None, None)
    size = int(own["size"].iloc[0])
    there = nested[nested["size"] == size]
    base, kl = (own[name].to_numpy(dtype=np.float64) for name in ("kl_base_sum", "kl_sum"))
    sums = sets[sets["number"] > 0].groupby("number")[["kl_sum", "kl_base_sum"]].sum()
    random: Floats = (1 - sums["kl_sum"] / sums["kl_base_sum"]).to_numpy(dtype=np.float64)
    return FoundSet(
        found_on=half,
        size=size,
        of=of,
        units=str(own["units"].iloc[0]),
        recovery_found=float(1 - there["kl_sum"].sum() / there["kl_base_sum"].sum()),
        recovery=bootstrap_ratio_interval(base - kl, base, seed, n_resamples),
        random=tuple(map(float, random)),
        random_mean=float(random.mean()) if len(random) else None,
        random_sd=float(random.std(ddof=1)) if len(random) > 1 else None,
    )


def _p(sets: pd.DataFrame) -> tuple[float, int]:
    """One-sided p of the pooled recovery, and among how many ways to choose one set a half it is ranked."""
    found, every = 0.0, np.zeros(1)
    for _, own in sets.groupby("found_on"):
        sums = own.groupby("number")["kl_sum"].sum().sort_index().to_numpy(dtype=np.float64)
        found += float(sums[0])
        every = np.add.outer(every, sums).reshape(-1)
    return permutation_p(-found, -every[1:])[0], len(every)
