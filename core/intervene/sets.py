"""What a search chooses from: whole layers, their parts or their projections, and sets of these.

Knows layer and projection names and gates; knows no text and no model.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from core.errors import ArgumentError
from core.pair.gates import DIRECTIONS, PARTS, PROJECTIONS, Gates, format_layers

BY: dict[str, tuple[str, ...]] = {
    "layer": ("both",),
    "part": ("attn", "mlp"),
    "projection": tuple(name.removesuffix("_proj") for name in PROJECTIONS),
}
"""How fine a search cuts, and the parts of a layer it then tells apart."""


@dataclass(frozen=True, order=True)
class Unit:
    """What is grafted as one piece.

    Attributes:
        layer: counted from 0.
        part: `both` for the whole layer, `attn` or `mlp`, or a projection: `q`, `k`, `v`, `o`, `gate`, `up`, `down`.
    """

    layer: int
    part: str = "both"

    def columns(self) -> list[int]:
        """Its projections as columns of `Gates.values`."""
        return [PROJECTIONS.index(name) for name in PARTS.get(self.part, (f"{self.part}_proj",))]


def units_of(n_layers: int, by: str) -> tuple[Unit, ...]:
    """Every unit of a model, lowest layer first.

    Args:
        n_layers: of the model.
        by: `layer`, `part` or `projection`.

    Raises:
        ArgumentError: there is no such way to cut a model.
    """
    if by not in BY:
        raise ArgumentError(f"Layers cannot be cut by {by!r}.", f"Use {', '.join(BY)}.")
    return tuple(Unit(layer, part) for layer in range(n_layers) for part in BY[by])


def set_gates(n_layers: int, units: Collection[Unit], direction: str = DIRECTIONS[0]) -> Gates:
    """One row of gates that grafts a set of units.

    Args:
        n_layers: of the model.
        units: the set; may be empty.
        direction: `tuned-into-base`, or `base-into-tuned`: everything tuned but these units.

    Raises:
        ArgumentError: there is no such direction, or a unit has a layer the model has not.
    """
    if direction not in DIRECTIONS:
        raise ArgumentError(f"There is no direction {direction!r}.", f"Use {' or '.join(DIRECTIONS)}.")
    values = torch.zeros(1, n_layers, len(PROJECTIONS))
    for unit in units:
        if not 0 <= unit.layer < n_layers:
            raise ArgumentError(f"Layer {unit.layer} does not exist.", f"This model has layers 0 to {n_layers - 1}.")
        values[0, unit.layer, unit.columns()] = 1.0
    return Gates(values if direction == DIRECTIONS[0] else 1 - values)


def layers_and_part(units: Collection[Unit], n_layers: int) -> tuple[str, str]:
    """A set as layers in the layer grammar, and the part of them that is grafted.

    The part is `mixed` where the layers do not all have the same parts in the set; the layers are then those that
    have any.
    """
    parts: dict[int, set[str]] = {}
    for unit in units:
        parts.setdefault(unit.layer, set()).add(unit.part)
    kinds = {tuple(sorted(own)) for own in parts.values()}
    layers = format_layers(parts, n_layers)
    if not kinds:
        return layers, "both"
    if len(kinds) > 1:
        return layers, "mixed"
    (own,) = kinds
    columns = sorted(column for part in own for column in Unit(0, part).columns())
    whole = [name for name in PARTS if columns == Unit(0, name).columns()]
    return layers, whole[0] if whole else own[0] if len(own) == 1 else "mixed"


def set_name(units: Sequence[Unit], n_layers: int) -> str:
    """A set in words: `3, 7-9`, or by part `attn 3, 7; mlp 7-9`."""
    order = {part: place for place, part in enumerate(dict.fromkeys(part for parts in BY.values() for part in parts))}
    by_part: dict[str, list[int]] = {}
    for unit in sorted(units, key=lambda unit: order[unit.part]):
        by_part.setdefault(unit.part, []).append(unit.layer)
    pieces = [
        ("" if part == "both" else f"{part} ") + format_layers(layers, n_layers).replace(",", ", ")
        for part, layers in by_part.items()
    ]
    return "; ".join(pieces) or "none"
