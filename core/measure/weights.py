"""How much fine-tuning changed each weight matrix: size, largest direction, and over how many directions it spreads.

All of it from the factors of the low-rank changes, in float64; the dense product ΔW is never made. Changed biases are
no part of it. Knows the pair's weights; runs no model and knows nothing of what a change does.

Source: stable rank ‖ΔW‖_F² / ‖ΔW‖₂² as in Rudelson & Vershynin 2007.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from core.errors import AdapterError, ShapeError
from core.measure.weights_on_data import DataNorms, projections_of
from core.pair.gated_linear import GatedLinear
from core.pair.gates import PARTS, PROJECTIONS
from core.pair.pair import Pair


@dataclass(frozen=True)
class PartChange:
    """How much the weights of one layer changed, or of one part of it: its matrices as blocks of one large matrix.

    Attributes:
        layer: counted from 0.
        part: `attn`, `mlp`, or `both` for the whole layer.
        frobenius: ‖ΔW‖_F, the root of the sum of squares of all entries.
        base_frobenius: ‖W‖_F of the base weights.
        relative_frobenius: ‖ΔW‖_F / ‖W‖_F; None where the base weights are all 0.
        spectral: ‖ΔW‖₂, the most it can lengthen a vector; of several matrices the largest.
        stable_rank: ‖ΔW‖_F² / ‖ΔW‖₂², ≥ 1: about how many directions the change spreads over; None where nothing
            changed.
        on_data: ‖ΔW x‖ / ‖W x‖ on a text, a ratio of root mean squares over its tokens but the first, biases left out,
            with x as the fine-tuned model has it; None without a text.
    """

    layer: int
    part: str
    frobenius: float
    base_frobenius: float
    relative_frobenius: float | None
    spectral: float
    stable_rank: float | None
    on_data: float | None


@dataclass(frozen=True)
class ModuleChange(PartChange):
    """How much one weight matrix changed.

    Attributes:
        projection: which of the part's matrices, as `q_proj`.
        singular_values: of ΔW, largest first, as many as the change has ranks; empty where the adapter has none there.
    """

    projection: str
    singular_values: tuple[float, ...]


@dataclass(frozen=True)
class WeightChanges:
    """What fine-tuning changed in the weights.

    Attributes:
        modules: every projection of every layer, lowest layer first, changed or not.
        parts: `attn`, `mlp` and `both` of every layer, lowest layer first.
    """

    modules: tuple[ModuleChange, ...]
    parts: tuple[PartChange, ...]


def weight_changes(pair: Pair) -> WeightChanges:
    """Sizes of all changes, without a text.

    Args:
        pair: the models.

    Raises:
        AdapterError: the pair has no low-rank change.
    """
    if not any(isinstance(module, GatedLinear) for module in pair.model.modules()):
        raise AdapterError("The pair has no gated layer.", "Changes of weights are read from an adapter's factors.")
    modules = tuple(
        _module_change(number, name, module)
        for number, block in enumerate(pair.model.model.layers)
        for name, module in projections_of(block).items()
    )
    return WeightChanges(modules, _parts(modules, None))


def with_data(changes: WeightChanges, norms: DataNorms) -> WeightChanges:
    """The same changes with `on_data` from a text.

    Raises:
        ShapeError: the norms are of another number of layers.
    """
    if len(norms.change) * len(PROJECTIONS) != len(changes.modules):
        raise ShapeError(
            f"There are norms of {len(norms.change)} layers for {len(changes.modules)} projections.",
            "Take both from the same pair.",
        )
    modules = tuple(replace(module, on_data=_on_data([module], norms)) for module in changes.modules)
    return WeightChanges(modules, _parts(modules, norms))


def singular_values(down: Tensor, up: Tensor, scaling: float) -> Tensor:
    """Singular values of scaling·B·A, largest first, without the dense product.

    Args:
        down: A, (r, d_in).
        up: B, (d_out, r).
        scaling: of their product.

    Returns:
        (min(r, d_in, d_out),) float64 on the CPU.

    Source: with B = Q₁R₁ and Aᵀ = Q₂R₂, the product Q₁(R₁R₂ᵀ)Q₂ᵀ has the singular values of its small middle.
    """
    triangles = [torch.linalg.qr(factor.double().cpu(), mode="r")[1] for factor in (up, down.T)]
    values: Tensor = abs(scaling) * torch.linalg.svdvals(triangles[0] @ triangles[1].T)
    return values


def _module_change(layer: int, projection: str, module: nn.Module) -> ModuleChange:
    values: tuple[float, ...] = ()
    if isinstance(module, GatedLinear):
        values = tuple(singular_values(module.down, module.up, module.scaling).tolist())
    weight = module.weight
    assert isinstance(weight, Tensor)
    size = float(torch.linalg.vector_norm(weight, dtype=torch.float64))
    part = "attn" if projection in PARTS["attn"] else "mlp"
    change = _part_change(layer, part, [_root(values)], [size], [max(values, default=0.0)])
    return ModuleChange(**vars(change), projection=projection, singular_values=values)


def _parts(modules: Sequence[ModuleChange], norms: DataNorms | None) -> tuple[PartChange, ...]:
    found = []
    for layer in range(len(modules) // len(PROJECTIONS)):
        for part, names in PARTS.items():
            own = [module for module in modules if module.layer == layer and module.projection in names]
            frobenius, base, spectral = (
                [getattr(module, name) for module in own] for name in ("frobenius", "base_frobenius", "spectral")
            )
            on_data = None if norms is None else _on_data(own, norms)
            found.append(_part_change(layer, part, frobenius, base, spectral, on_data))
    return tuple(found)


def _part_change(
    layer: int,
    part: str,
    frobenius: Sequence[float],
    base: Sequence[float],
    spectral: Sequence[float],
    on_data: float | None = None,
) -> PartChange:
    """Sizes of a block-diagonal matrix from those of its blocks."""
    size, base_size, largest = _root(frobenius), _root(base), max(spectral)
    return PartChange(
        layer=layer,
        part=part,
        frobenius=size,
        base_frobenius=base_size,
        relative_frobenius=size / base_size if base_size else None,
        spectral=largest,
        stable_rank=(size / largest) ** 2 if largest else None,
        on_data=on_data,
    )


def _on_data(modules: Sequence[ModuleChange], norms: DataNorms) -> float | None:
    places = [(module.layer, PROJECTIONS.index(module.projection)) for module in modules]
    change, base = (_root([rows[layer][k] for layer, k in places]) for rows in (norms.change, norms.base))
    return change / base if base else None


def _root(values: Sequence[float]) -> float:
    return math.hypot(*values)
