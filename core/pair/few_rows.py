"""A linear layer over a handful of rows, as a decoding step has them, and one as tall as a vocabulary.

On a CPU in float32, libraries take up to four times as long for x·Wᵀ with up to eight rows as for W·xᵀ, the same sum
with the large matrix in front, copied into rows; a single row is quickest as two equal ones. With more rows that is so
only where the matrix is tall, and there by a quarter. How long either takes is measured in `benchmarks/`. Knows
matrices only.
"""

import torch
from torch import Tensor
from torch.nn import functional

_FEW = range(1, 9)
_TALL, _AT_ONCE = 2**14, 2**11


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(…, d_in) → (…, d_out), contiguous: x·Wᵀ + b.

    Args:
        x: any number of rows.
        weight: (d_out, d_in).
        bias: (d_out) or None.
    """
    n_rows = x.numel() // x.shape[-1]
    if x.device.type != "cpu" or x.dtype != torch.float32 or not n_rows:
        return functional.linear(x, weight, bias)
    if n_rows not in _FEW:
        tall = len(weight) >= _TALL and bias is None and not torch.is_grad_enabled()
        return _by_slices(x, weight) if tall else functional.linear(x, weight, bias)
    rows = x.reshape(n_rows, -1)
    twice = torch.cat([rows, rows]) if n_rows == 1 else rows
    y = torch.mm(weight, twice.T).T[:n_rows]
    if bias is not None:
        y = y + bias
    return y.reshape(*x.shape[:-1], weight.shape[0]).contiguous()  # attention is slow on anything else


def _by_slices(x: Tensor, weight: Tensor) -> Tensor:
    """x·Wᵀ, some rows of W at a time, which stay near the processor until they are copied."""
    columns = x.reshape(-1, x.shape[-1]).T
    y = x.new_empty(columns.shape[1], len(weight))
    for start in range(0, len(weight), _AT_ONCE):
        y[:, start : start + _AT_ONCE] = torch.mm(weight[start : start + _AT_ONCE], columns).T
    return y.view(*x.shape[:-1], len(weight))
