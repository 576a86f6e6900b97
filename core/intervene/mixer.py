"""One text under hybrids that change a little at a time: what a live mixer needs.

Keeps what enters every layer of the recipient, so that a hybrid is run only from its lowest changed layer up. Knows
one text; decodes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.errors import PromptError
from core.intervene.contrast import Contrast
from core.intervene.plans import Plan
from core.intervene.recovery import PlanResult, plan_result
from core.pair.blocks import Blocks
from core.pair.gates import DIRECTIONS, Gates
from core.pair.pair import Pair
from core.pair.routes import padded_prefill

KEPT_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Mixed:
    """One hybrid on the mixer's text.

    Attributes:
        result: its recovery over all positions.
        kl: KL(donor‖hybrid) at each position, nats, in the order of `Mixer.predicted`.
    """

    result: PlanResult
    kl: tuple[float, ...]


class Mixer:
    """A text between two models.

    Args:
        pair: the models.
        ids: prompt and answer.
        predicted: indices of the tokens whose predictions count; none of them 0.
        direction: what is grafted into what.

    Attributes:
        predicted: as given.
        kl_base: KL(donor‖recipient) at each position, nats.
        k_base, k_noise: its mean, and by how much that changes by another numerical route.
        defined: whether there is a difference to recover.

    Raises:
        PromptError: there are no positions.
    """

    @torch.no_grad()
    def __init__(self, pair: Pair, ids: Sequence[int], predicted: Sequence[int], direction: str = DIRECTIONS[0]):
        if not predicted:
            raise PromptError("No token is left to score.", "Choose another part of the text or a longer answer.")
        self.predicted, self._pair = tuple(predicted), pair
        into_base = direction == DIRECTIONS[0]
        base, tuned = pair.base_gates(), pair.tuned_gates()
        self._recipient = base if into_base else tuned
        ends = Gates.stack([base, tuned] if into_base else [tuned, base])
        self._blocks = Blocks(pair, ids)
        self._where = torch.tensor([index - 1 for index in predicted], device=self._blocks.start().device)
        last = self._walk_ends(ends)
        again = padded_prefill(pair, ids, ends)[:, self._where]
        self._contrast = Contrast(pair, last[0], last[1], again, [ids[index] for index in predicted])
        self.kl_base = tuple(self._contrast.kl_base.tolist())
        self.k_base, self.k_noise, self.defined = (
            self._contrast.k_base,
            self._contrast.k_noise,
            self._contrast.defined,
        )

    def _walk_ends(self, ends: Gates) -> Tensor:
        """Runs both models once; keeps what enters each layer of the recipient, every k-th where that is too much."""
        start = self._blocks.start()
        states = start.expand(2, -1, -1)
        n_layers = self._pair.n_layers
        every = max(1, -(-n_layers * start.numel() * start.element_size() // KEPT_BYTES))
        self._kept: dict[int, Tensor] = {}
        for layer in range(n_layers):
            if layer % every == 0:
                self._kept[layer] = states[:1].clone()
            states = self._blocks.layer(layer, states, ends)
        return self._blocks.finish(states[:, self._where])

    @torch.no_grad()
    def mix(self, plan: Plan, gates: Gates) -> Mixed:
        """The text under one hybrid.

        Args:
            plan: what it is called.
            gates: one row.
        """
        changed = (gates.values != self._recipient.values).flatten(2).any(-1)[0]
        lowest = int(changed.nonzero()[0]) if bool(changed.any()) else self._pair.n_layers - 1
        first = max(layer for layer in self._kept if layer <= lowest)
        states = self._kept[first]
        before = self._blocks.n_rows_run
        for layer in range(first, self._pair.n_layers):
            states = self._blocks.layer(layer, states, gates)
        hidden = self._blocks.finish(states[0, self._where])
        effect = self._contrast.of_rows(hidden[None])[0]
        return Mixed(plan_result(plan, effect, self._contrast, self._blocks.n_rows_run - before), effect.kl)
