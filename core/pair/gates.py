"""Gates: how much of the fine-tune each row of a batch gets, layer by layer and projection by projection.

Gates are data: values handed to one forward pass. Nothing here changes a model. Knows layer and projection
names; knows no weights.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from core.errors import ArgumentError, ShapeError

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PARTS: dict[str, tuple[str, ...]] = {"attn": PROJECTIONS[:4], "mlp": PROJECTIONS[4:], "both": PROJECTIONS}
MAX_STRENGTH = 4.0
DIRECTIONS = ("tuned-into-base", "base-into-tuned")

_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


@dataclass(frozen=True)
class Switch:
    """The rows of a batch in which one projection of one layer is not at base.

    Attributes:
        rows: a slice where the rows are adjacent (all of them included) or few rows at base lie between them, else
            their indices, int64.
        every: whether these are all rows of the batch.
        strength: gates of these rows, (rows, 1 or pos, 1).
        whole: whether all of them are exactly 1.
    """

    rows: slice | Tensor
    every: bool
    strength: Tensor
    whole: bool


@dataclass(frozen=True, eq=False)
class Gates:
    """Gates of every row of a batch.

    Attributes:
        values: (rows, n_layers, n_projections), or with a fourth axis over the positions of the forward pass;
            0 is base, 1 is tuned, between blends, above 1 amplifies. May require gradients.
    """

    values: Tensor

    def __post_init__(self) -> None:
        if self.values.dim() not in (3, 4) or self.values.shape[2] != len(PROJECTIONS):
            raise ShapeError(
                f"Gates have shape {tuple(self.values.shape)}.",
                f"Expected (rows, n_layers, {len(PROJECTIONS)}[, pos]).",
            )

    @classmethod
    def uniform(cls, n_layers: int, strength: float, rows: int = 1) -> "Gates":
        """The same strength everywhere: 0 is base, 1 is tuned."""
        return cls(torch.full((rows, n_layers, len(PROJECTIONS)), check_strength(strength)))

    @classmethod
    def graft(cls, n_layers: int, layers: Iterable[int], part: str = "both", strength: float = 1.0) -> "Gates":
        """One row with `part` of some layers at `strength` and base elsewhere.

        Raises:
            ArgumentError: a layer, part or strength does not exist.
        """
        if part not in PARTS:
            raise ArgumentError(f"There is no part {part!r}.", f"Use one of {', '.join(PARTS)}.")
        values = torch.zeros(1, n_layers, len(PROJECTIONS))
        chosen = sorted(set(layers))
        if chosen and not 0 <= chosen[0] <= chosen[-1] < n_layers:
            raise ArgumentError(f"Layers {chosen} are not all within 0..{n_layers - 1}.", "Choose existing layers.")
        columns = [PROJECTIONS.index(name) for name in PARTS[part]]
        values[:, chosen, columns[0] : columns[-1] + 1] = check_strength(strength)
        return cls(values)

    @classmethod
    def stack(cls, rows: Sequence["Gates"]) -> "Gates":
        """The rows of several gates under each other."""
        return cls(torch.cat([gates.values for gates in rows]))

    @property
    def n_rows(self) -> int:
        """How many rows these gates are for."""
        return self.values.shape[0]

    def distinct(self) -> tuple[list[int], list[int]]:
        """Rows that differ from all before them, and for each row which of those it equals."""
        firsts: list[int] = []
        which: list[int] = []
        for row in range(self.n_rows):
            same = [k for k, first in enumerate(firsts) if torch.equal(self.values[row], self.values[first])]
            which.append(same[0] if same else len(firsts))
            if not same:
                firsts.append(row)
        return firsts, which

    def take(self, rows: Sequence[int]) -> "Gates":
        """The gates of some rows, in the order asked for."""
        return Gates(self.values[list(rows)])

    def is_base(self) -> bool:
        """Whether every gate is 0."""
        return not bool(self.values.any())

    def is_tuned(self) -> bool:
        """Whether every gate is 1."""
        return bool((self.values == 1).all())

    def by_part(self) -> list[list[list[float]]]:
        """Mean gate of attn and of mlp: rows × n_layers × 2; the form shown and exported."""
        values = self.values.detach()
        attn, mlp = values[:, :, :4], values[:, :, 4:]
        return [
            [[round(float(a.mean()), 6), round(float(m.mean()), 6)] for a, m in zip(row_a, row_m, strict=True)]
            for row_a, row_m in zip(attn, mlp, strict=True)
        ]

    @cached_property
    def _known(self) -> Tensor:
        """The values where they can be looked at: a GPU that is asked what a gate is has to finish its work first."""
        return self.values.detach().cpu()

    def _with(self, values: Tensor, known: Tensor) -> "Gates":
        """Other gates, of which it is known already what they are."""
        found = Gates(values)
        found.__dict__["_known"] = known
        return found

    @cached_property
    def switches(self) -> dict[tuple[int, int], Switch]:
        """The projections that are not at base in some row, by (layer, projection)."""
        known = self._known
        active = torch.ones_like(known, dtype=torch.bool) if self.values.requires_grad else known != 0
        if active.dim() == 4:
            active = active.any(dim=-1)
        found: dict[tuple[int, int], Switch] = {}
        for layer in range(self.values.shape[1]):
            for projection in range(len(PROJECTIONS)):
                rows = active[:, layer, projection].nonzero().flatten()
                if len(rows):
                    found[layer, projection] = self._switch(rows, known[:, layer, projection], layer, projection)
        return found

    def _switch(self, rows: Tensor, known: Tensor, layer: int, projection: int) -> Switch:
        """Of some rows of one projection, whose gates are known on the CPU."""
        first, last = int(rows[0]), int(rows[-1])
        span = last - first + 1
        # Adding nothing to a few rows is quicker than picking the others out.
        together = len(rows) == span or (3 * len(rows) >= span and not self.values.requires_grad)
        chosen: slice | Tensor = slice(first, last + 1) if together else rows.to(self.values.device)
        strength = self.values[chosen, layer, projection]
        return Switch(
            rows=chosen,
            every=together and span == self.n_rows,
            strength=strength.reshape(len(strength), -1, 1),
            whole=bool((known[chosen if together else rows] == 1).all()),
        )

    def to(self, device: torch.device | str) -> "Gates":
        """The same gates on a device."""
        wanted = torch.device(device)
        here = self.values.device
        same = here.type == wanted.type and (wanted.index is None or wanted.index == here.index)
        return self if same else self._with(self.values.to(wanted), self._known)

    def of_layer(self, layer: int) -> "Gates":
        """The gates of one layer."""
        there = slice(layer, layer + 1)
        return self._with(self.values[:, there], self._known[:, there])


class LayerGates:
    """The switches of one layer only, for a forward call that runs one layer.

    Args:
        gates: gates of the rows.
        layer: which layer will run.
    """

    def __init__(self, gates: Gates, layer: int) -> None:
        own = gates.of_layer(layer).switches
        self.switches = {(layer, projection): switch for (_, projection), switch in own.items()}


def check_strength(strength: float) -> float:
    """The strength, if it is one.

    Raises:
        ArgumentError: it is not within 0..4.
    """
    if not 0 <= strength <= MAX_STRENGTH:
        raise ArgumentError(f"Strength {strength} is not within 0..{MAX_STRENGTH:g}.", "0 is base, 1 is fine-tuned.")
    return float(strength)


def parse_layers(text: str, n_layers: int) -> tuple[int, ...]:
    """Layers from `none`, `all`, `20-29` or `3,7,20-22`.

    Raises:
        ArgumentError: the text is not of that form, or names a layer the model does not have.
    """
    cleaned = text.replace("–", "-").replace(" ", "").lower()
    if cleaned in ("", "none"):
        return ()
    if cleaned == "all":
        return tuple(range(n_layers))
    layers: set[int] = set()
    for piece in cleaned.split(","):
        match = _RANGE.fullmatch(piece)
        if not match:
            raise ArgumentError(f"Layers {text!r} are not understood at {piece!r}.", "Write 3,7,20-22, all or none.")
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last:
            raise ArgumentError(f"Layers {piece!r} run backwards.", f"Write {last}-{first}.")
        if last >= n_layers:
            raise ArgumentError(f"Layer {last} does not exist.", f"This model has layers 0 to {n_layers - 1}.")
        layers.update(range(first, last + 1))
    return tuple(sorted(layers))


def hybrid_gates(n_layers: int, layers: str, part: str, strength: float, direction: str) -> Gates:
    """One row of gates from what a person chose.

    Args:
        n_layers: of the model.
        layers: in the layer grammar.
        part: `attn`, `mlp` or `both`.
        strength: 0..4; going from tuned to base, 0..1.
        direction: `tuned-into-base`, or `base-into-tuned`: everything tuned but the chosen layers.

    Raises:
        ArgumentError: layers, part, strength or direction do not exist.
    """
    if direction not in DIRECTIONS:
        raise ArgumentError(f"There is no direction {direction!r}.", f"Use {' or '.join(DIRECTIONS)}.")
    chosen = Gates.graft(n_layers, parse_layers(layers, n_layers), part, strength)
    if direction == "tuned-into-base":
        return chosen
    if strength > 1:
        raise ArgumentError(f"Strength {strength:g} cannot go from tuned to base.", "Use 0 to 1.")
    return Gates(1 - chosen.values)


def format_layers(layers: Iterable[int], n_layers: int | None = None) -> str:
    """The shortest text that `parse_layers` reads back."""
    chosen = sorted(set(layers))
    if not chosen:
        return "none"
    if n_layers is not None and len(chosen) == n_layers:
        return "all"
    runs: list[list[int]] = []
    for layer in chosen:
        if runs and runs[-1][-1] == layer - 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ",".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)


def thirds(n_layers: int) -> dict[str, tuple[int, ...]]:
    """The lower, middle and upper third of the layers."""
    edges = [round(n_layers * k / 3) for k in range(4)]
    names = ("lower", "middle", "upper")
    return {name: tuple(range(edges[k], edges[k + 1])) for k, name in enumerate(names)}
