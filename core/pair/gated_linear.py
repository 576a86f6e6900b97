"""A linear layer that computes base, fine-tuned and anything between, row by row.

The base weight is there once; the low-rank change is added for the rows whose gates ask for it and is never
merged. Gates are bound around one forward call by `bound_gates` and read here; they are never kept.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.pair.few_rows import linear
from core.pair.gates import Gates, LayerGates, Switch

_bound: ContextVar[Gates | LayerGates | None] = ContextVar("gates", default=None)


class UnboundGatesError(RuntimeError):
    """A gated model was run without gates: a bug, never an input's fault."""


@contextmanager
def bound_gates(gates: Gates | LayerGates) -> Iterator[None]:
    """Binds gates for the forward call inside; must not enclose a `yield` of the caller."""
    token = _bound.set(gates)
    try:
        yield
    finally:
        _bound.reset(token)


@dataclass(frozen=True, eq=False)
class LowRankChange:
    """What fine-tuning added to one linear layer.

    Attributes:
        down: A, (r, d_in) float32.
        up: B, (d_out, r) float32.
        scaling: α/r, or α/√r under rsLoRA.
        bias: change of the bias at gate 1, (d_out,) float32, or None.
    """

    down: Tensor
    up: Tensor
    scaling: float
    bias: Tensor | None

    def is_zero(self) -> bool:
        """Whether it changes nothing."""
        product_is_zero = not bool(self.up.any()) or not bool(self.down.any())
        return product_is_zero and (self.bias is None or not bool(self.bias.any()))


class GatedLinear(nn.Module):
    """`y = W x + b + g·(α/r)·B(A x)`, with g per row (and position) from the bound gates.

    Rows whose gate is 0 are exactly the base layer's output. The change is computed in float32, as peft does by
    default, and the sum is rounded once to the layer's dtype.

    Args:
        base: the base model's layer, used as it is.
        change: what fine-tuning added.
        layer, projection: the layer's place in `Gates.values`.

    Source: Hu et al. 2021 (LoRA), eq. 3, with a gate on the second term.
    """

    down: Tensor
    up: Tensor
    change_bias: Tensor | None

    def __init__(self, base: nn.Linear, change: LowRankChange, layer: int, projection: int) -> None:
        super().__init__()
        self.base = base
        # What `forward` reads of these, it reads where modules keep it: their attributes are looked up slowly, and it
        # runs hundreds of times a token.
        self.register_buffer("down", change.down, persistent=False)
        self.register_buffer("up", change.up, persistent=False)
        self.register_buffer("change_bias", change.bias, persistent=False)
        self.scaling = change.scaling
        self.layer, self.projection = layer, projection
        self.in_features, self.out_features = base.in_features, base.out_features

    @property
    def weight(self) -> Tensor:
        """The base weight."""
        return self.base.weight

    def forward(self, x: Tensor) -> Tensor:
        """(rows, pos, d_in) → (rows, pos, d_out)."""
        gates = _bound.get()
        if gates is None:
            raise UnboundGatesError("A gated model was run without gates.")
        base: Any = self._modules["base"]
        y = linear(x, base._parameters["weight"], base._parameters["bias"])
        switch = gates.switches.get((self.layer, self.projection))
        return y if switch is None else self._add(y, x, switch)

    def _add(self, y: Tensor, x: Tensor, switch: Switch) -> Tensor:
        gradient = torch.is_grad_enabled() and (y.requires_grad or x.requires_grad or switch.strength.requires_grad)
        rows = x if switch.every else x[switch.rows]
        if isinstance(switch.rows, slice) and not gradient:
            return self._add_(y, rows, switch)
        low = functional.linear(rows.float(), self.down) * (switch.strength * self.scaling)
        change = functional.linear(low, self.up)
        if self.change_bias is not None:
            change = change + switch.strength * self.change_bias
        if switch.every:
            return (y + change).to(y.dtype)
        if gradient:
            y = y.clone()
        y[switch.rows] = (y[switch.rows] + change).to(y.dtype)
        return y

    def _add_(self, y: Tensor, rows: Tensor, switch: Switch) -> Tensor:
        """The same in place and in as few calls as there can be: with few rows, calls are what takes the time."""
        held: dict[str, Any] = self._buffers
        low = torch.mm(rows.reshape(-1, self.in_features).float(), held["down"].T)
        if not switch.whole:
            low.view(*rows.shape[:2], -1).mul_(switch.strength)
        into = y if switch.every else y[switch.rows]
        flat = into.view(-1, self.out_features)
        if y.dtype == torch.float32:
            flat.addmm_(low, held["up"].T, alpha=self.scaling)
        else:
            flat.add_(torch.mm(low, held["up"].T), alpha=self.scaling)  # summed in float32, rounded once
        if held["change_bias"] is not None:
            into.add_(switch.strength * held["change_bias"])
        return y
