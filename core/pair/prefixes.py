"""Rows of gates as a tree of layers: rows that agree up to a layer are one node there.

Knows gates; runs nothing.
"""

from dataclasses import dataclass

from core.pair.gates import Gates


@dataclass(frozen=True)
class Level:
    """The nodes of one layer.

    Attributes:
        parents: of each node, the node of the layer before that it goes on from; 0 in the first layer.
        firsts: of each node, the first row that goes through it.
        node_of: of each row, its node.
    """

    parents: tuple[int, ...]
    firsts: tuple[int, ...]
    node_of: tuple[int, ...]


def prefix_levels(gates: Gates) -> list[Level]:
    """One level a layer, of gates without a position axis."""
    values = gates.values.cpu().numpy()
    levels: list[Level] = []
    node_of = [0] * gates.n_rows
    for layer in range(values.shape[1]):
        numbers: dict[tuple[int, bytes], int] = {}
        parents: list[int] = []
        firsts: list[int] = []
        for row, parent in enumerate(node_of):
            key = (parent, values[row, layer].tobytes())
            if key not in numbers:
                numbers[key] = len(parents)
                parents.append(parent)
                firsts.append(row)
            node_of[row] = numbers[key]
        levels.append(Level(tuple(parents), tuple(firsts), tuple(node_of)))
    return levels
