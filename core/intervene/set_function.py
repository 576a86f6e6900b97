"""Recovery as a function of a set: R(S) for any sets of units on one text, each computed once.

Knows a text, a pair and a direction; knows nothing of which sets are worth asking for.
"""

from collections.abc import Callable, Collection, Sequence
from functools import cached_property

import torch
from torch import Tensor

from core.errors import PromptError, TooLongError
from core.intervene.contrast import UNDEFINED_UNDER
from core.intervene.sets import Unit, set_gates
from core.intervene.walk import Walk, walk
from core.measure.against import kl_to_rows_
from core.measure.noise import noise_of
from core.pair.gates import DIRECTIONS, Gates
from core.pair.pair import Pair
from core.pair.routes import padded_prefill

STATES_BYTES = 128 * 2**20
_BYTES_PER_ENTRY = 8
Progress = Callable[[float], None]


def part_of(progress: Progress | None, first: float, length: float, of: float) -> Progress:
    """Progress of a piece of the work as progress of the whole.

    Args:
        progress: of the whole; told nothing where it is None.
        first: how much of the whole comes before the piece.
        length: of the piece.
        of: length of the whole.
    """

    def tell(share: float) -> None:
        if progress:
            progress(min(1.0, (first + share * length) / of))

    return tell


class SetFunction:
    """R(S) = 1 − K(S)/K(∅) of grafted sets over some positions of one text.

    Sets are walked together, so ask for many at once. What was computed is kept, by gates: the same graft under two
    names is computed once.

    Args:
        pair: the models.
        ids: prompt and answer.
        predicted: indices of the tokens whose predictions count; none of them 0.
        direction: `tuned-into-base` or `base-into-tuned`.

    Attributes:
        k_base: K(∅): mean KL(donor‖recipient), nats.
        defined: whether recovery is: K(∅) is at least five noise floors.
        rows: rows of layers computed so far, those of another numerical route included.

    Raises:
        PromptError: there are no positions.
        TooLongError: the text exceeds the context.
    """

    def __init__(
        self, pair: Pair, ids: Sequence[int], predicted: Sequence[int], direction: str = DIRECTIONS[0]
    ) -> None:
        if not predicted:
            raise PromptError("No token is left to score.", "Choose another mask or a longer answer.")
        if len(ids) > pair.max_positions:
            raise TooLongError(f"The text has {len(ids):,} tokens.", f"The context holds {pair.max_positions:,}.")
        self.pair, self.ids, self.predicted, self.direction = pair, tuple(ids), tuple(predicted), direction
        self._positions = [index - 1 for index in predicted]
        self.rows = 0
        whole = pair.tuned_gates() if direction == DIRECTIONS[0] else pair.base_gates()
        self._ends = Gates.stack([self._gates(()), whole])
        recipient, self._donor = self._walk(self._ends, None).hidden
        self.k_base = self._mean_kl(self._donor, recipient[None]).item()
        self.defined = self.k_base >= UNDEFINED_UNDER * noise_of(pair).kl
        self._known = {_key(self._ends.take([0])): self.k_base, _key(whole): 0.0}

    @cached_property
    def k_noise(self) -> float:
        """By how much K(∅) changes by another numerical route, nats; the route is run when this is first asked for."""
        recipient, donor = padded_prefill(self.pair, self.ids, self._ends)[:, self._positions]
        self.rows += (self._ends.n_rows + 1) * self.pair.n_layers
        return abs(self.k_base - self._mean_kl(donor, recipient[None]).item())

    @property
    def forwards_equivalent(self) -> float:
        """How many plain forward passes of one row were spent."""
        return self.rows / self.pair.n_layers

    def k(self, sets: Sequence[Collection[Unit]], progress: Progress | None = None) -> tuple[float, ...]:
        """K(S) of each set: mean KL(donor‖hybrid), nats.

        Args:
            sets: what to graft.
            progress: told the share done, 0..1; may raise to stop, and what was finished stays known.
        """
        rows = {_key(row): row for row in map(self._gates, sets)}
        # Sets with the same lowest layers stand together, so that a group of them shares its beginnings.
        wanted = sorted(key for key in rows if key not in self._known)
        state_bytes = len(self._positions) * self.pair.d_model * 4
        at_once = max(1, min(STATES_BYTES // state_bytes, self.pair.unembed.positions_at_once(_BYTES_PER_ENTRY)))
        for first in range(0, len(wanted), at_once):
            keys = wanted[first : first + at_once]
            tell = part_of(progress, first, len(keys), len(wanted))
            walked = self._walk(Gates.stack([rows[key] for key in keys]), tell)
            self._known.update(zip(keys, self._mean_kl(self._donor, walked.hidden).tolist(), strict=True))
        return tuple(self._known[_key(self._gates(units))] for units in sets)

    def recovery(self, sets: Sequence[Collection[Unit]], progress: Progress | None = None) -> tuple[float, ...]:
        """R(S) of each set; 0 for the empty one.

        Args:
            sets, progress: as for `k`.

        Raises:
            PromptError: recovery is undefined: the models hardly differ on this text.
        """
        if not self.defined:
            raise PromptError(
                f"There is no difference to recover: K(∅) is {self.k_base:.2g} nats, under five noise floors.",
                "Choose another text, or check that the adapter is on.",
            )
        return tuple(1 - k / self.k_base for k in self.k(sets, progress))

    def noise(self, recovery: float) -> float:
        """By how much a recovery moves with the noise of K(S) and K(∅)."""
        return self.k_noise * (1 + abs(1 - recovery)) / self.k_base

    def _gates(self, units: Collection[Unit]) -> Gates:
        return set_gates(self.pair.n_layers, units, self.direction)

    @torch.no_grad()
    def _walk(self, gates: Gates, progress: Progress | None) -> Walk:
        walked = walk(self.pair, self.ids, gates, self._positions, progress=progress)
        self.rows += walked.layer_rows
        return walked

    @torch.no_grad()
    def _mean_kl(self, donor: Tensor, states: Tensor) -> Tensor:
        """Mean KL from (positions, d_model) to each of (plans, positions, d_model): (plans,) float64."""
        unembed = self.pair.unembed
        step = max(1, unembed.positions_at_once(_BYTES_PER_ENTRY) // len(states))
        by_position = states.transpose(0, 1).contiguous()  # else one slow product a position
        pieces = zip(torch.split(donor, step), torch.split(by_position, step), strict=True)
        return torch.cat([kl_to_rows_(unembed(p), unembed(q)) for p, q in pieces]).mean(dim=0)


def _key(gates: Gates) -> bytes:
    return gates.values.numpy().tobytes()
