import math
from collections.abc import Callable

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax as reference_log_softmax
from scipy.special import rel_entr
from torch import Tensor
from torch.distributions import Categorical
from torch.distributions import kl_divergence as reference_kl

from core.errors import ShapeError
from core.measure.divergence import (
    entropy,
    js_distance,
    js_divergence,
    kl_divergence,
    kl_terms_from_log,
    kl_word_terms,
    log_softmax,
    rank_of,
    total_variation,
)

LN2 = math.log(2)
INF = math.inf
HALVES, NINE_TO_ONE = (0.5, 0.5), (0.9, 0.1)
FLAGSHIP_VOCAB = 151_936

Divergence = Callable[[Tensor, Tensor], Tensor]


def logits(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def of(probabilities: tuple[float, ...]) -> Tensor:
    """Logits of given probabilities, shifted so that they are not log-probabilities already."""
    return logits(*(math.log(p) + 3 if p else -INF for p in probabilities))


def value(divergence: Divergence, p: tuple[float, ...], q: tuple[float, ...]) -> float:
    return divergence(of(p), of(q)).item()


_ordinary = st.floats(-60, 60)
_extreme = st.sampled_from([-1e4, 1e4, -60.0, 0.0, 60.0])


_any_size = st.one_of(_ordinary, _ordinary, _extreme)


@st.composite
def _rows(draw: st.DrawFn, count: int = 2, values: st.SearchStrategy[float] = _any_size) -> list[Tensor]:
    """Logit vectors over one vocabulary."""
    size = draw(st.integers(1, 12))
    return [logits(*draw(st.lists(values, min_size=size, max_size=size))) for _ in range(count)]


pairs_of_logits = _rows()
without_deadline = settings(deadline=None)


class TestByHand:
    @pytest.mark.parametrize(
        ("p", "q", "expected"),
        [
            (HALVES, NINE_TO_ONE, math.log(5 / 3)),
            (NINE_TO_ONE, HALVES, 0.9 * math.log(1.8) + 0.1 * math.log(0.2)),
            ((1.0, 0.0), HALVES, LN2),
            (HALVES, (1.0, 0.0), INF),
            ((0.25, 0.75), (0.75, 0.25), 0.5 * math.log(3)),
            ((0.5, 0.5, 0.0), (0.75, 0.25, 0.0), 0.5 * math.log(4 / 3)),
        ],
    )
    def test_kl_puts_p_first(self, p: tuple[float, ...], q: tuple[float, ...], expected: float) -> None:
        assert value(kl_divergence, p, q) == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize(
        ("p", "q", "expected"),
        [
            # M = (0.7, 0.3)
            (
                HALVES,
                NINE_TO_ONE,
                0.25 * (math.log(5 / 7) + math.log(5 / 3)) + 0.45 * math.log(9 / 7) + 0.05 * math.log(1 / 3),
            ),
            ((1.0, 0.0), (0.0, 1.0), LN2),
            # M = (3/4, 1/4): half of ln(4/3), and half of (ln(2/3) + ln 2) / 2
            ((1.0, 0.0), HALVES, 0.5 * math.log(4 / 3) + 0.25 * math.log(4 / 3)),
        ],
    )
    def test_jensen_shannon(self, p: tuple[float, ...], q: tuple[float, ...], expected: float) -> None:
        assert value(js_divergence, p, q) == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize(
        ("p", "q", "expected"),
        [(HALVES, NINE_TO_ONE, 0.4), ((1.0, 0.0), (0.0, 1.0), 1.0), ((0.2, 0.3, 0.5), (0.5, 0.3, 0.2), 0.3)],
    )
    def test_total_variation(self, p: tuple[float, ...], q: tuple[float, ...], expected: float) -> None:
        assert value(total_variation, p, q) == pytest.approx(expected, rel=1e-12)

    def test_word_terms_are_gained_where_p_is_larger(self) -> None:
        terms = kl_word_terms(of(HALVES), of(NINE_TO_ONE))
        expected = logits(0.5 * math.log(5 / 9), 0.5 * math.log(5))
        torch.testing.assert_close(terms, expected, rtol=1e-12, atol=0)

    def test_a_word_that_p_never_says_has_no_term(self) -> None:
        assert kl_word_terms(of((1.0, 0.0)), of(HALVES)).tolist() == pytest.approx([LN2, 0.0])

    @pytest.mark.parametrize(("js_nats", "expected"), [(0.0, 0.0), (LN2 / 4, 0.5), (LN2, 1.0), (LN2 * 1.001, 1.0)])
    def test_js_distance_is_the_root_of_bits(self, js_nats: float, expected: float) -> None:
        assert js_distance(logits(js_nats)).item() == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("n", [1, 2, 7, 49_152])
    def test_entropy_of_uniform_is_ln_n(self, n: int) -> None:
        assert entropy(torch.full((n,), 3.5)).item() == pytest.approx(math.log(n), rel=1e-12)

    def test_entropy(self) -> None:
        expected = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
        assert entropy(of(NINE_TO_ONE)).item() == pytest.approx(expected, rel=1e-12)
        assert entropy(of((1.0, 0.0))).item() == 0

    def test_tied_tokens_share_the_better_rank(self) -> None:
        row = torch.tensor([3.0, 3.0, 1.0, 5.0])
        assert rank_of(row.expand(4, 4), torch.arange(4)).tolist() == [2, 2, 4, 1]


class TestExtremes:
    @pytest.mark.parametrize(
        ("p", "q", "expected"),
        [
            ((1e4, -1e4), (-1e4, 1e4), 2e4),
            ((0, -1e4), (0, 0), LN2),
            ((0, 0), (0, -1e4), 5000 - LN2),
            ((1e4, 1e4), (-1e4, -1e4), 0),
            ((0, -INF), (0, -1e4), 0),
        ],
    )
    def test_large_gaps(self, p: tuple[float, ...], q: tuple[float, ...], expected: float) -> None:
        assert kl_divergence(logits(*p), logits(*q)).item() == pytest.approx(expected, rel=1e-12)

    def test_impossible_words_give_no_nan(self) -> None:
        p, q = logits(0, 1, -INF, -INF), logits(0, -INF, 1, -INF)
        assert kl_divergence(p, q).item() == INF
        assert 0 < js_divergence(p, q).item() < LN2
        assert 0 < total_variation(p, q).item() < 1
        assert not kl_word_terms(p, q).isnan().any()
        assert entropy(p).isfinite()
        assert kl_divergence(p, p).item() == 0

    def test_disjoint_distributions_are_as_far_apart_as_can_be(self) -> None:
        p, q = logits(0, 0, -INF, -INF), logits(-INF, -INF, 2, 5)
        assert js_divergence(p, q).item() == pytest.approx(LN2, rel=1e-14)
        assert js_distance(js_divergence(p, q)).item() == pytest.approx(1, rel=1e-14)
        assert total_variation(p, q).item() == pytest.approx(1, rel=1e-14)

    def test_kl_is_not_negative_where_a_probability_is_subnormal(self) -> None:
        assert kl_divergence(logits(0, -745.03), logits(0, -743.5299)).item() >= 0


class TestProperties:
    @given(pairs_of_logits)
    @without_deadline
    def test_kl_is_finite_and_not_negative(self, rows: list[Tensor]) -> None:
        kl = kl_divergence(*rows)
        assert kl.isfinite()
        assert kl >= 0

    @given(_rows(1))
    @without_deadline
    def test_nothing_differs_from_itself(self, rows: list[Tensor]) -> None:
        (p,) = rows
        assert kl_divergence(p, p.clone()).item() == 0
        assert total_variation(p, p.clone()).item() == 0
        assert js_divergence(p, p.clone()).item() == pytest.approx(0, abs=1e-30)

    @given(_rows(values=_ordinary))
    @without_deadline
    def test_kl_agrees_with_torch(self, rows: list[Tensor]) -> None:
        p, q = rows
        expected = reference_kl(Categorical(logits=p), Categorical(logits=q))
        torch.testing.assert_close(kl_divergence(p, q), expected, rtol=1e-9, atol=1e-12)

    @given(n=st.integers(2, 12), gap=st.floats(10, 1e4), place=st.integers(0, 11))
    @without_deadline
    def test_kl_has_a_direction(self, n: int, gap: float, place: int) -> None:
        undecided = torch.zeros(n, dtype=torch.float64)
        decided = torch.where(torch.arange(n) == place % n, gap, undecided)
        assert kl_divergence(decided, undecided) <= math.log(n) + 1e-12 < kl_divergence(undecided, decided)

    @given(pairs_of_logits)
    @without_deadline
    def test_js_and_tv_have_no_direction(self, rows: list[Tensor]) -> None:
        p, q = rows
        torch.testing.assert_close(js_divergence(p, q), js_divergence(q, p), rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(total_variation(p, q), total_variation(q, p), rtol=0, atol=0)

    @given(pairs_of_logits)
    @without_deadline
    def test_bounds(self, rows: list[Tensor]) -> None:
        kl, js, tv = (f(*rows).item() for f in (kl_divergence, js_divergence, total_variation))
        distance = js_distance(js_divergence(*rows)).item()
        assert 0 <= js <= LN2 + 1e-12
        assert 0 <= distance <= 1
        assert 0 <= tv <= 1 + 1e-12
        assert 2 * tv**2 <= kl + 1e-12, "Pinsker's inequality"
        assert tv**2 / 2 <= js + 1e-12, "Pinsker's inequality against the mean"
        assert distance <= math.sqrt(tv) + 1e-7, "Lin 1991, theorem 3"

    @given(_rows(3))
    @without_deadline
    def test_js_distance_obeys_the_triangle(self, rows: list[Tensor]) -> None:
        p, q, r = rows
        pq, qr, pr = (js_distance(js_divergence(a, b)).item() for a, b in ((p, q), (q, r), (p, r)))
        assert pr <= pq + qr + 1e-7

    @given(pairs_of_logits)
    @without_deadline
    def test_word_terms_sum_to_the_kl(self, rows: list[Tensor]) -> None:
        torch.testing.assert_close(kl_word_terms(*rows).sum(), kl_divergence(*rows), rtol=1e-9, atol=1e-12)

    @given(pairs_of_logits)
    @without_deadline
    def test_no_term_of_the_sum_is_negative(self, rows: list[Tensor]) -> None:
        assert (kl_terms_from_log(*(log_softmax(row) for row in rows)) >= 0).all()

    @given(_rows(1))
    @without_deadline
    def test_entropy_lies_between_certainty_and_uniform(self, rows: list[Tensor]) -> None:
        assert 0 <= entropy(rows[0]).item() <= math.log(len(rows[0])) + 1e-12


def _exact_kl(p: list[float], q: list[float]) -> mpmath.mpf:
    """Σ p ln(p/q) with fifty digits."""
    with mpmath.workdps(50):
        p_exp, q_exp = [mpmath.exp(z) for z in p], [mpmath.exp(z) for z in q]
        p_sum, q_sum = mpmath.fsum(p_exp), mpmath.fsum(q_exp)
        return mpmath.fsum(a / p_sum * mpmath.log(a / p_sum / (b / q_sum)) for a, b in zip(p_exp, q_exp, strict=True))


class TestPrecision:
    @pytest.mark.parametrize("size", [1e-1, 1e-3, 4.5e-5, 1e-6])
    def test_small_kl_keeps_its_digits(self, size: float) -> None:
        generator = torch.Generator().manual_seed(3)
        p = torch.randn(200, generator=generator, dtype=torch.float64) * 3
        q = p + size * torch.randn(200, generator=generator, dtype=torch.float64)
        exact = _exact_kl(p.tolist(), q.tolist())
        assert 0.01 * size**2 < exact < size**2
        assert kl_divergence(p, q).item() == pytest.approx(float(exact), rel=1e-8, abs=0)

    @pytest.mark.parametrize("d", [1e-9, 1.3e-8, 1e-6, 9.99e-4, 1.001e-3, 0.5, 0.999, 1.001, 3.0, 30.0])
    @pytest.mark.parametrize("sign", [-1, 1])
    def test_each_term_is_exact_on_both_sides_of_its_cases(self, d: float, sign: int) -> None:
        log_p = -35.0
        log_q = log_p + sign * d
        with mpmath.workdps(50):
            gap = mpmath.mpf(log_q) - mpmath.mpf(log_p)
            exact = mpmath.exp(log_p) * (mpmath.exp(gap) - 1 - gap)
        assert kl_terms_from_log(logits(log_p), logits(log_q)).item() == pytest.approx(float(exact), rel=1e-9, abs=0)

    @pytest.mark.parametrize("change", [0.015, 1.0])
    def test_float32_logits_of_a_large_vocabulary(self, change: float) -> None:
        generator = torch.Generator().manual_seed(1)
        p = torch.randn(2, FLAGSHIP_VOCAB, generator=generator) * 4
        q = p + change * torch.randn(2, FLAGSHIP_VOCAB, generator=generator)
        log_p, log_q = (reference_log_softmax(z.numpy().astype(np.float64), axis=-1) for z in (p, q))
        mean = (np.exp(log_p) + np.exp(log_q)) / 2
        kl = rel_entr(np.exp(log_p), np.exp(log_q)).sum(-1)
        js = (rel_entr(np.exp(log_p), mean) + rel_entr(np.exp(log_q), mean)).sum(-1) / 2
        tv = np.abs(np.exp(log_p) - np.exp(log_q)).sum(-1) / 2
        for found, expected in ((kl_divergence, kl), (js_divergence, js), (total_variation, tv)):
            np.testing.assert_allclose(found(p, q).numpy(), expected, rtol=0, atol=1e-6)
        assert (kl_divergence(p, q) > 1e-5).all()

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
    def test_results_are_float64_whatever_comes_in(self, dtype: torch.dtype) -> None:
        p, q = torch.randn(2, 3, 5).to(dtype), torch.randn(2, 3, 5).to(dtype)
        for divergence in (kl_divergence, js_divergence, total_variation):
            found = divergence(p, q)
            assert (found.shape, found.dtype) == ((2, 3), torch.float64)
            torch.testing.assert_close(found, divergence(p.double(), q.double()), rtol=0, atol=0)


@pytest.mark.parametrize("divergence", [kl_divergence, kl_word_terms, js_divergence, total_variation])
@pytest.mark.parametrize("shapes", [((2, 3), (2, 4)), ((1, 3), (2, 3)), ((3,), (2, 3))])
def test_shapes_that_differ_are_both_named(divergence: Divergence, shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ShapeError) as caught:
        divergence(torch.zeros(shapes[0]), torch.zeros(shapes[1]))
    assert str(shapes[0]) in caught.value.message
    assert str(shapes[1]) in caught.value.message
