"""One token, questioned: what each model would have written there, which words carry the divergence, which layers.

Knows one position of one text; how it is asked and shown is not its business.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.errors import PromptError, TooLongError
from core.intervene.attribution import attribute_contrast
from core.intervene.plans import sweep_plans
from core.intervene.recovery import Sweep, sweep
from core.measure.divergence import log_softmax
from core.measure.terms import Terms, vocabulary_terms
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.routes import prefill

TOP = 10


@dataclass(frozen=True)
class RankedChoice:
    """One of a model's first choices, with its place in the others' lists.

    Attributes:
        id, text, logp: the token, and its log-probability under the model whose choice it is.
        ranks: model → its place there; 1 is the first choice.
    """

    id: int
    text: str
    logp: float
    ranks: dict[str, int]


@dataclass(frozen=True)
class Why:
    """One prediction under base, fine-tuned and perhaps a hybrid.

    Attributes:
        pos: index of the predicted token.
        token_id, token_text: what was written there.
        written: model → rank and log-probability of the written token, as `(rank, logp)`.
        choices: model → its ten first choices.
        terms: KL(tuned‖base) by words of the vocabulary.
        gained_id, lost_id: the contrast: the words with the largest gained and the largest lost term.
        contrast_base, contrast_tuned: logit(gained) − logit(lost) of each model.
        attribution: n_layers × [attn, mlp]: first-order effect on that difference of grafting each part into base.
    """

    pos: int
    token_id: int
    token_text: str
    written: dict[str, tuple[int, float]]
    choices: dict[str, tuple[RankedChoice, ...]]
    terms: Terms
    gained_id: int
    lost_id: int
    contrast_base: float
    contrast_tuned: float
    attribution: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class LayerEffects:
    """Exact effects of single layers on one prediction; `alone` grafts one layer, `without` all but one."""

    alone: Sweep
    without: Sweep


@torch.no_grad()
def why(pair: Pair, ids: Sequence[int], pos: int, hybrid: Gates | None = None) -> Why:
    """Takes one prediction apart.

    Args:
        pair: the models.
        ids: prompt and answer.
        pos: index of the predicted token, from 1.
        hybrid: one row of gates to show beside base and tuned.

    Raises:
        PromptError: that token has no score: it is the first, or beyond the text.
        TooLongError: the text exceeds the context.
    """
    check_position(pair, ids, pos)
    models = {"base": pair.base_gates()} | ({"hybrid": hybrid} if hybrid else {}) | {"tuned": pair.tuned_gates()}
    states = prefill(pair, ids[:pos], Gates.stack(list(models.values())))[:, -1]
    logits = dict(zip(models, pair.unembed(states), strict=True))
    terms = vocabulary_terms(logits["base"], logits["tuned"], pair.prompts)
    gained = terms.gained[0].id if terms.gained else int(logits["tuned"].argmax())
    lost = terms.lost[0].id if terms.lost else int(logits["base"].argmax())
    contrast = {name: float(values[gained] - values[lost]) for name, values in logits.items()}
    logp = {name: log_softmax(values).cpu() for name, values in logits.items()}
    attribution = attribute_contrast(pair, ids, pos, gained, lost).by_part()
    return Why(
        pos=pos,
        token_id=ids[pos],
        token_text=pair.prompts.pieces([ids[pos]])[0].text,
        written={name: (_rank(values, ids[pos]), float(values[ids[pos]])) for name, values in logp.items()},
        choices={name: _choices(pair, name, logp) for name in logp},
        terms=terms,
        gained_id=gained,
        lost_id=lost,
        contrast_base=contrast["base"],
        contrast_tuned=contrast["tuned"],
        attribution=tuple((float(attn), float(mlp)) for attn, mlp in attribution),
    )


def layer_effects(
    pair: Pair, ids: Sequence[int], pos: int, progress: Callable[[float], None] | None = None
) -> LayerEffects:
    """Grafts every layer alone, and all but each, and sees what becomes of one prediction.

    Args:
        pair, ids, pos: as for `why`.
        progress: told the share done, 0..1; may raise to stop.

    Raises:
        PromptError, TooLongError: as `why`.
    """
    check_position(pair, ids, pos)
    before = list(ids[: pos + 1])
    tell = progress or (lambda share: None)
    alone = sweep(pair, before, [pos], sweep_plans("single", pair.n_layers), lambda s: tell(s / 2))
    without = sweep(pair, before, [pos], sweep_plans("leave-one-out", pair.n_layers), lambda s: tell(0.5 + s / 2))
    return LayerEffects(alone, without)


def check_position(pair: Pair, ids: Sequence[int], pos: int) -> None:
    """Raises `PromptError` or `TooLongError` where a position has no score."""
    if not 1 <= pos < len(ids):
        raise PromptError(
            f"Token {pos} has no score.", f"The text has tokens 0 to {len(ids) - 1}; the first one is not predicted."
        )
    if len(ids) > pair.max_positions:
        raise TooLongError(f"The text has {len(ids):,} tokens.", f"The context holds {pair.max_positions:,}.")


def _rank(logp: Tensor, token: int) -> int:
    return int((logp > logp[token]).sum()) + 1


def _choices(pair: Pair, model: str, logp: dict[str, Tensor]) -> tuple[RankedChoice, ...]:
    found = logp[model].topk(TOP)
    texts = [piece.text for piece in pair.prompts.pieces(found.indices.tolist())]
    return tuple(
        RankedChoice(int(token), text, float(value), {name: _rank(values, int(token)) for name, values in logp.items()})
        for token, text, value in zip(found.indices, texts, found.values, strict=True)
    )
