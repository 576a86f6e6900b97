"""Plans: named sets of layers to graft.

Knows layer numbers and gates; knows no text and no model.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.errors import ArgumentError
from core.pair.gates import DIRECTIONS, PARTS, Gates, format_layers, hybrid_gates

KINDS = ("single", "leave-one-out", "prefix", "suffix", "window")
EACH = ("attn", "mlp")


@dataclass(frozen=True)
class Plan:
    """A set of layers grafted from one model into the other.

    Attributes:
        name: as in results, "single 20 mlp".
        layers: in the layer grammar.
        part: `attn`, `mlp` or `both`.
        direction: `tuned-into-base` or `base-into-tuned`.
    """

    name: str
    layers: str
    part: str = "both"
    direction: str = DIRECTIONS[0]

    def gates(self, n_layers: int) -> Gates:
        """Its gates, one row."""
        return hybrid_gates(n_layers, self.layers, self.part, 1.0, self.direction)


def sweep_plans(
    kind: str, n_layers: int, part: str = "both", direction: str = DIRECTIONS[0], width: int = 3
) -> tuple[Plan, ...]:
    """The plans of a sweep, lowest layer first.

    Args:
        kind: `single`, `leave-one-out`, `prefix`, `suffix` or `window`.
        n_layers: of the model.
        part: `attn`, `mlp`, `both`, or `each` for attn and mlp one after the other.
        direction: what is grafted into what.
        width: of the windows.

    Raises:
        ArgumentError: kind, part or width do not exist.
    """
    if kind not in KINDS:
        raise ArgumentError(f"There is no sweep {kind!r}.", f"Use one of {', '.join(KINDS)}.")
    if part not in (*PARTS, "each"):
        raise ArgumentError(f"There is no part {part!r}.", f"Use one of {', '.join(PARTS)}, each.")
    if kind == "window" and not 1 <= width <= n_layers:
        raise ArgumentError(f"Windows of {width} layers do not fit.", f"Use 1 to {n_layers}.")
    parts = EACH if part == "each" else (part,)
    return tuple(
        Plan(_name(kind, label, one), format_layers(layers, n_layers), one, direction)
        for one in parts
        for label, layers in _sets(kind, n_layers, width)
    )


def _sets(kind: str, n: int, width: int) -> Sequence[tuple[str, Iterable[int]]]:
    if kind == "single":
        return [(str(k), [k]) for k in range(n)]
    if kind == "leave-one-out":
        return [(str(k), [j for j in range(n) if j != k]) for k in range(n)]
    if kind == "prefix":
        return [(f"0-{k}" if k else "0", range(k + 1)) for k in range(n)]
    if kind == "suffix":
        return [(f"{k}-{n - 1}" if k < n - 1 else str(k), range(k, n)) for k in range(n)]
    return [(f"{k}-{k + width - 1}", range(k, k + width)) for k in range(n - width + 1)]


def _name(kind: str, label: str, part: str) -> str:
    return f"{kind} {label}" if part == "both" else f"{kind} {label} {part}"
