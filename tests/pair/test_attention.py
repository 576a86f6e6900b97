"""Attention without copies against transformers' own."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from core.pair.attention import NAME, grouped_attention
from core.pair.pair import Pair


@pytest.mark.parametrize("n_key_heads", [1, 3, 9])
@pytest.mark.parametrize(("n_new", "n_past"), [(1, 20), (6, 0), (6, 15)])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_transformers_attention(
    n_key_heads: int, n_new: int, n_past: int, padded: bool, dtype: torch.dtype
) -> None:
    torch.manual_seed(1)
    module: Any = SimpleNamespace(num_key_value_groups=9 // n_key_heads, is_causal=True)
    query = torch.randn(4, n_new, 9, 16).transpose(1, 2).to(dtype)
    key, value = (torch.randn(4, n_key_heads, n_past + n_new + 8, 16)[:, :, : n_past + n_new].to(dtype) for _ in "kv")
    mask = torch.ones(n_new, n_past + n_new, dtype=torch.bool).tril(n_past).expand(4, 1, -1, -1).clone()
    if padded:
        mask[1, :, :, :3] = False
        mask[1, :, :3, 0] = True  # nobody sees nothing
    given = mask if padded or (n_past and n_new > 1) else None
    ours = grouped_attention(module, query, key, value, given, scaling=0.25)[0]
    theirs = sdpa_attention_forward(module, query, key, value, given, scaling=0.25)[0]
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours.float(), theirs.float(), rtol=0, atol=1e-5 if dtype == torch.float32 else 0.02)


def test_pairs_on_a_cpu_have_it(pair: Pair) -> None:
    assert pair.model.config._attn_implementation == NAME
