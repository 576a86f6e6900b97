"""How one number of an answer goes with another when a third is held: a slope, its interval and its p.

Knows numbers per document; knows nothing of what they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import ShapeError
from core.study.resampling import PERMUTATIONS, RESAMPLES, Estimate, Floats, estimate, permutation_p, resampled_sums


@dataclass(frozen=True)
class Slope:
    """A slope with others held.

    Attributes:
        slope: units of the outcome per unit of the predictor; the interval is over documents.
        p: two-sided, by permuting what the controls leave of the outcome.
        spread: standard deviation of what the controls leave of the predictor; a small one makes a wide interval.
    """

    slope: Estimate
    p: float
    spread: float


def slope_with_controls(
    outcome: Sequence[float] | Floats,
    predictor: Sequence[float] | Floats,
    controls: Floats,
    seed: int = 0,
    n_permutations: int = PERMUTATIONS,
    n_resamples: int = RESAMPLES,
) -> Slope | None:
    """Least squares of outcome on predictor and controls, a constant included: the predictor's slope.

    The permuted statistic is the slope over its heteroscedasticity-robust standard error, so that the test stays valid
    where answers scatter more as the predictor grows.

    Args:
        outcome, predictor: (documents,) one number a document.
        controls: (documents, k).
        seed, n_permutations, n_resamples: of the permutations and the bootstrap.

    Returns:
        None where the predictor does not vary beyond the controls, or documents are no more than coefficients.

    Raises:
        ShapeError: the lengths differ.

    Source: Frisch & Waugh 1933 (controls taken out first); Freedman & Lane 1983 and DiCiccio & Romano 2017 (the test).
    """
    y, x = np.asarray(outcome, dtype=np.float64), np.asarray(predictor, dtype=np.float64)
    held = np.column_stack([np.ones(len(y)), controls]) if len(y) == len(controls) else np.zeros((0, 1))
    if not len(y) == len(x) == len(held):
        raise ShapeError(
            f"There are {len(y)} outcomes, {len(x)} predictors, {len(controls)} controls.", "They must pair up."
        )
    if len(y) <= held.shape[1] + 1:
        return None
    own, left = _residuals(x, held), _residuals(y, held)
    if own.std() <= 1e-9 * max(1.0, float(np.abs(x).max())):
        return None
    value = float(own @ left / (own @ own))
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(len(y)), (n_permutations, 1)), axis=1)
    permuted = _studentised(own, left[orders], held)
    p = permutation_p(float(_studentised(own, left[None], held)[0]), permuted)[1]
    return Slope(estimate(value, _resampled(y, x, held, seed, n_resamples), len(y)), p, float(own.std()))


def _residuals(values: Floats, held: Floats) -> Floats:
    found: Floats = values - held @ np.linalg.lstsq(held, values, rcond=None)[0]
    return found


def _studentised(own: Floats, outcomes: Floats, held: Floats) -> Floats:
    """Slope over robust standard error for each row of (n, documents) outcomes; 0 where nothing scatters."""
    outcomes = _residuals(outcomes.T, held).T
    slopes = outcomes @ own / (own @ own)
    scatter = np.sqrt((outcomes - slopes[:, None] * own) ** 2 @ own**2) / (own @ own)
    found: Floats = np.divide(slopes, scatter, out=np.zeros_like(slopes), where=scatter > 0)
    return found


def _resampled(y: Floats, x: Floats, held: Floats, seed: int, n_resamples: int) -> Floats:
    """Slopes of resampled documents, from resampled sums of products; undefined ones are NaN.

    Where the documents drawn leave controls that say the same (a length that all of them share and the constant), the
    slope is the same whichever of these is held, so it is taken from the pseudo-inverse.
    """
    scale = np.maximum(np.abs(held).max(axis=0), 1e-300)
    rows = np.column_stack([x / max(np.abs(x).max(), 1e-300), held / scale, y])
    products = resampled_sums(rows[:, :, None] * rows[:, None, :], seed, n_resamples)
    k = rows.shape[1] - 1
    system, right = products[:, :k, :k], products[:, :k, k]
    good = np.linalg.cond(system) < 1e12
    slopes = np.full(n_resamples, np.nan)
    slopes[good] = np.linalg.solve(system[good], right[good][..., None])[:, 0, 0]
    inverse = np.linalg.pinv(system[~good], rcond=1e-11, hermitian=True)
    own = (inverse @ right[~good][..., None])[:, 0, 0]
    told_apart = np.abs((inverse @ system[~good])[:, 0, 0] - 1) < 1e-6  # the predictor is no sum of controls
    slopes[~good] = np.where(told_apart, own, np.nan)
    found: Floats = slopes / np.abs(x).max()
    return found
