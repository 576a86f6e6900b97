"""The same sum whichever matrix stands in front."""

import pytest
import torch
from torch.nn import functional

from core.pair import few_rows
from core.pair.few_rows import is_quicker_in_front, linear


@pytest.fixture(params=[True, False], ids=["in front", "as usual"])
def _whichever(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways, whatever processor the test runs on."""
    monkeypatch.setattr(few_rows, "_in_front", request.param)


@pytest.mark.usefixtures("_whichever")
@pytest.mark.parametrize("shape", [(1, 1, 24), (3, 1, 24), (2, 8, 24), (16, 24), (17, 24), (40, 2, 24)])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_it_is_a_linear_layer(shape: tuple[int, ...], with_bias: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(shape).to(dtype), torch.randn(40, 24).to(dtype)
    bias = torch.randn(40).to(dtype) if with_bias else None
    found, expected = linear(x, weight, bias), functional.linear(x, weight, bias)
    assert found.shape == expected.shape
    assert found.dtype == dtype
    assert found.is_contiguous()
    assert torch.allclose(found.double(), expected.double(), atol=1e-5)


@pytest.mark.usefixtures("_whichever")
@pytest.mark.parametrize("shape", [(9, 24), (3, 20, 24)])
def test_a_tall_matrix_is_a_linear_layer_too(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(shape), torch.randn(2**14 + 100, 24)
    with torch.no_grad():
        found = linear(x, weight)
    assert found.is_contiguous()
    assert torch.allclose(found, functional.linear(x, weight), atol=1e-5)


@pytest.mark.usefixtures("_whichever")
def test_gradients_flow_through_it() -> None:
    x = torch.randn(4, 1, 24, requires_grad=True)
    weight = torch.randn(40, 24)
    linear(x, weight).sum().backward()
    assert x.grad is not None
    assert torch.allclose(x.grad, weight.sum(0).expand_as(x), atol=1e-4)


@pytest.mark.parametrize(
    ("with_mkl", "maker", "in_front"),
    [
        (True, "GenuineIntel", False),
        (True, "Intel64 Family 6 Model 158 Stepping 10, GenuineIntel", False),
        (True, "AuthenticAMD", True),
        (True, "AMD64 Family 25 Model 33 Stepping 0, AuthenticAMD", True),
        (False, "AuthenticAMD", False),
        (False, "arm", False),
        (True, "", False),
    ],
)
def test_only_other_makers_processors_under_intels_library_have_it_in_front(
    with_mkl: bool, maker: str, in_front: bool
) -> None:
    assert is_quicker_in_front(with_mkl, maker) is in_front
