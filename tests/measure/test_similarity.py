"""Linear CKA from sums: against the definition with whole matrices, its invariances, and no bias."""

import pytest
import torch
from torch import Tensor

from core.errors import ShapeError
from core.measure.similarity import CrossProducts


def states(n: int, width: int, seed: int) -> Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 1.5


def summed(x: Tensor, y: Tensor, at_once: int = 7) -> CrossProducts:
    products = CrossProducts(x.shape[1], y.shape[1])
    for a, b in zip(torch.split(x, at_once), torch.split(y, at_once), strict=True):
        products.add(a, b)
    return products


def gram_cka(x: Tensor, y: Tensor) -> float:
    """By centred Gram matrices, as Kornblith et al. define it."""
    n = len(x)
    centre = torch.eye(n, dtype=torch.float64) - 1 / n
    k, m = centre @ x @ x.T @ centre, centre @ y @ y.T @ centre
    return float((k * m).sum() / (k.norm() * m.norm()))


def gram_unbiased(x: Tensor, y: Tensor) -> float:
    """By Gram matrices without diagonals, as Song et al. write it."""

    def hsic(k: Tensor, m: Tensor) -> Tensor:
        n, one = len(k), torch.ones(len(k), dtype=torch.float64)
        k, m = k - k.diag().diag(), m - m.diag().diag()
        middle = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
        return ((k @ m).trace() + middle - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))

    k, m = x @ x.T, y @ y.T
    return float(hsic(k, m) / (hsic(k, k) * hsic(m, m)).sqrt())


@pytest.mark.parametrize(("n", "width"), [(5, 9), (40, 6)])
def test_sums_give_what_whole_matrices_give(n: int, width: int) -> None:
    x = states(n, width, 1)
    y = x @ torch.randn(width, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64) + states(n, 4, 2)
    found = summed(x, y)
    assert found.n == n
    assert found.cka() == pytest.approx(gram_cka(x, y), rel=1e-9)
    assert found.cka_unbiased() == pytest.approx(gram_unbiased(x, y), rel=1e-7)


def test_rotation_scale_and_shift_change_nothing() -> None:
    x = states(30, 5, 1)
    turned = 3 * x @ torch.linalg.qr(states(5, 5, 4))[0] + 7
    found = summed(x, turned)
    assert found.cka() == pytest.approx(1)
    assert found.cka_unbiased() == pytest.approx(1)


def test_a_change_of_one_direction_lowers_it() -> None:
    x = states(30, 5, 1)
    y = x.clone()
    y[:, 0] *= 6
    assert 0 < (summed(x, y).cka() or 0) < 0.9


def test_unrelated_states_look_alike_only_to_the_biased_estimate() -> None:
    x, y = states(20, 200, 1), states(20, 200, 2)
    found = summed(x, y)
    assert (found.cka() or 0) > 0.8
    assert abs(found.cka_unbiased() or 1) < 0.2


def test_too_few_or_constant_states_have_none() -> None:
    assert summed(states(1, 3, 1), states(1, 3, 2)).cka() is None
    assert summed(states(3, 3, 1), states(3, 3, 2)).cka_unbiased() is None
    assert summed(torch.ones(6, 3), states(6, 3, 2)).cka() is None


def test_widths_must_fit() -> None:
    with pytest.raises(ShapeError, match="Widths"):
        CrossProducts(3, 3).add(torch.ones(2, 3), torch.ones(2, 4))


def test_a_common_offset_a_million_times_the_differences_does_not_blur_it() -> None:
    x, y = states(30, 5, 1), states(30, 5, 2)
    far = summed(x + 1e6, y + 1e6)
    assert far.cka() == pytest.approx(summed(x, y).cka(), rel=1e-6)
    assert far.cka_unbiased() == pytest.approx(summed(x, y).cka_unbiased() or 0, rel=1e-6)
