import math
from dataclasses import astuple
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.measure.metrics import SUMMARISED
from core.measure.summary import (
    Bin,
    Choices,
    Concentration,
    binned_kl,
    concentration,
    first_choices,
    summarise,
    summarise_tokens,
)
from core.measure.tokens import TokenScore
from tests.tokens import choices, token

kl_values = st.lists(st.floats(0, 10).map(lambda x: round(x, 3)), min_size=1, max_size=60)


class TestSummary:
    def test_percentiles_lie_between_the_values(self) -> None:
        found = summarise([4.0, 1.0, 3.0, 2.0])
        assert (found.mean, found.sum, found.median, found.max, found.n) == (2.5, 10, 2.5, 4, 4)
        # Linear interpolation: 95 % of the way over three steps is 2.85 steps past the smallest.
        assert found.p95 == pytest.approx(3.85)
        assert found.p99 == pytest.approx(3.97)
        assert (found.noise, found.noise_token) == (None, None)

    def test_noise_is_the_change_of_the_mean_and_of_a_token(self) -> None:
        found = summarise([1.0, 2.0, 3.0, 4.0], [1.1, 2.0, 2.9, 4.4])
        assert found.noise == pytest.approx(0.1)
        # Changes by size: 0, 0.1, 0.1, 0.4; 99 % lies 0.97 of the last step on.
        assert found.noise_token == pytest.approx(0.1 + 0.97 * 0.3)

    def test_changes_that_cancel_are_noise_of_tokens_only(self) -> None:
        found = summarise([1.0, 1.0], [2.0, 0.0])
        assert (found.noise, found.noise_token) == (0, 1)

    def test_a_single_value_is_all_of_its_summary(self) -> None:
        assert astuple(summarise([0.3], [0.2])) == pytest.approx((0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 1, 0.1, 0.1))

    @pytest.mark.parametrize("others", [None, []])
    def test_nothing_has_no_numbers(self, others: list[float] | None) -> None:
        assert astuple(summarise([], others)) == (None, None, None, None, None, None, 0, None, None)

    def test_the_sum_of_many_small_values_is_exact(self) -> None:
        assert summarise([0.1] * 10).sum == 1.0


def _scored(kl: float, delta_logp: float) -> TokenScore:
    rest = dict.fromkeys(SUMMARISED, 0.0) | {"kl_tuned_base": kl, "delta_logp": delta_logp}
    return token("x", **rest)


class TestSummaryOfTokens:
    def test_every_metric_is_summarised_in_the_order_of_the_table(self) -> None:
        found = summarise_tokens([_scored(1.0, -2.0), _scored(3.0, 1.0)])
        assert list(found) == list(SUMMARISED)
        assert (found["kl_tuned_base"].mean, found["kl_tuned_base"].max) == (2.0, 3.0)
        assert (found["delta_logp"].mean, found["delta_logp"].max) == (-0.5, 1.0)

    def test_tokens_without_scores_are_left_out(self) -> None:
        found = summarise_tokens([token("first"), _scored(1.0, 0.0)], [token("first"), _scored(1.5, 0.0)])
        assert (found["kl_tuned_base"].n, found["kl_tuned_base"].mean, found["kl_tuned_base"].noise) == (1, 1.0, 0.5)

    def test_no_scored_token_gives_nulls(self) -> None:
        assert {s.n for s in summarise_tokens([token("first")]).values()} == {0}
        assert {s.mean for s in summarise_tokens([]).values()} == {None}


class TestConcentration:
    def test_by_hand(self) -> None:
        kl = [30.0] * 9 + [360.0] + [30.0] * 9 + [900.0]  # sums to 1,800
        # One token is the top 1 % and 5 % of twenty, two are 10 %; six of thirty more make 80 %.
        assert astuple(concentration(kl)) == pytest.approx((0.5, 0.5, 0.7, 1 / 20, 8 / 20))

    def test_equal_tokens_share_equally(self) -> None:
        assert astuple(concentration([0.1] * 10)) == pytest.approx((0.1, 0.1, 0.1, 0.5, 0.8))

    def test_the_number_of_top_tokens_is_rounded_up(self) -> None:
        assert astuple(concentration([1.0] * 101))[:3] == pytest.approx((2 / 101, 6 / 101, 11 / 101))

    def test_one_token_holds_everything(self) -> None:
        assert astuple(concentration([0.2])) == (1, 1, 1, 1, 1)

    @pytest.mark.parametrize("kl", [[], [0.0], [0.0, 0.0]])
    def test_nothing_to_share(self, kl: list[float]) -> None:
        assert concentration(kl) == Concentration(None, None, None, None, None)

    @given(kl_values.filter(lambda kl: sum(kl) > 0), st.randoms())
    @settings(deadline=None)
    def test_neither_order_nor_size_matters(self, kl: list[float], random) -> None:
        shuffled = [2 * x for x in kl]
        random.shuffle(shuffled)
        assert astuple(concentration(shuffled)) == pytest.approx(astuple(concentration(kl)))

    @given(kl_values.filter(lambda kl: sum(kl) > 0))
    @settings(deadline=None)
    def test_shares_grow_with_their_tokens(self, kl: list[float]) -> None:
        found = concentration(kl)
        assert 0 < found.top_1pct <= found.top_5pct <= found.top_10pct <= 1 + 1e-12
        assert 0 < found.tokens_for_50pct <= found.tokens_for_80pct <= 1
        assert found.top_10pct >= math.ceil(0.1 * len(kl)) / len(kl) - 1e-12


class TestBins:
    def test_by_hand(self) -> None:
        along = [5.0, 1.0, 4.0, 2.0, 3.0, 0.0]
        kl = [0.5, 0.1, 0.4, 0.2, 0.3, 0.7]
        assert binned_kl(along, kl, 3) == (
            Bin(0.0, 1.0, pytest.approx(0.4), 2),
            Bin(2.0, 3.0, pytest.approx(0.25), 2),
            Bin(4.0, 5.0, pytest.approx(0.45), 2),
        )

    def test_fewer_tokens_than_bins(self) -> None:
        assert binned_kl([1.0, 0.0], [0.2, 0.6]) == (Bin(0.0, 0.0, 0.6, 1), Bin(1.0, 1.0, 0.2, 1))

    def test_no_tokens(self) -> None:
        assert binned_kl([], []) == ()

    @given(kl_values)
    @settings(deadline=None)
    def test_bins_are_equally_full_and_lose_nothing(self, kl: list[float]) -> None:
        bins = binned_kl([x / len(kl) for x in range(len(kl))], kl)
        sizes = [b.n for b in bins]
        assert len(bins) == min(5, len(kl))
        assert sum(sizes) == len(kl)
        assert max(sizes) - min(sizes) <= 1
        assert sum(b.n * b.mean_kl for b in bins) == pytest.approx(sum(kl))
        assert all(a.high < b.low for a, b in pairwise(bins))


def _chosen(base: int, tuned: int, rank_base: int) -> TokenScore:
    return token("x", top_base=choices(base, 50), top_tuned=choices(tuned, 51), rank_base=rank_base)


class TestFirstChoices:
    def test_rank_classes(self) -> None:
        tokens = [_chosen(7, 7, 1), _chosen(7, 8, 2), _chosen(7, 9, 3), _chosen(50, 51, 4)]
        assert first_choices(tokens) == Choices(agreement=0.25, unshifted=0.25, marginal=0.5, shifted=0.25)

    def test_tokens_without_scores_do_not_count(self) -> None:
        assert first_choices([token("first"), _chosen(7, 7, 1)]) == Choices(1, 1, 0, 0)

    @pytest.mark.parametrize("tokens", [[], [token("first")]])
    def test_nothing_scored(self, tokens: list[TokenScore]) -> None:
        assert first_choices(tokens) == Choices(None, None, None, None)

    @given(st.lists(st.integers(1, 10), min_size=1))
    @settings(deadline=None)
    def test_the_three_classes_cover_every_token(self, ranks: list[int]) -> None:
        found = first_choices([_chosen(1, 2, rank) for rank in ranks])
        assert found.unshifted + found.marginal + found.shifted == pytest.approx(1)
        assert found.agreement == 0
