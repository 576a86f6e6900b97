"""Linear CKA from products gathered text by text, against all states at once."""

import pytest
import torch
from torch import Tensor

from core.errors import ShapeError
from core.measure.similarity import CrossProducts


def at_once(x: Tensor, y: Tensor) -> float:
    """Through Gram matrices over tokens: another road to the same number."""
    grams = [(z - z.mean(dim=0)) @ (z - z.mean(dim=0)).T for z in (x.double(), y.double())]
    return float((grams[0] * grams[1]).sum() / (grams[0].norm() * grams[1].norm()))


def gathered(x: Tensor, y: Tensor, lengths: tuple[int, ...]) -> float | None:
    products = CrossProducts(x.shape[1], y.shape[1])
    for one, other in zip(x.split(lengths), y.split(lengths), strict=True):
        products.add_(one, other)
    assert products.n == len(x)
    return products.cka()


def states(seed: int, mean: float = 0.0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(50, 6, generator=draw, dtype=torch.float64) + mean
    return x, x[:, :4] ** 2 / 10 + torch.randn(50, 4, generator=draw, dtype=torch.float64)


@pytest.mark.parametrize("lengths", [(50,), (20, 30), (1, 1, 8, 0, 40)])
@pytest.mark.parametrize("mean", [0.0, 1e5])
def test_text_by_text_is_all_at_once(lengths: tuple[int, ...], mean: float) -> None:
    x, y = states(0, mean)
    assert gathered(x, y, lengths) == pytest.approx(at_once(x, y), rel=1e-6)


def test_rotation_size_and_shift_change_nothing_and_another_map_does() -> None:
    x, _ = states(1)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64))[0]
    assert gathered(x, 3 * x @ rotation + 7, (50,)) == pytest.approx(1.0)
    stretched = gathered(x, x * torch.tensor([9.0, 1, 1, 1, 1, 1]), (50,))
    assert stretched is not None
    assert stretched < 0.7


def test_nothing_to_compare() -> None:
    products = CrossProducts(3)
    assert products.cka() is None
    products.add_(torch.ones(4, 3), torch.randn(4, 3))
    assert products.cka() is None
    with pytest.raises(ShapeError, match="4 and 5"):
        products.add_(torch.ones(4, 3), torch.ones(5, 3))
