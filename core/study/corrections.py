"""Several tests at once: p-values corrected for their number.

Knows p-values; knows nothing of what was tested.
"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import false_discovery_control

from core.errors import ArgumentError


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p-values by which the chance of any false positive stays under the level, whatever the tests' dependence.

    Args:
        p_values: of one family, each 0..1.

    Returns:
        Corrected ones in the same order.

    Raises:
        ArgumentError: one is no probability.

    Source: Holm 1979.
    """
    given = _checked(p_values)
    order = np.argsort(given, kind="stable")
    steps = given[order] * np.arange(len(given), 0, -1)
    corrected = np.empty_like(given)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(given) else steps
    return tuple(map(float, corrected))


def benjamini_hochberg(p_values: Sequence[float]) -> tuple[float, ...]:
    """p-values by which the expected share of false positives among the positives stays under the level.

    Args:
        p_values: of one family, each 0..1; independent or positively dependent tests.

    Raises:
        ArgumentError: one is no probability.

    Source: Benjamini & Hochberg 1995, by scipy.
    """
    given = _checked(p_values)
    return tuple(map(float, false_discovery_control(given))) if len(given) else ()


def _checked(p_values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    given = np.asarray(p_values, dtype=np.float64)
    if not ((given >= 0) & (given <= 1)).all():
        raise ArgumentError(f"Not all of these are probabilities: {list(p_values)}.", "p-values lie between 0 and 1.")
    return given
