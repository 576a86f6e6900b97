"""One answer to be written: which rows of the model it takes, and how their predictions become its own.

Most lanes are one row under its own gates. A patched lane has a second row, the donor, that reads the same tokens and
lends it activations; an amplified lane is a weighted sum of two rows' logits. Knows gates; runs nothing.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from core.errors import ArgumentError
from core.pair.gates import Gates
from core.pair.patches import RowPatch, check_site

Kind = Literal["graft", "patch", "amplify"]
LEAST_ALPHA, MOST_ALPHA = -1.0, 3.0


@dataclass(frozen=True)
class LanePatch:
    """What a patched lane takes from its donor at every position.

    Attributes:
        site: one of `SITES`.
        layers: where.
    """

    site: str
    layers: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Lane:
    """One answer to be written.

    Attributes:
        name: of the lane.
        gates: of its rows; the first is its own.
        weights: of the rows' logits in its own.
        patch: what the first row takes from the second; None without a donor.
    """

    name: str
    gates: Gates
    weights: tuple[float, ...] = (1.0,)
    patch: LanePatch | None = None

    @property
    def n_rows(self) -> int:
        """How many rows of the model it takes."""
        return self.gates.n_rows

    @property
    def kind(self) -> Kind:
        """What makes it what it is."""
        if self.patch is not None:
            return "patch"
        return "amplify" if self.n_rows > 1 else "graft"

    @property
    def alpha(self) -> float | None:
        """Of an amplified lane, else None."""
        return -self.weights[1] if self.kind == "amplify" else None

    @property
    def is_base(self) -> bool:
        """Whether it is the base model and nothing else."""
        return self.n_rows == 1 and self.gates.is_base()

    @property
    def is_tuned(self) -> bool:
        """Whether it is the fine-tuned model and nothing else."""
        return self.n_rows == 1 and self.gates.is_tuned()

    def own_seed(self, seed: int, begun: Sequence[int] = ()) -> int:
        """The seed of this lane's own draws; of base that begins with nothing, the seed itself.

        It follows from what the lane is made of and begins with, never from its name, its place or what stands beside
        it: the same model draws the same wherever it is asked, and other models and forks draw independently of it.

        Args:
            seed: of the answers, 0 to 2^63 − 1.
            begun: tokens its answer begins with.
        """
        if self.is_base and not begun:
            return seed
        made_of = hashlib.sha256(struct.pack("<Q", seed))
        made_of.update(self.gates.values.detach().float().cpu().contiguous().numpy().tobytes())
        made_of.update(struct.pack(f"<{len(self.weights)}d", *self.weights))
        made_of.update(f"{self.patch} {tuple(begun)}".encode())
        return int.from_bytes(made_of.digest()[:8], "little") >> 1

    def patches(self, first_row: int) -> tuple[RowPatch, ...]:
        """Its patches, where its rows stand from `first_row` on in a batch."""
        if self.patch is None:
            return ()
        return (RowPatch(self.patch.site, self.patch.layers, first_row, first_row + 1),)


def gates_of(lanes: Sequence[Lane]) -> Gates:
    """Of the rows of some lanes."""
    return Gates.stack([lane.gates for lane in lanes])


def patches_of(lanes: Sequence[Lane], first_row: int = 0) -> tuple[RowPatch, ...]:
    """Between the rows of some lanes, which stand from `first_row` on in a batch."""
    found: list[RowPatch] = []
    for lane in lanes:
        found += lane.patches(first_row)
        first_row += lane.n_rows
    return tuple(found)


def own_states(lanes: Sequence[Lane], states: Tensor) -> Tensor:
    """States of the rows of some lanes, (rows, …, d_model), as states of the lanes: (lanes, …, d_model).

    The unembedding is linear, so a weighted sum of logits is the logits of the weighted sum of states.
    """
    if len(states) > len(lanes):
        states = states.float()  # as the logits are; sums in half precision would lose what they are about
    found, row = [], 0
    for lane in lanes:
        if sum(map(bool, lane.weights)) == 1:
            found.append(states[row + lane.weights.index(1.0)])
        else:
            found.append(torch.tensordot(states.new_tensor(lane.weights), states[row : row + lane.n_rows], 1))
        row += lane.n_rows
    return torch.stack(found)


def patched_lane(name: str, recipient: Gates, donor: Gates, site: str, layers: tuple[int, ...]) -> Lane:
    """A lane whose activations at one site are the donor's, at every position.

    Args:
        name: of the lane.
        recipient, donor: one row each.
        site: one of `SITES`.
        layers: where.

    Raises:
        ArgumentError: site or layer does not exist, or no layer is given.
    """
    check_site(site)
    n_layers = recipient.values.shape[1]
    if not layers:
        raise ArgumentError("A patched lane needs a layer.", "Name at least one.")
    beyond = [layer for layer in layers if not 0 <= layer < n_layers]
    if beyond:
        raise ArgumentError(f"Layer {beyond[0]} does not exist.", f"This model has layers 0 to {n_layers - 1}.")
    return Lane(name, Gates.stack([recipient, donor]), (1.0, 0.0), LanePatch(site, tuple(sorted(set(layers)))))


def amplified_lane(name: str, base: Gates, tuned: Gates, alpha: float) -> Lane:
    """A lane that writes from z_t + α(z_t − z_b): α = −1 is base, 0 is tuned, above 0 goes beyond.

    Raises:
        ArgumentError: α is not within −1..3.

    Source: model-diff amplification; the same sum as in contrastive decoding (Li et al. 2022).
    """
    return Lane(name, Gates.stack([tuned, base]), (1 + check_alpha(alpha), -alpha))


def check_alpha(alpha: float) -> float:
    """The amplification, if it is one.

    Raises:
        ArgumentError: it is not within −1..3.
    """
    if not LEAST_ALPHA <= alpha <= MOST_ALPHA:
        raise ArgumentError(
            f"Amplification {alpha} is not within {LEAST_ALPHA:g}..{MOST_ALPHA:g}.", "−1 is base, 0 is fine-tuned."
        )
    return float(alpha)
