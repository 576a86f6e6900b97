"""A linear layer over a handful of rows, as a decoding step has them.

On a CPU in float32, libraries take up to four times as long for x·Wᵀ with up to eight rows as for W·xᵀ, the same sum
with the large matrix in front, copied into rows; a single row is quickest as two equal ones. How long either takes is
measured in `benchmarks/`. Knows matrices only.
"""

import torch
from torch import Tensor
from torch.nn import functional

_FEW = range(1, 9)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(…, d_in) → (…, d_out), contiguous: x·Wᵀ + b.

    Args:
        x: any number of rows.
        weight: (d_out, d_in).
        bias: (d_out) or None.
    """
    n_rows = x.numel() // x.shape[-1]
    if n_rows not in _FEW or x.device.type != "cpu" or x.dtype != torch.float32:
        return functional.linear(x, weight, bias)
    rows = x.reshape(n_rows, -1)
    twice = torch.cat([rows, rows]) if n_rows == 1 else rows
    y = torch.mm(weight, twice.T).T[:n_rows]
    if bias is not None:
        y = y + bias
    return y.reshape(*x.shape[:-1], weight.shape[0]).contiguous()  # attention is slow on anything else
