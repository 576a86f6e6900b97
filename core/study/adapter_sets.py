"""Sets of layers in random adapters: each adapter's own best layers, on prompts they were not found on.

Few layers carry more than others in any change, so to beat layers drawn at random shows little. Here the fine-tune and
every random adapter go the same way: layers are ranked by what each brings back alone on one half of the prompts, and
as many as the study's set has are grafted on the other half. If the fine-tune is one more such adapter, its rank among
them is uniform. Knows rows; runs nothing.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.study.frames import TIMES_NOISE
from core.study.resampling import RESAMPLES, Estimate, estimate, permutation_p, resampled_means, resampled_sums


@dataclass(frozen=True)
class AdapterSets:
    """What the sets of every adapter bring back on the half they were not found on.

    Attributes:
        own: recovery of the fine-tune.
        random: of each random adapter that changes these texts at all.
        above: by how much `own` lies above the mean of `random`; interval over documents and random adapters.
        p: one-sided: (r + 1)/(n + 1), with r random adapters at least as good.
    """

    own: float
    random: tuple[float, ...]
    above: Estimate
    p: float


def against_adapters(
    rows: pd.DataFrame, floor: float, seed: int = 0, n_resamples: int = RESAMPLES
) -> AdapterSets | None:
    """The fine-tune's recovery beside that of random adapters.

    Args:
        rows: of the table `adapter_sets`, of one reach; documents that lack an adapter are left out.
        floor: noise of one token's KL, nats.
        seed, n_resamples: of the bootstrap.

    Returns:
        None where the fine-tune or every random adapter hardly changes these texts, or nothing was measured.
    """
    if not len(rows):
        return None
    wide = rows.pivot_table(index="document", columns="adapter", values=["kl_sum", "kl_base_sum", "tokens"]).dropna()
    if not len(wide) or 0 not in wide["kl_sum"]:
        return None
    kl, kl_base, tokens = (wide[name].to_numpy(dtype=np.float64) for name in ("kl_sum", "kl_base_sum", "tokens"))
    defined = kl_base.sum(axis=0) > TIMES_NOISE * floor * tokens.sum(axis=0)
    if not defined[0] or not defined[1:].any():
        return None
    sums = np.stack([kl[:, defined], kl_base[:, defined]], axis=2)
    found = 1 - sums[..., 0].sum(axis=0) / sums[..., 1].sum(axis=0)
    drawn = resampled_sums(sums, seed, n_resamples)
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample may draw only documents without a difference
        recovery = 1 - drawn[..., 0] / drawn[..., 1]
    above = recovery[:, 0] - resampled_means(recovery[:, 1:], seed)
    return AdapterSets(
        own=float(found[0]),
        random=tuple(map(float, found[1:])),
        above=estimate(found[0] - found[1:].mean(), above, len(wide)),
        p=permutation_p(float(found[0]), found[1:])[0],
    )
