"""How much of the change from base to tuned a set of grafted layers brings back.

Knows plans and one text; knows nothing of how plans were chosen, and leaves the measuring to `Contrast`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from core.errors import PromptError
from core.intervene.contrast import Contrast, Effect
from core.intervene.plans import Plan
from core.intervene.walk import walk
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.routes import padded_prefill


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
        logp: mean log-probability of the text's own tokens under the hybrid, nats.
        logp_recovery: how much of its change from recipient to donor comes back; null where that change is under five
            times its noise.
        kl: KL(donor‖hybrid) at each position, nats.
    """

    name: str
    layers: str
    part: str
    k: float
    recovery: float | None
    recovery_noise: float | None
    logit_difference_recovery: float | None
    layer_rows: int
    logp: float | None
    logp_recovery: float | None
    kl: tuple[float, ...]


@dataclass(frozen=True)
class Sweep:
    """Several plans on one text.

    Attributes:
        k_base: K(∅): mean KL of the untouched recipient from the donor.
        k_noise: by how much K(∅) changes by another numerical route.
        results: one a plan, in their order.
        layer_rows, forwards_equivalent: what it cost.
        logp_recipient, logp_donor: mean log-probability of the text's own tokens, nats.
        kl_base: KL(donor‖recipient) at each position, nats.
        shared: whether plans shared the layers on which they agree; False where this architecture's layers cannot be
            run one at a time, so that each plan took a forward pass of its own.
    """

    k_base: float
    k_noise: float
    results: tuple[PlanResult, ...]
    layer_rows: int
    forwards_equivalent: float
    logp_recipient: float | None
    logp_donor: float | None
    kl_base: tuple[float, ...]
    shared: bool


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
    contrast = Contrast(pair, walked.hidden[0], walked.hidden[1], again, [ids[index] for index in predicted])
    ends, effects = contrast.of_rows(walked.hidden[:2]), contrast.of_rows(walked.hidden[2:])
    results = tuple(
        plan_result(plan, effect, contrast, rows)
        for plan, effect, rows in zip(plans, effects, walked.rows_by_plan[2:], strict=True)
    )
    return Sweep(
        k_base=contrast.k_base,
        k_noise=contrast.k_noise,
        results=results,
        layer_rows=walked.layer_rows,
        forwards_equivalent=walked.forwards_equivalent,
        logp_recipient=ends[0].logp,
        logp_donor=ends[1].logp,
        kl_base=ends[0].kl,
        shared=walked.shared,
    )


def plan_result(plan: Plan, effect: Effect, contrast: Contrast, layer_rows: int) -> PlanResult:
    """What a hybrid's effect says of its plan."""
    return PlanResult(
        name=plan.name,
        layers=plan.layers,
        part=plan.part,
        k=effect.k,
        recovery=effect.kl_recovery,
        recovery_noise=contrast.noise(effect.k),
        logit_difference_recovery=effect.logit_difference_recovery,
        layer_rows=layer_rows,
        logp=effect.logp,
        logp_recovery=effect.logp_recovery,
        kl=effect.kl,
    )
