"""How much of the change from base to tuned a set of grafted layers brings back.

Knows hidden states of plans and of the two models; knows nothing of how plans were chosen.

Source: recovery as a ratio of mean divergences, 1 − K(S)/K(∅); logit difference as in Zhang & Nanda 2023.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.errors import PromptError
from core.intervene.plans import Plan
from core.intervene.walk import walk
from core.measure.against import kl_to_rows_
from core.measure.noise import noise_of
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.routes import padded_prefill

UNDEFINED_UNDER = 5.0
"""Recovery is undefined where the change itself is under so many noise floors."""
_BYTES_PER_ENTRY = 64


@dataclass(frozen=True)
class PlanResult:
    """One plan on one text.

    Attributes:
        name: as "single 20 mlp".
        layers, part: what was grafted.
        k: mean KL(donor‖hybrid) over the positions, nats; the donor is tuned, or base where base goes into tuned.
        recovery: 1 − k/K(∅); null where K(∅) is under five noise floors: there is no difference to recover.
        recovery_noise: by how much recovery moves with the noise of k and K(∅).
        logit_difference_recovery: null where no position has a contrast above noise.
        layer_rows: rows of layers this plan was the first to need.
    """

    name: str
    layers: str
    part: str
    k: float
    recovery: float | None
    recovery_noise: float | None
    logit_difference_recovery: float | None
    layer_rows: int


@dataclass(frozen=True)
class Sweep:
    """Several plans on one text.

    Attributes:
        k_base: K(∅): mean KL of the untouched recipient from the donor.
        k_noise: by how much K(∅) changes by another numerical route.
        results: one a plan, in their order.
        layer_rows, forwards_equivalent: what it cost.
    """

    k_base: float
    k_noise: float
    results: tuple[PlanResult, ...]
    layer_rows: int
    forwards_equivalent: float


@torch.no_grad()
def sweep(
    pair: Pair,
    ids: Sequence[int],
    predicted: Sequence[int],
    plans: Sequence[Plan],
    progress: Callable[[float], None] | None = None,
) -> Sweep:
    """Recovery of each plan over some positions of a text.

    All plans go from the same model towards the same other one.

    Args:
        pair: the models.
        ids: prompt and answer.
        predicted: indices of the tokens whose predictions count; none of them 0.
        plans: what to graft.
        progress: told the share done, 0..1; may raise to stop.

    Raises:
        PromptError: there are no positions.
    """
    if not predicted:
        raise PromptError("No token is left to score.", "Choose another mask or a longer answer.")
    into_base = plans[0].direction == "tuned-into-base"
    recipient, donor = (pair.base_gates(), pair.tuned_gates()) if into_base else (pair.tuned_gates(), pair.base_gates())
    gates = Gates.stack([recipient, donor, *(plan.gates(pair.n_layers) for plan in plans)])
    positions = [index - 1 for index in predicted]
    walked = walk(pair, ids, gates, positions, progress=progress)
    again = padded_prefill(pair, ids, Gates.stack([recipient, donor]))[:, positions]
    contrast = Contrast(pair, walked.hidden[0], walked.hidden[1], again)
    results = tuple(
        contrast.result(plan, states, rows)
        for plan, states, rows in zip(plans, walked.hidden[2:], walked.rows_by_plan[2:], strict=True)
    )
    return Sweep(contrast.k_base, contrast.k_noise, results, walked.layer_rows, walked.forwards_equivalent)


class Contrast:
    """Recipient and donor at some positions, and any hybrid held against them.

    Args:
        pair: for the unembedding and the noise floor.
        recipient, donor: (positions, d_model) hidden states.
        again: the same two by another numerical route, (2, positions, d_model).
    """

    def __init__(self, pair: Pair, recipient: Tensor, donor: Tensor, again: Tensor) -> None:
        self._pair, self._donor = pair, donor
        self._step = pair.unembed.positions_at_once(_BYTES_PER_ENTRY)
        self.kl_base = self.kl(recipient)
        self.k_base = float(self.kl_base.mean())
        kl_again = self._between(again[1], again[0])
        self.k_noise = abs(self.k_base - float(kl_again.mean()))
        self.defined = self.k_base >= UNDEFINED_UNDER * noise_of(pair).kl
        self._words = self._contrasted(recipient)
        ld = [self._logit_difference(states) for states in (recipient, donor)]
        ld_noise = [self._logit_difference(states) for states in again]
        moved = (ld[1] - ld[0]).abs()
        self._counts = moved > UNDEFINED_UNDER * torch.stack(
            [(a - b).abs() for a, b in zip(ld, ld_noise, strict=True)]
        ).amax(0)
        self._ld_recipient, self._ld_donor = ld

    def kl(self, states: Tensor) -> Tensor:
        """KL(donor‖hybrid) at each position, (positions,) float64 on the CPU."""
        return self._between(self._donor, states)

    def result(self, plan: Plan, states: Tensor, layer_rows: int) -> PlanResult:
        """Recovery of one hybrid."""
        k = float(self.kl(states).mean())
        recovery = 1 - k / self.k_base if self.defined else None
        noise = None if recovery is None else self.k_noise * (1 + abs(k) / self.k_base) / self.k_base
        return PlanResult(
            plan.name, plan.layers, plan.part, k, recovery, noise, self._logit_recovery(states), layer_rows
        )

    def _between(self, p: Tensor, q: Tensor) -> Tensor:
        unembed = self._pair.unembed
        pieces = zip(torch.split(p, self._step), torch.split(q, self._step), strict=True)
        return torch.cat([kl_to_rows_(unembed(a), unembed(b).unsqueeze(1))[:, 0] for a, b in pieces]).cpu()

    def _contrasted(self, recipient: Tensor) -> Tensor:
        """Per position the token with the largest gained and the one with the largest lost term, (positions, 2)."""
        found = []
        for start in range(0, len(recipient), self._step):
            here = slice(start, start + self._step)
            donor, own = (torch.log_softmax(self._pair.unembed(s[here]).double(), -1) for s in (self._donor, recipient))
            terms = donor.exp() * (donor - own)
            found.append(torch.stack([terms.argmax(-1), terms.argmin(-1)], dim=-1))
        return torch.cat(found)

    def _logit_difference(self, states: Tensor) -> Tensor:
        found = []
        for start in range(0, len(states), self._step):
            here = slice(start, start + self._step)
            logits = self._pair.unembed(states[here]).gather(-1, self._words[here]).double()
            found.append(logits[:, 0] - logits[:, 1])
        return torch.cat(found).cpu()

    def _logit_recovery(self, states: Tensor) -> float | None:
        if not bool(self._counts.any()):
            return None
        moved = (self._logit_difference(states) - self._ld_recipient)[self._counts].sum()
        return float(moved / (self._ld_donor - self._ld_recipient)[self._counts].sum())
