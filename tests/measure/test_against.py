"""KL from one P to many rows against the float64 function of the same logits."""

import pytest
import torch

from core.errors import ShapeError
from core.measure.against import kl_to_rows_
from core.measure.divergence import kl_divergence

D_VOCAB = 49_152


@pytest.mark.parametrize("size", [1e-4, 1e-2, 0.3, 3.0])
@pytest.mark.parametrize("shift", [0.0, 5.0])
def test_it_is_kl_divergence_to_a_millionth(size: float, shift: float) -> None:
    """A shift of all logits changes no distribution, so it must not show."""
    torch.manual_seed(3)
    p = 4 * torch.randn(2, D_VOCAB)
    q = p.unsqueeze(1) + size * torch.randn(2, 40, D_VOCAB) + shift
    expected = kl_divergence(p.unsqueeze(1).expand_as(q), q)
    found = kl_to_rows_(p, q.clone())
    assert (found - expected).abs().max() <= 1e-6
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-10)


def test_p_comes_first() -> None:
    p, q = torch.tensor([[0.0, 0.0]]), torch.tensor([[[0.0, -2.0]]])
    there = float(kl_to_rows_(p, q.clone()))
    back = float(kl_to_rows_(q[0], p.unsqueeze(0).clone()))
    assert there == pytest.approx(float(kl_divergence(p[0], q[0, 0])), abs=1e-7)
    assert abs(there - back) > 0.05


def test_the_same_logits_are_at_no_distance_and_none_is_negative() -> None:
    torch.manual_seed(4)
    p = 10 * torch.randn(3, 5000)
    assert not kl_to_rows_(p, p.unsqueeze(1).repeat(1, 4, 1)).any()
    q = p.unsqueeze(1) + 1e-6 * torch.randn(3, 4, 5000)
    assert (kl_to_rows_(p, q) >= 0).all()


def test_what_float32_cannot_hold_is_still_right() -> None:
    """A word that P all but excludes and Q is sure of."""
    p, q = torch.tensor([[0.0, -120.0, 1.0]]), torch.tensor([[[0.0, 40.0, 1.0]]])
    expected = kl_divergence(p, q[:, 0])
    assert float(kl_to_rows_(p, q)) == pytest.approx(float(expected), rel=1e-6)


def test_shapes_must_agree() -> None:
    with pytest.raises(ShapeError, match=r"\(2, 5\).*\(3, 1, 5\)"):
        kl_to_rows_(torch.zeros(2, 5), torch.zeros(3, 1, 5))
