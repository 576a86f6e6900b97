"""A second module tree over the same parameters, with something else in place of its gated layers.

Nothing given is changed, so the original and the twin can run at the same time. Knows module trees; runs none.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from core.pair.gated_linear import GatedLinear


def with_gated_replaced(module: Any, replaced: Callable[[GatedLinear], nn.Module]) -> Any:
    """`module` with every gated layer replaced, or the very same module where it holds none."""
    return with_replaced(module, replaced, (GatedLinear,))


def with_replaced(module: Any, replaced: Callable[[Any], nn.Module], kinds: tuple[type[nn.Module], ...]) -> Any:
    """`module` with every module of some kinds replaced, outermost ones only, or the very same where it holds none.

    Modules on the way down are copied without their parameters, which stay the same objects; the rest is shared.
    """
    if isinstance(module, kinds):
        return replaced(module)
    children: dict[str, nn.Module] = {
        name: with_replaced(child, replaced, kinds) for name, child in module.named_children()
    }
    if all(child is getattr(module, name) for name, child in children.items()):
        return module
    twin = copy.copy(module)
    twin._modules = {**module._modules, **children}
    return twin


@torch.no_grad()
def merged(gated: GatedLinear) -> nn.Linear:
    """A plain linear layer with the whole change added to its weight, once and for good."""
    base = gated.base
    weight = (base.weight.float() + gated.scaling * (gated.up @ gated.down)).to(base.weight.dtype)
    bias: torch.Tensor | None = base.bias
    if gated.change_bias is not None:
        bias = gated.change_bias if bias is None else bias.float() + gated.change_bias
    plain = nn.Linear(1, 1, bias=bias is not None, device="meta")
    plain.in_features, plain.out_features = gated.in_features, gated.out_features
    plain.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        plain.bias = nn.Parameter(bias.to(weight.dtype), requires_grad=False)
    return plain
