"""The quick numbers against the float64 ones."""

import math

import pytest
import torch

from core.measure import divergence
from core.measure.distributions import Distributions, Room, compare, kl

D_VOCAB = 5000


def pairs(scale: float, spread: float = 4.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    p = torch.randn(4, D_VOCAB, generator=generator) * spread
    return p, p + torch.randn(4, D_VOCAB, generator=generator) * scale


def prepared(p: torch.Tensor, q: torch.Tensor) -> tuple[Distributions, Distributions, Room]:
    room = Room()
    return Distributions.of(p, room, "p"), Distributions.of(q, room, "q"), room


@pytest.mark.parametrize("scale", [1e-5, 1e-3, 0.1, 1.0, 5.0])
def test_they_are_the_numbers_of_the_divergences(scale: float) -> None:
    p, q = pairs(scale)
    first, second, room = prepared(p, q)
    found = compare(first, second, room)
    expected = {
        "kl_pq": divergence.kl_divergence(p, q),
        "kl_qp": divergence.kl_divergence(q, p),
        "js": divergence.js_divergence(p, q),
        "tv": divergence.total_variation(p, q),
    }
    for name, numbers in expected.items():
        assert getattr(found, name).dtype == torch.float64
        torch.testing.assert_close(getattr(found, name), numbers, rtol=1e-2, atol=1e-7, msg=name)
        assert float((getattr(found, name) - numbers).abs().max()) < 1e-6, name
    torch.testing.assert_close(kl(first, second, room), expected["kl_pq"], rtol=0, atol=1e-6)
    torch.testing.assert_close(first.entropy(room), divergence.entropy(p), rtol=0, atol=1e-6)


def test_small_divergences_keep_their_digits() -> None:
    """KL of 1e-9 is a number of its own, not a rounding error."""
    p, q = pairs(1e-4, spread=2.0)
    found = compare(*prepared(p, q))
    exact = divergence.kl_divergence(p, q)
    assert float(exact.max()) < 1e-8
    torch.testing.assert_close(found.kl_pq, exact, rtol=1e-2, atol=0)
    torch.testing.assert_close(found.js, divergence.js_divergence(p, q), rtol=1e-2, atol=0)


def test_by_hand() -> None:
    """P = (½, ½, 0…), Q = (¼, ¾, 0…), to the weight that the other words have."""
    p, q = torch.full((1, 300), -40.0), torch.full((1, 300), -40.0)
    p[0, :2], q[0, :2] = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.25, 0.75]).log()
    found = compare(*prepared(p, q))
    assert float(found.kl_pq) == pytest.approx(0.5 * math.log(4 / 3), abs=1e-7)
    assert float(found.kl_qp) == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5), abs=1e-7)
    assert float(found.kl_pq) != pytest.approx(float(found.kl_qp), abs=1e-3)
    assert float(found.tv) == pytest.approx(0.25, abs=1e-7)
    assert float(found.js) == pytest.approx(
        (0.5 * math.log(0.5 / 0.375) + 0.5 * math.log(0.5 / 0.625)) / 2
        + (0.25 * math.log(0.25 / 0.375) + 0.75 * math.log(0.75 / 0.625)) / 2,
        abs=1e-7,
    )


@pytest.mark.parametrize("apart", [30.0, 70.0, 200.0])
def test_distributions_that_share_nothing(apart: float) -> None:
    """Beyond what e^x holds in float32, the float64 functions take over."""
    p = torch.zeros(2, 400)
    q = p.clone()
    p[:, 3], q[:, 5] = apart, apart
    found = compare(*prepared(p, q))
    assert found.kl_pq.tolist() == pytest.approx(divergence.kl_divergence(p, q).tolist(), abs=1e-5)
    assert found.js.tolist() == pytest.approx([math.log(2)] * 2, abs=1e-6)
    assert found.tv.tolist() == pytest.approx([1.0] * 2, abs=1e-6)


def test_nothing_is_negative_and_the_same_differs_nowhere() -> None:
    p, _ = pairs(1.0)
    found = compare(*prepared(p, p.clone()))
    for numbers in (found.kl_pq, found.kl_qp, found.js, found.tv):
        assert (numbers == 0).all()
    nearly = compare(*prepared(p, p + 1e-7))
    for numbers in (nearly.kl_pq, nearly.kl_qp, nearly.js, nearly.tv):
        assert (numbers >= 0).all()


@pytest.mark.parametrize("d_vocab", [60, 2559, 2560, 5003])
def test_first_choices_and_ranks_are_those_of_the_whole_vocabulary(d_vocab: int) -> None:
    generator = torch.Generator().manual_seed(d_vocab)
    logits = torch.randn(6, d_vocab, generator=generator)
    logits[0, -1], logits[1, 0] = 9.0, 9.0
    logits[2, :20] += 8  # the best ones beside each other
    found = Distributions.of(logits, Room(), "p")
    best = found.best(10)
    assert torch.equal(best, logits.topk(10).indices)
    torch.testing.assert_close(found.log_prob(best), divergence.log_softmax(logits).topk(10).values, rtol=0, atol=1e-6)
    for ids in (best[:, 0], best[:, 9], logits.argmin(dim=-1)):
        assert torch.equal(found.rank_of(ids, best), divergence.rank_of(logits, ids))


def test_equal_logits_share_the_better_rank() -> None:
    logits = torch.zeros(1, 4000)
    found = Distributions.of(logits, Room(), "p")
    assert found.rank_of(torch.tensor([7]), found.best(10)).tolist() == [1]
