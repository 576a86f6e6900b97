"""How often base and tuned would part on one text if they drew with the same noise.

A coupled draw differs where the distributions do, but also now and then on a tiny difference between two words that
are nearly tied; so the rate stands beside the mean total variation, which no way of coupling can go below. Knows pairs
and coupled sampling; knows nothing of who wrote the text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.errors import PromptError, TooLongError
from core.generate.sampling import Sampling, check_coupled, coupled_choices, sampled_logits
from core.measure.divergence import total_variation
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.parts import MASKS, Mask
from core.pair.prompts import Prompt
from core.pair.routes import padded_prefill, prefill

# Both models' float32 logits, the filters' sorted copies, and float64 probabilities of both, per vocabulary entry.
_BYTES_PER_ENTRY = 96


@dataclass(frozen=True)
class Parting:
    """Base against tuned under one noise, over the masked tokens of a text; null where there are none.

    Attributes:
        rate: share of tokens at which the two would choose differently, 0..1. Over many seeds its mean lies between
            mean_tv and the mean of 2·TV/(1 + TV).
        rate_noise: how much it changes when the text is run by another numerical route.
        mean_tv: mean total variation of the distributions drawn from, after temperature and top-p, 0..1.
        mean_tv_noise: how much that changes.
        n: how many tokens.
    """

    rate: float | None
    rate_noise: float | None
    mean_tv: float | None
    mean_tv_noise: float | None
    n: int


@torch.no_grad()
def parting(
    pair: Pair, prompt: Prompt, answer_ids: Sequence[int], sampling: Sampling, mask: Mask = "response"
) -> Parting:
    """Runs both models on an answer and lets both choose at every token of it.

    Args:
        pair: the models.
        prompt: the question.
        answer_ids: the answer; its token t is chosen with the noise of step t, as when it is written.
        sampling: coupled.
        mask: which of the answer's tokens count.

    Raises:
        ArgumentError: the sampling is not coupled.
        TooLongError: prompt and answer together exceed the context.
        PromptError: there is no such mask.

    Source: Daliri, Musco & Musco 2024 (bounds of the Gumbel coupling).
    """
    check_coupled(sampling)
    if mask not in MASKS:
        raise PromptError(f"There is no mask {mask!r}.", f"Use one of {', '.join(MASKS)}.")
    length = len(prompt.ids) + len(answer_ids)
    if length > pair.max_positions:
        raise TooLongError(
            f"Prompt and answer have {length:,} tokens; the context holds {pair.max_positions:,}.", "Shorten them."
        )
    parts = pair.prompts.answer_parts(answer_ids, prompt).parts
    masked = [index for index, part in enumerate(parts) if part in MASKS[mask]]
    if not masked:
        return Parting(None, None, None, None, 0)
    ids = (*prompt.ids, *answer_ids)
    (rate, tv), (rate_again, tv_again) = (
        _rate_and_tv(pair, ids, len(prompt.ids), masked, sampling, route) for route in (prefill, padded_prefill)
    )
    return Parting(rate, abs(rate - rate_again), tv, abs(tv - tv_again), len(masked))


def _rate_and_tv(
    pair: Pair,
    ids: Sequence[int],
    n_prompt: int,
    masked: Sequence[int],
    sampling: Sampling,
    route: Callable[[Pair, Sequence[int], Gates], Tensor],
) -> tuple[float, float]:
    both = Gates.stack([pair.base_gates(), pair.tuned_gates()])
    base, tuned = route(pair, ids, both)[:, n_prompt - 1 : -1]
    differs = torch.empty(len(base), dtype=torch.float64)
    distance = torch.empty(len(base), dtype=torch.float64)
    step = pair.unembed.positions_at_once(_BYTES_PER_ENTRY)
    for start in range(0, len(base), step):
        here = slice(start, start + step)
        logits = [pair.unembed(states[here]) for states in (base, tuned)]
        chosen = [torch.tensor(coupled_choices(sampling, found, start)) for found in logits]
        differs[here] = (chosen[0] != chosen[1]).double()
        drawn = [sampled_logits(sampling, found) for found in logits]
        distance[here] = total_variation(drawn[1], drawn[0])
    return float(differs[masked].mean()), float(distance[masked].mean())
