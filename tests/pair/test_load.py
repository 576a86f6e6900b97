"""What is said of a processor before anything is computed on it."""

import pytest
import torch

from core.pair.load import slow_dtype


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("has_units", [True, False])
def test_half_precision_without_units_is_said_to_be_slow(
    dtype: str, has_units: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_is_mkldnn_bf16_supported", "_is_mkldnn_fp16_supported"):
        own = name.removeprefix("_is_mkldnn_")[0] == dtype[0]
        monkeypatch.setattr(torch.ops.mkldnn, name, lambda own=own: has_units if own else not has_units)
    said = slow_dtype("cpu", dtype)
    assert (dtype in said and "float32" in said) is not has_units
    assert bool(said) is not has_units


def test_nothing_is_said_of_float32_or_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_mkldnn_bf16_supported", "_is_mkldnn_fp16_supported"):
        monkeypatch.setattr(torch.ops.mkldnn, name, lambda: False)
    assert slow_dtype("cpu", "float32") == slow_dtype("cuda:1", "bfloat16") == ""
