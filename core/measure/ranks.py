"""How well two lists of numbers agree in their order.

Pure functions of numbers; know nothing of what was measured.
"""

from collections.abc import Sequence

import numpy as np

from core.errors import ShapeError


def average_ranks(values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Ranks from 1, smallest first; equal values share the mean of the ranks they take up. (n,) float64."""
    numbers = np.asarray(values, dtype=np.float64)
    _, which, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: np.ndarray[tuple[int], np.dtype[np.float64]] = (last - (counts - 1) / 2)[which]
    return ranks


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Spearman's correlation: Pearson's, of average ranks.

    Args:
        a, b: as many finite numbers each.

    Returns:
        −1..1; None under two numbers, or where all of one list are equal: there is no order to agree with.

    Raises:
        ShapeError: the lists differ in length.

    Source: Spearman 1904.
    """
    if len(a) != len(b):
        raise ShapeError(f"The lists have {len(a)} and {len(b)} numbers.", "They must agree.")
    if len(a) < 2:
        return None
    x, y = (ranks - ranks.mean() for ranks in (average_ranks(a), average_ranks(b)))
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(np.clip(x @ y / size, -1.0, 1.0)) if size > 0 else None
