"""Where base and tuned part on one text: the token table and its summaries.

Runs both models once on the same ids, and once more by another numerical route so that each figure has its noise
beside it. Knows pairs and scores; knows nothing of how answers are generated or shown.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from core.errors import PromptError, TooLongError
from core.measure.noise import noise_of
from core.measure.positions import PositionScores, score_positions
from core.measure.summary import (
    Bin,
    Choices,
    Concentration,
    Summary,
    binned_kl,
    concentration,
    first_choices,
    summarise,
    summarise_tokens,
)
from core.measure.tokens import TokenScore, token_scores
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.parts import MASKS, Mask, Part
from core.pair.prompts import Prompt
from core.pair.routes import padded_prefill, prefill


@dataclass(frozen=True)
class Diff:
    """Base against tuned on one text.

    Attributes:
        tokens: every token from position 0, prompt included.
        mask: which parts the summaries cover.
        summary: by metric, over the mask.
        summary_with_format: the same with headings (`format` tokens) counted in.
        concentration: of ΣKL(tuned‖base) over the mask.
        choices: first choices over the mask.
        by_position: KL over fifths of the masked tokens, by their relative place 0..1.
        by_entropy: KL over fifths of the tokens, by entropy of base.
        by_part: part → KL(tuned‖base) over its tokens, whatever the mask.
        reasoning_finished: whether the reasoning was closed; null where there is none.
    """

    tokens: tuple[TokenScore, ...]
    mask: Mask
    summary: dict[str, Summary]
    summary_with_format: dict[str, Summary]
    concentration: Concentration
    choices: Choices
    by_position: tuple[Bin, ...]
    by_entropy: tuple[Bin, ...]
    by_part: dict[str, Summary]
    reasoning_finished: bool | None


@torch.no_grad()
def diff(
    pair: Pair,
    prompt: Prompt,
    answer_ids: Sequence[int],
    mask: Mask = "response",
    look: Callable[[Tensor], None] | None = None,
) -> Diff:
    """Scores every token of prompt and answer.

    Args:
        pair: the two models.
        prompt: the question.
        answer_ids: the answer whose tokens are scored; whose text it is, the caller knows.
        mask: parts that enter the summaries.
        look: given the hidden states the scores are made of, (2, pos, d_model), base first, for whoever wants more of
            them.

    Raises:
        TooLongError: prompt and answer together exceed the context.
        PromptError: there is no such mask, or the answer is empty.
    """
    if mask not in MASKS:
        raise PromptError(f"There is no mask {mask!r}.", f"Use one of {', '.join(MASKS)}.")
    if not answer_ids:
        raise PromptError("The answer is empty: there is nothing to score.", "Give an answer of at least one token.")
    ids = (*prompt.ids, *answer_ids)
    if len(ids) > pair.max_positions:
        raise TooLongError(
            f"Prompt and answer have {len(ids):,} tokens; the context holds {pair.max_positions:,}.", "Shorten them."
        )
    answer = pair.prompts.answer_parts(answer_ids, prompt)
    parts = (*prompt.parts, *answer.parts)
    both = Gates.stack([pair.base_gates(), pair.tuned_gates()])
    written = pair.ids([ids[1:]])[0]
    states = prefill(pair, ids, both)
    if look:
        look(states)
    tokens, again = (
        token_scores(pair.prompts, ids, parts, _scored(pair, route, written), first=1)
        for route in (states, padded_prefill(pair, ids, both))
    )
    with_format = (*MASKS[mask], "format")
    masked, masked_again = _in_parts(tokens, MASKS[mask]), _in_parts(again, MASKS[mask])
    kl = [t.kl_tuned_base or 0.0 for t in masked]
    return Diff(
        tokens=tokens,
        mask=mask,
        summary=summarise_tokens(masked, masked_again),
        summary_with_format=summarise_tokens(_in_parts(tokens, with_format), _in_parts(again, with_format)),
        concentration=concentration(kl, floor=5 * noise_of(pair).kl),
        choices=first_choices(masked),
        by_position=binned_kl([k / max(len(kl) - 1, 1) for k in range(len(kl))], kl),
        by_entropy=binned_kl([t.entropy_base or 0.0 for t in masked], kl),
        by_part=_by_part(tokens, again),
        reasoning_finished=answer.reasoning_finished,
    )


def _by_part(tokens: Sequence[TokenScore], again: Sequence[TokenScore]) -> dict[str, Summary]:
    present = [part for part in get_args(Part) if any(t.part == part for t in tokens)]
    found = {part: (_in_parts(tokens, (part,)), _in_parts(again, (part,))) for part in present}
    return {part: summarise(*([t.kl_tuned_base or 0.0 for t in own] for own in both)) for part, both in found.items()}


def _scored(pair: Pair, hidden: Tensor, written: Tensor) -> PositionScores:
    return score_positions(pair.unembed, hidden[0, :-1], hidden[1, :-1], written, pair.prompts.end_ids)


def _in_parts(tokens: Sequence[TokenScore], parts: Sequence[str]) -> list[TokenScore]:
    return [t for t in tokens if t.part in parts and t.kl_tuned_base is not None]
