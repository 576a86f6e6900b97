"""The highest logit, found in half precision first, is the highest in float32."""

import pytest
import torch
from torch.nn import functional

from core.pair.unembed import Unembedding


@pytest.mark.parametrize(("dtype", "apart"), [(torch.bfloat16, 0.01), (torch.float16, 0.001)])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_the_best_token_is_the_best_in_float32_where_half_precision_has_another(
    dtype: torch.dtype, apart: float, scale: float
) -> None:
    torch.manual_seed(0)
    states = (torch.randn(64, 48) * scale).to(dtype)
    weight = (torch.randn(48) + apart * torch.randn(900, 48)).to(dtype)  # tokens that resemble each other
    exact = (states.double() @ weight.double().T).argmax(dim=-1)
    rough = functional.linear(states, weight).argmax(dim=-1)
    assert (rough != exact).sum() > 5
    found = Unembedding(weight).best(states)
    assert found.dtype == torch.int64
    assert found.tolist() == exact.tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_negative_logits_and_ties(dtype: torch.dtype) -> None:
    weight = torch.tensor([[-3.0, 0], [-2, 0], [-2, 0], [-2.5, 0]]).to(dtype)
    assert Unembedding(weight).best(torch.tensor([[1.0, 5], [-1, 0]]).to(dtype)).tolist() == [1, 0]


def test_logits_too_large_for_half_precision() -> None:
    weight = torch.tensor([[500.0, 1], [600, 0], [550, 2]], dtype=torch.float16)
    states = torch.tensor([[500.0, 0], [-500, 0]], dtype=torch.float16)
    assert Unembedding(weight).best(states).tolist() == [1, 0]


def test_states_in_another_format_than_the_matrix() -> None:
    torch.manual_seed(1)
    weight, states = torch.randn(50, 8).bfloat16(), torch.randn(5, 8)
    exact = (states.double() @ weight.double().T).argmax(dim=-1)
    assert Unembedding(weight).best(states).tolist() == exact.tolist()
