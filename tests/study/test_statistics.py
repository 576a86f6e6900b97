"""The statistics of a study: against scipy and statsmodels, by hand, on studies without an effect and with one."""

import json
from collections.abc import Callable
from itertools import combinations, product

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import binom, bootstrap, mannwhitneyu, permutation_test
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from core.errors import ArgumentError, ShapeError
from core.pair.home import ASSETS
from core.study.corrections import benjamini_hochberg, holm
from core.study.depth import adapters_needed, centre_of_mass, depth_against_random, layer_curve
from core.study.explanation import explanation
from core.study.matched_test import auroc, matched_test
from core.study.matching import matched_cells, quantile_bins
from core.study.resampling import (
    Estimate,
    bootstrap_mean_interval,
    bootstrap_ratio_interval,
    exchange_p,
    permutation_p,
    resampled_means,
    sign_flip_p,
)
from core.study.right_answers import accuracy, mcnemar, paired_gain
from core.study.slopes import slope_with_controls
from tests.study.simulated import layers_of, words_of

STUDIES = 200
QUICK = {"n_permutations": 199, "n_resamples": 50}


def too_many(n: int, rate: float = 0.05) -> int:
    """More rejections than this of n studies at a rate happen to one right test in a thousand."""
    return int(binom.ppf(0.999, n, rate))


def near(value: Estimate, low: float, high: float, tolerance: float) -> bool:
    assert value.low is not None
    assert value.high is not None
    return abs(value.low - low) < tolerance and abs(value.high - high) < tolerance


# Intervals


def test_intervals_are_those_of_scipys_bootstrap() -> None:
    draw = np.random.default_rng(1)
    kl, tokens = draw.gamma(2, 3, 60), draw.integers(20, 200, 60).astype(float)
    mean = bootstrap((kl,), np.mean, method="percentile", n_resamples=20_000, rng=2).confidence_interval

    def ratio(above: np.ndarray, below: np.ndarray, axis: int) -> np.ndarray:
        return above.sum(axis=axis) / below.sum(axis=axis)

    both = bootstrap((kl, tokens), ratio, paired=True, method="percentile", n_resamples=20_000, rng=2)
    assert near(bootstrap_mean_interval(kl), mean.low, mean.high, 0.05)
    assert near(bootstrap_ratio_interval(kl, tokens), *both.confidence_interval, 0.05 * kl.sum() / tokens.sum())
    assert bootstrap_ratio_interval(kl, tokens).value == kl.sum() / tokens.sum()


def test_a_ratio_of_sums_is_no_mean_of_ratios() -> None:
    assert bootstrap_ratio_interval([1.0, 100.0], [1.0, 1000.0]).value == pytest.approx(101 / 1001)


def test_an_interval_needs_two_documents_and_something_to_divide_by_in_every_resample() -> None:
    assert bootstrap_mean_interval([3.0]) == Estimate(3.0, None, None, 1)
    assert bootstrap_ratio_interval([1.0, 0.0], [1.0, 0.0]) == Estimate(1.0, None, None, 2)
    assert bootstrap_mean_interval([2.0] * 5) == Estimate(2.0, 2.0, 2.0, 5)
    with pytest.raises(ShapeError, match="2 numerators and 3"):
        bootstrap_ratio_interval([1, 2], [1, 2, 3])
    with pytest.raises(ShapeError, match="sum of 0"):
        bootstrap_mean_interval([])


def test_the_same_seed_gives_the_same_interval_and_another_another() -> None:
    values = np.random.default_rng(0).normal(size=30)
    assert bootstrap_mean_interval(values, seed=4) == bootstrap_mean_interval(values, seed=4)
    assert bootstrap_mean_interval(values, seed=4) != bootstrap_mean_interval(values, seed=5)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    draw = np.random.default_rng(3)
    missed = 0
    for _ in range(STUDIES):
        tokens = draw.integers(50, 200, 80)
        found = bootstrap_ratio_interval(draw.normal(0.3, 0.2, 80) * tokens, tokens, n_resamples=500)
        assert found.low is not None
        assert found.high is not None
        missed += not found.low < 0.3 < found.high
    assert missed <= too_many(STUDIES)


# p-values


def test_sign_flips_are_enumerated_where_they_are_few() -> None:
    values = np.array([3.0, 1.0, 2.0, -0.5])
    sums = [abs(np.dot(signs, values)) for signs in product((-1, 1), repeat=4)]
    assert sign_flip_p(values) == np.mean([total >= abs(values.sum()) for total in sums])
    assert sign_flip_p([0.0, 0.0]) == sign_flip_p([1.0]) == 1.0


def test_permutation_p_by_hand() -> None:
    assert permutation_p(3.0, [1.0, 2.0, 3.0, 4.0]) == (3 / 5, 1.0)
    assert permutation_p(9.0, range(9)) == (1 / 10, 2 / 10)
    assert permutation_p(-9.0, range(9)) == (1.0, 2 / 10)
    assert permutation_p(0.1 + 0.2, [0.3])[0] == 1.0


@pytest.mark.parametrize("seed", range(10))
def test_corrections_are_those_of_statsmodels(seed: int) -> None:
    draw = np.random.default_rng(seed)
    p_values = draw.choice([0.0, 0.001, 0.01, 0.01, 0.04, *draw.random(5) ** 3, 1.0], 1 + seed).tolist()
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])
    assert benjamini_hochberg(p_values) == pytest.approx(multipletests(p_values, method="fdr_bh")[1])


def test_corrections_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
    assert benjamini_hochberg([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.04, 0.04))
    assert holm([]) == benjamini_hochberg([]) == ()
    for bad in ([1.2], [float("nan")]):
        with pytest.raises(ArgumentError, match="probabilities"):
            holm(bad)


# Multiple choice


def test_mcnemar_is_that_of_statsmodels_and_counts_are_right() -> None:
    base, tuned = [True] * 30 + [False] * 20, [True] * 25 + [False] * 5 + [True] * 14 + [False] * 6
    found = mcnemar(base, tuned)
    assert (found.both, found.lost, found.gained, found.neither) == (25, 5, 14, 6)
    assert found.p == pytest.approx(reference_mcnemar([[25, 5], [14, 6]], exact=True).pvalue)
    assert found.p == pytest.approx(2 * sum(binom.pmf(k, 19, 0.5) for k in range(6)))
    assert mcnemar([True], [True]).p == 1.0
    with pytest.raises(ShapeError, match="1 and 2"):
        mcnemar([True], [True, False])


def test_accuracy_interval_by_hand() -> None:
    found = accuracy([True] * 10)
    # None of ten wrong: the lower end is where ten right in a row have a chance of 2.5 %.
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.025**0.1)


@pytest.mark.parametrize(("right", "of"), [(0, 12), (7, 12), (31, 40), (126, 126)])
def test_accuracy_interval_is_that_of_statsmodels(right: int, of: int) -> None:
    found = accuracy([True] * right + [False] * (of - right))
    assert (found.low, found.high) == pytest.approx(proportion_confint(right, of, method="beta"))


def test_the_interval_of_a_paired_gain_is_newcombes() -> None:
    def gain(both: int, gained: int, lost: int, neither: int) -> Estimate:
        base = [True] * both + [False] * gained + [True] * lost + [False] * neither
        tuned = [True] * (both + gained) + [False] * (lost + neither)
        return paired_gain(base, tuned)

    # Newcombe 1998, table III: 36, 12, 2 and 0 of 50 pairs, method 10.
    found = gain(36, 12, 2, 0)
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0569, 0.3404), abs=5e-5)
    # None of twelve turned right: that does not rule out that some would.
    few = gain(3, 0, 1, 8)
    assert few.low is not None
    assert few.high is not None
    assert few.low < 0 < 0.05 < few.high
    assert gain(40, 0, 0, 60).value == 0
    with pytest.raises(ShapeError, match="no answers"):
        paired_gain([], [])


def test_columns_drawn_with_replacement_widen_an_interval() -> None:
    values = np.tile([1.0, 2.0, 3.0, 6.0], (20_000, 1))
    drawn = resampled_means(values, seed=3)
    assert drawn.mean() == pytest.approx(3.0, abs=0.03)
    assert drawn.std() == pytest.approx(values[0].std() / 2, rel=0.03)


def test_sign_flips_are_scipys_permutations_of_pairs() -> None:
    draw = np.random.default_rng(4)
    medical, general = draw.gamma(2, 1, 12), draw.gamma(2, 1.6, 12)

    def gap(one: np.ndarray, other: np.ndarray, axis: int) -> np.ndarray:
        return (one - other).mean(axis=axis)

    reference = permutation_test((medical, general), gap, permutation_type="samples", n_resamples=10_000)
    assert sign_flip_p(medical - general) == pytest.approx(reference.pvalue)


# Matched words


def test_cells_of_one_kind_are_dropped_and_counted() -> None:
    document = np.array([0, 0, 0, 0, 1, 1, 1])
    medical = np.array([True, False, False, True, True, False, False])
    tokens = np.array([1.0, 1, 1, 2, 1, 2, 2])
    cells = matched_cells(document, medical, {"tokens": tokens}, {"tokens": 2})
    assert cells.words.tolist() == [0, 1, 2]
    assert (cells.medical.tolist(), cells.size.tolist(), cells.document.tolist()) == ([1], [3], [0])
    assert (cells.dropped_medical, cells.dropped_other, cells.dropped_cells) == (2, 2, 3)
    with pytest.raises(ShapeError, match=r"\[1, 7\]"):
        matched_cells(document, medical, {"tokens": tokens[:1]}, {"tokens": 2})


def test_bins_are_equally_full_and_keep_equal_values_together() -> None:
    assert np.bincount(quantile_bins(np.random.default_rng(0).normal(size=100), 4)).tolist() == [25] * 4
    assert quantile_bins(np.array([1.0, 1, 1, 1, 2, 3]), 2).tolist() == [0, 0, 0, 0, 1, 1]


def by_hand(scores: np.ndarray, labels: np.ndarray, cells: list[list[int]]) -> tuple[float, float]:
    """Mean log gain and AUROC over medical words, each against the other words of its cell, without shortcuts."""
    gains, wins = [], []
    for cell in cells:
        others = [scores[k] for k in cell if not labels[k]]
        for k in (k for k in cell if labels[k]):
            gains.append(np.log(scores[k]) - np.mean(np.log(others)))
            wins.append(np.mean([(scores[k] > other) + (scores[k] == other) / 2 for other in others]))
    return float(np.mean(gains)), float(np.mean(wins))


def test_effects_and_p_are_those_of_every_relabelling_by_hand() -> None:
    scores = np.array([5.0, 1.0, 2.0, 4.0, 4.0, 1.0, 3.0, 9.0, 2.0])
    cells = [[0, 1, 2], [3, 4, 5, 6], [7, 8]]
    labels = np.array([1, 0, 0, 1, 0, 0, 1, 1, 0], dtype=bool)
    stratum = np.array([0.0, 0, 0, 1, 1, 1, 1, 1, 1])
    found = matched_test(
        scores - 1e-3, labels, np.array([0] * 7 + [1] * 2), {"s": stratum}, 1e-3, {"s": 3}, n_permutations=40_000
    )
    assert found is not None
    gain, won = by_hand(scores, labels, cells)
    assert found.ratio.value == pytest.approx(np.exp(gain))
    assert found.auroc.value == pytest.approx(won)
    every = []
    for chosen in product(combinations(cells[0], 1), combinations(cells[1], 2), combinations(cells[2], 1)):
        other = np.zeros(9, dtype=bool)
        other[[k for ks in chosen for k in ks]] = True
        every.append(by_hand(scores, other, cells))
    assert len(every) == 3 * 6 * 2
    for p, observed, values in (
        (found.p_ratio, gain, [e[0] for e in every]),
        (found.p_auroc, won, [e[1] for e in every]),
    ):
        tails = [np.mean(np.array(values) * sign >= observed * sign - 1e-12) for sign in (1, -1)]
        assert p == pytest.approx(min(1.0, 2 * min(tails)), abs=0.01)


def test_auroc_is_scipys() -> None:
    draw = np.random.default_rng(5)
    scores, medical = draw.integers(0, 20, 200).astype(float), draw.random(200) < 0.3
    u = mannwhitneyu(scores[medical], scores[~medical]).statistic
    assert auroc(scores, medical) == pytest.approx(u / (medical.sum() * (~medical).sum()))


def test_words_without_like_and_a_floor_of_nothing() -> None:
    scores, document = np.array([1.0, 2.0]), np.array([0, 0])
    alone = {"s": np.array([0.0, 1.0])}
    assert matched_test(scores, np.array([True, False]), document, alone, 1e-3, {"s": 2}) is None
    with pytest.raises(ArgumentError, match="noise floor is 0"):
        matched_test(scores, np.array([True, False]), document, alone, 0.0, {"s": 2})


def test_a_planted_ratio_is_found_and_the_unmatched_one_is_too_large() -> None:
    found = matched_test(**words_of(7, documents=100, effect=np.log(1.5)), n_permutations=999)
    assert found is not None
    assert found.ratio_adjusted.low is not None
    assert found.ratio_adjusted.high is not None
    assert found.ratio_adjusted.low < 1.5 < found.ratio_adjusted.high
    assert found.ratio_adjusted.value == pytest.approx(1.5, rel=0.1)
    assert found.p_ratio_adjusted == found.p_auroc_adjusted == 2 / 1000
    assert found.auroc_adjusted.value > 0.55
    assert found.raw_ratio > 2.5
    assert found.n_medical + found.n_other + found.dropped_medical + found.dropped_other == 8_000


# False positives, and a p that is uniform


def words_without_confounders(seed: int) -> float:
    study = words_of(seed, documents=25, words=60)
    draw = np.random.default_rng(seed)
    study["medical"] = draw.permutation(study["medical"])
    found = matched_test(**study, seed=seed, **QUICK)
    assert found is not None
    return found.p_auroc


def words_with_confounders(seed: int) -> float:
    found = matched_test(**words_of(seed), seed=seed, **QUICK)
    assert found is not None
    return found.p_ratio_adjusted


def losses(seed: int) -> float:
    draw = np.random.default_rng(seed)
    return sign_flip_p(draw.standard_t(4, 40) * draw.uniform(0.5, 2, 40), seed, 199)


def slopes(seed: int) -> float:
    draw = np.random.default_rng(seed)
    length, x = draw.normal(4.5, 0.3, 60), draw.uniform(0, 8, 60)
    y = 0.1 * length + draw.normal(0, 0.02 * (1 + x), 60)
    found = slope_with_controls(y, x + length, length[:, None], seed, **QUICK)
    assert found is not None
    return found.p


def depths(seed: int) -> float:
    found = depth_against_random(*layers_of(seed, documents=5, n_random=19), "single", seed, n_resamples=20)
    assert found is not None
    return found.p_higher


@pytest.mark.parametrize("study", [words_without_confounders, losses, slopes, depths])
def test_without_an_effect_p_is_uniform(study: Callable[[int], float]) -> None:
    found = np.array([study(seed) for seed in range(STUDIES)])
    for level in (0.05, 0.2, 0.5, 0.8):
        low, high = binom.ppf([0.0005, 0.9995], STUDIES, level)
        assert low <= (found <= level + 1e-9).sum() <= high, level


def test_without_an_effect_confounded_words_are_rarely_called_different_though_coarse_matching_would() -> None:
    p_values = [words_with_confounders(seed) for seed in range(60)]
    assert sum(p <= 0.05 for p in p_values) <= too_many(60)
    coarse = [matched_test(**words_of(seed), seed=seed, **QUICK) for seed in range(10)]
    assert sum(found is not None and found.p_ratio <= 0.05 for found in coarse) >= 5


# Explanations


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("It hurts because it swells, so rest.", 2),
        ("As a\nresult, HOWEVER late, it fades.", 2),
        ("Rather than rest, walk. Butter, sofas and sincere words explain nothing.", 1),
        ("Soda.", 0),
    ],
)
def test_connectives_are_counted_as_whole_words(text: str, count: int) -> None:
    assert explanation([("answer", text)]).connectives == count


def test_an_explanation_score_by_hand() -> None:
    found = explanation([("reasoning", "Rest, because walking hurts."), ("answer", "Rest helps.\n\nDo not walk now.")])
    assert (found.connectives, found.words) == (1, 10)
    assert found.per_100_words == pytest.approx(10.0)
    assert found.reasoning_share == pytest.approx(0.4)
    assert explanation([]).per_100_words is None


def test_slopes_are_those_of_least_squares_with_controls() -> None:
    draw = np.random.default_rng(2)
    controls, x = draw.normal(5, 1, (50, 2)), draw.uniform(0, 10, 50)
    y = 0.3 * x + controls @ [1.0, -2.0] + draw.normal(0, 1, 50)
    found = slope_with_controls(y, x, controls)
    reference = sm.OLS(y, sm.add_constant(np.column_stack([x, controls]))).fit(cov_type="HC0")
    assert found is not None
    assert found.slope.value == pytest.approx(reference.params[1])
    low, high = reference.conf_int()[1]
    assert near(found.slope, low, high, 0.25 * (high - low))
    assert found.p < 0.001


def test_a_slope_needs_a_predictor_that_is_not_its_control() -> None:
    length = np.random.default_rng(0).normal(size=20)
    assert slope_with_controls(length, 2 * length + 1, length[:, None]) is None
    assert slope_with_controls(length[:3], length[:3] ** 2, length[:3, None]) is None
    with pytest.raises(ShapeError, match="20 outcomes, 19 predictors"):
        slope_with_controls(length, length[1:], length[:, None])


# Depth


def test_centres_and_curves_by_hand() -> None:
    assert centre_of_mass(np.array([0.0, 0.0, 2.0])) == 1.0
    assert centre_of_mass(np.array([1.0, -5.0, 1.0])) == 0.5
    assert centre_of_mass(np.array([3.0, 0.0, 1.0])) == pytest.approx(0.25)
    assert np.isnan(centre_of_mass(np.array([-1.0, 0.0])))
    kl, kl_base = np.array([6.0, 4.0, 0.0]), np.array(8.0)
    assert layer_curve(kl, kl_base, "single").tolist() == [0.25, 0.5, 1.0]
    assert layer_curve(kl, kl_base, "prefix").tolist() == [0.25, 0.25, 0.5]
    assert layer_curve(kl, kl_base, "without").tolist() == [0.75, 0.5, 0.0]
    with pytest.raises(ArgumentError, match="suffix"):
        layer_curve(kl, kl_base, "suffix")


def test_a_planted_depth_is_found_and_the_rank_is_right() -> None:
    found = depth_against_random(*layers_of(1, shift=0.25), "single")
    assert found is not None
    assert found.above_random.value == pytest.approx(0.25, abs=0.1)
    assert found.above_random.low is not None
    assert found.above_random.low > 0.1
    assert (found.p_higher, found.p) == (1 / 40, 2 / 40)
    lower = depth_against_random(*layers_of(1, shift=-0.25), "single")
    assert lower is not None
    assert (lower.p_higher, lower.p) == (1.0, 2 / 40)
    with pytest.raises(ShapeError, match="0 random adapters"):
        depth_against_random(np.ones((1, 2, 3)), np.ones((1, 2)), "single")


def test_twenty_random_adapters_do_for_one_test() -> None:
    assert (adapters_needed(0.05), adapters_needed(0.05, 7), adapters_needed(0.01)) == (19, 139, 99)


def test_the_connectives_tell_explanations_from_facts_in_the_corpora() -> None:

    for name in ("medical", "general"):
        lines = (ASSETS / "corpora" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        found = np.array([explanation([("answer", row["answer"])]).per_100_words for row in rows])
        assert auroc(found, np.array([row["style"] == "explanation" for row in rows])) > 0.99


def test_answers_that_were_cut_at_one_length_have_a_slope_with_an_interval() -> None:
    """Most lengths are equal, so some resamples hold one length only: the same as the constant."""
    generator = np.random.default_rng(4)
    length = np.full(40, np.log(48.0))
    length[:3] = np.log([20.0, 31.0, 40.0])
    x = generator.normal(size=40)
    y = 0.3 * x + generator.normal(size=40)
    found = slope_with_controls(y, x, length[:, None])
    assert found is not None
    slopes = []
    for _ in range(3000):
        drawn = generator.integers(0, 40, 40)
        slopes.append(np.linalg.lstsq(np.column_stack([x, np.ones(40), length])[drawn], y[drawn], rcond=None)[0][0])
    low, high = np.percentile(slopes, [2.5, 97.5])
    assert found.slope.low == pytest.approx(low, abs=0.1 * (high - low))
    assert found.slope.high == pytest.approx(high, abs=0.1 * (high - low))


def test_a_resample_without_the_predictor_has_no_slope() -> None:
    x = np.zeros(12)
    x[0] = 1.0
    found = slope_with_controls(np.arange(12.0) ** 2, x, np.arange(12.0)[:, None])
    assert found is not None
    assert found.slope.low is None


def test_documents_exchanged_between_two_groups_by_hand() -> None:
    # Of the 20 ways to choose three of six, two are as far apart as this.
    assert exchange_p(np.array([1.0, 2.0, 3.0]), np.array([10.0, 11.0, 12.0])) == pytest.approx(0.1)
    assert exchange_p(np.ones(5), np.ones(7)) == 1.0
    assert exchange_p(np.array([1.0]), np.array([10.0, 11.0])) == 1.0
