"""Which layers, or which attention and MLP, carry most over some prompts: a ranking from their tables.

By Shapley share where those were measured, otherwise by what each brings back alone; sums over prompts, so that a
prompt counts by its divergence. Knows rows; runs nothing.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from core.intervene.sets import Unit, units_of
from core.study.schema import Row, Tables


@dataclass(frozen=True)
class Ranking:
    """Sums over the prompts so far.

    Attributes:
        n_layers: of the model.
        alone: unit, layer or part → ΣKL it takes away, grafted alone, nats.
        shares: part → Shapley share × ΣKL of the prompt, nats; empty where none were measured.
    """

    n_layers: int
    alone: Counter[Unit] = field(default_factory=Counter)
    shares: Counter[Unit] = field(default_factory=Counter)

    def ranked(self, by: str) -> tuple[Unit, ...]:
        """Units of one sort, the one that carries most first; the lower layer first among equals.

        Args:
            by: `layer` or `part`.
        """
        units = units_of(self.n_layers, by)
        worth = {unit: self.alone[unit] for unit in units}
        if self.shares:
            worth = {
                unit: sum(self.shares[part] for part in units_of(self.n_layers, "part") if _holds(unit, part))
                for unit in units
            }
        return tuple(sorted(units, key=lambda unit: (-worth[unit], unit)))

    def nested(self, by: str) -> tuple[tuple[Unit, ...], ...]:
        """The first, the first two, … of the ranking, each in the order of the layers."""
        ranked = self.ranked(by)
        return tuple(tuple(sorted(ranked[:size])) for size in range(1, len(ranked) + 1))


def rank_units(so_far: Ranking | None, layers: Sequence[Row], tables: Tables) -> Ranking:
    """A ranking with one more prompt in it.

    Args:
        so_far: of the prompts before; None for the first.
        layers: its rows of `layers` for one adapter, each layer alone.
        tables: all its tables; none for a random adapter, which has no other than these rows.
    """
    found = so_far or Ranking(len(layers))
    for row in layers:
        found.alone[Unit(row["layer"])] += row["kl_base_sum"] - row["kl_sum"]
    for row in tables.get("parts", []):
        if row["kind"] == "single":
            found.alone[Unit(row["layer"], row["part"])] += row["kl_base_sum"] - row["kl_sum"]
    for row in tables.get("shapley", []):
        found.shares[Unit(row["layer"], row["part"])] += row["share"] * layers[0]["kl_base_sum"]
    return found


def _holds(unit: Unit, part: Unit) -> bool:
    return unit == part or unit == Unit(part.layer)
