"""Attention on a CPU without copies of keys and values.

Where several query heads share one head of keys and values, transformers copies both for every query head as soon as
there is a mask, and leaves half precision to a slow kernel at one position a row; together that can take longer than
all the weights. Torch's kernel needs neither copy. Knows queries, keys and values; knows no layers.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "graft_grouped"


def grouped_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' scaled dot product attention, by another way to the same numbers.

    Args:
        module: the attention layer.
        query: (rows, n_heads, pos, d_head).
        key, value: (rows, n_key_value_heads, past + pos, d_head).
        attention_mask: (rows, 1, pos, past + pos), true or 0 where attended to; None for plain causal attention.
        dropout: of the weights.
        scaling: of the scores.
        kwargs: what other kinds of attention are asked for with.

    Returns:
        (rows, pos, n_heads, d_head), and no weights.
    """
    rows, n_heads, n_positions, _ = query.shape
    unusual = any(kwargs.get(name) is not None for name in ("softcap", "position_bias", "cache", "is_causal"))
    if unusual or query.requires_grad or key.requires_grad or n_heads == key.shape[1]:
        found: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return found
    settings: dict[str, Any] = {"attn_mask": attention_mask, "dropout_p": dropout, "scale": scaling}
    if n_positions == 1:  # the heads that share keys stand where further positions would
        packed = query.reshape(rows, key.shape[1], n_heads // key.shape[1], query.shape[-1])
        attended = functional.scaled_dot_product_attention(packed, key, value, **settings)
        return attended.reshape(rows, 1, n_heads, value.shape[-1]), None
    causal = attention_mask is None
    attended = functional.scaled_dot_product_attention(query, key, value, **settings, is_causal=causal, enable_gqa=True)
    return attended.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, grouped_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
