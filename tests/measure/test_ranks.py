"""Rank correlation against scipy's, ties included."""

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ShapeError
from core.measure.ranks import average_ranks, rank_correlation

PAIRS = st.lists(st.tuples(st.integers(-4, 4), st.floats(-1e6, 1e6)), min_size=2, max_size=40)


@given(PAIRS)
def test_it_is_scipys(pairs: list[tuple[int, float]]) -> None:
    a, b = zip(*pairs, strict=True)
    assert average_ranks(a).tolist() == scipy.stats.rankdata(a).tolist()
    if len(set(a)) > 1 and len(set(b)) > 1:
        assert rank_correlation(a, b) == pytest.approx(scipy.stats.spearmanr(a, b).statistic, abs=1e-12)


def test_it_sees_order_only() -> None:
    assert rank_correlation([1, 2, 3, 4], [0, 1, 100, 1e9]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert average_ranks([5, 1, 5, 0]).tolist() == [3.5, 2, 3.5, 1]


@pytest.mark.parametrize(("a", "b"), [([], []), ([1.0], [2.0]), ([1.0, 2.0], [3.0, 3.0])])
def test_where_there_is_no_order_there_is_no_correlation(a: list[float], b: list[float]) -> None:
    assert rank_correlation(a, b) is None


def test_lists_of_unequal_length_are_refused() -> None:
    with pytest.raises(ShapeError, match="3 and 2 numbers"):
        rank_correlation([1, 2, 3], [1, 2])
