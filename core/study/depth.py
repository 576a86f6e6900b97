"""Where along the layers a fine-tune acts: the centre of a curve over layers, held against random adapters.

Any change acts at some depth, so depth itself shows nothing; what counts is to lie higher than random adapters of the
same sizes do. Knows sums of KL by document and layer; knows no model.
"""

from dataclasses import dataclass

import numpy as np

from core.errors import ArgumentError, ShapeError
from core.study.resampling import RESAMPLES, Estimate, Floats, estimate, permutation_p, resampled_means, resampled_sums

CURVES = ("single", "without", "prefix")


@dataclass(frozen=True)
class Depth:
    """Where a fine-tune acts, and where random adapters do; 0 is the first layer, 1 the last.

    Attributes:
        centre: centre of the curve.
        above_random: by how much it lies above the mean centre of the random adapters, on the same documents; its
            interval is over documents and over random adapters.
        random: centres of the random adapters, over all documents.
        p_higher: one-sided: (r + 1)/(n + 1), with r random adapters at least as high.
        p: two-sided.
        curve: (n_layers,) over all documents.
    """

    centre: Estimate
    above_random: Estimate
    random: tuple[float, ...]
    p_higher: float
    p: float
    curve: tuple[float, ...]


def layer_curve(kl: Floats, kl_base: Floats, kind: str) -> Floats:
    """What each layer carries, as a share of the whole change: ratios of sums, uncapped.

    Args:
        kl: (…, n_layers) ΣKL(tuned‖hybrid).
        kl_base: (…) ΣKL(tuned‖base), above 0.
        kind: how layers were grafted: `single`: layer l alone, giving its recovery; `without`: all but l, giving what
            is lost; `prefix`: layers 0..l, giving the increments of recovery.

    Raises:
        ArgumentError: the kind is none of these.
    """
    if kind not in CURVES:
        raise ArgumentError(f"There is no curve {kind!r}.", f"Choose from {', '.join(CURVES)}.")
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample may draw only documents without a difference
        left: Floats = kl / kl_base[..., None]
    if kind == "without":
        return left
    return 1 - left if kind == "single" else -np.diff(left, axis=-1, prepend=1.0)


def centre_of_mass(curve: Floats) -> Floats:
    """Mean depth weighted by a curve, 0 for the first layer to 1 for the last.

    Args:
        curve: (…, n_layers) at least two layers; negative values weigh nothing.

    Returns:
        (…) float64; NaN where nothing is above 0.
    """
    weights = np.clip(curve, 0, None)
    with np.errstate(invalid="ignore"):
        found: Floats = weights @ np.linspace(0, 1, curve.shape[-1]) / weights.sum(axis=-1)
    return found


def depth_against_random(
    kl: Floats, kl_base: Floats, kind: str, seed: int = 0, n_resamples: int = RESAMPLES
) -> Depth | None:
    """The centre of a fine-tune's curve, and whether it lies higher than those of random adapters.

    Under the null hypothesis that the fine-tune is one more such adapter, its rank among them is uniform.

    Args:
        kl: (adapters, documents, n_layers) ΣKL(tuned‖hybrid) of each text; the first adapter is the fine-tune.
        kl_base: (adapters, documents) ΣKL(tuned‖base), each adapter's own.
        kind: see `layer_curve`.
        seed, n_resamples: of the bootstrap over documents.

    Returns:
        None where a curve has nothing above 0.

    Raises:
        ShapeError: there is no random adapter.
    """
    if len(kl) < 2:
        raise ShapeError(f"There are {len(kl) - 1} random adapters.", "Run the same grafts in 20 or more.")
    centres = centre_of_mass(layer_curve(kl.sum(axis=1), kl_base.sum(axis=1), kind))
    if not np.isfinite(centres).all():
        return None
    by_document = np.concatenate([kl, kl_base[..., None]], axis=2).transpose(1, 0, 2)
    drawn = resampled_sums(by_document, seed, n_resamples)
    resampled = centre_of_mass(layer_curve(drawn[..., :-1], drawn[..., -1], kind))
    above, n = resampled[:, 0] - resampled_means(resampled[:, 1:], seed), kl.shape[1]
    p_higher, p = permutation_p(float(centres[0]), centres[1:])
    curve = layer_curve(kl[0].sum(axis=0), kl_base[0].sum(), kind)
    return Depth(
        centre=estimate(centres[0], resampled[:, 0], n),
        above_random=estimate(centres[0] - centres[1:].mean(), above, n),
        random=tuple(map(float, centres[1:])),
        p_higher=p_higher,
        p=p,
        curve=tuple(map(float, curve)),
    )


def adapters_needed(level: float, tests: int = 1) -> int:
    """The fewest random adapters with which a rank surely can reach a level, one-sided, corrected for so many tests."""
    return int(np.ceil(tests / level - 1e-9)) - 1
