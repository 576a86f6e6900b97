"""A linear layer over a handful of rows, as a decoding step has them, and one as tall as a vocabulary.

On a CPU in float32 torch multiplies with Intel's library, which on processors of other makers takes up to four times as
long for x·Wᵀ with up to eight rows as for W·xᵀ, the same sum with the large matrix in front, copied into rows; a single
row is quickest as two equal ones. With more rows that is so only where the matrix is tall, and there by a quarter. On
Intel's processors it is the other way round: x·Wᵀ takes half as long. How long either takes is measured in
`benchmarks/`; which is used depends on the processor's maker only, never on a measurement, so that the same machine
always rounds alike. Knows matrices only.
"""

import platform
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

_FEW = range(1, 9)
_TALL, _AT_ONCE = 2**14, 2**11
_INTEL = "GenuineIntel"


def _maker() -> str:
    """Of the processor: what Linux or Windows calls it, or nothing."""
    listed = Path("/proc/cpuinfo")
    if not listed.exists():
        return platform.processor()
    vendors = (line for line in listed.read_text().splitlines() if line.startswith("vendor_id"))
    return next(vendors, "").partition(":")[2].strip()


def is_quicker_in_front(with_mkl: bool, maker: str) -> bool:
    """Whether few rows are multiplied sooner with the large matrix in front.

    Args:
        with_mkl: whether torch multiplies with Intel's library.
        maker: of the processor, as the system names it; empty where it does not.
    """
    return with_mkl and bool(maker) and _INTEL not in maker


_in_front = is_quicker_in_front(bool(torch.backends.mkl.is_available()), _maker())  # type: ignore[no-untyped-call]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(…, d_in) → (…, d_out), contiguous: x·Wᵀ + b.

    Args:
        x: any number of rows.
        weight: (d_out, d_in).
        bias: (d_out) or None.
    """
    n_rows = x.numel() // x.shape[-1]
    if not _in_front or x.device.type != "cpu" or x.dtype != torch.float32 or not n_rows:
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
