"""Token scores: what every token of a text is, and how far the two models part on it.

Knows texts, parts and positions; the arithmetic is in `positions` and `divergence`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from core.measure.positions import PositionScores
from core.pair.parts import Part
from core.pair.prompts import PromptBuilder


@dataclass(frozen=True)
class Choice:
    """One of a model's first choices: token id, text, natural log-probability."""

    id: int
    text: str
    logp: float


@dataclass(frozen=True)
class TokenScore:
    """One token of a text.

    The scores at `pos` are of the distributions that predicted token `pos`; all are null where nothing predicted
    it (position 0). Divergences and entropies are in nats, `js_distance` (√ of JS in bits), `tv`, `end_base` and
    `end_tuned` (probability of ending the turn here) are pure numbers, ranks count from 1.
    """

    pos: int
    id: int
    text: str
    bytes: str
    part: Part
    kl_tuned_base: float | None = None
    kl_base_tuned: float | None = None
    js: float | None = None
    js_distance: float | None = None
    tv: float | None = None
    entropy_base: float | None = None
    entropy_tuned: float | None = None
    logp_base: float | None = None
    logp_tuned: float | None = None
    delta_logp: float | None = None
    rank_base: int | None = None
    rank_tuned: int | None = None
    end_base: float | None = None
    end_tuned: float | None = None
    top_base: tuple[Choice, ...] | None = None
    top_tuned: tuple[Choice, ...] | None = None

    @property
    def rank_class(self) -> float | None:
        """Place of the token in base's list: 0 unshifted (1), 1 marginal (2–3), 2 shifted (> 3) (Lin et al. 2023)."""
        return None if self.rank_base is None else float((self.rank_base > 1) + (self.rank_base > 3))


def token_scores(
    prompts: PromptBuilder, ids: Sequence[int], parts: Sequence[Part], scores: PositionScores | None, first: int
) -> tuple[TokenScore, ...]:
    """Tokens with their scores.

    Args:
        prompts: the pair's texts.
        ids, parts: the tokens, of equal length.
        scores: of positions `first`, `first` + 1, …; must reach the end. None where there are none yet.
        first: the first scored position; tokens before it have no scores.
    """
    columns = {name: values.tolist() for name, values in scores.values.items()} if scores else {}
    tops = {model: _choices(prompts, scores, model) for model in ("base", "tuned")} if scores else {}
    tokens = []
    for pos, (token_id, part, piece) in enumerate(zip(ids, parts, prompts.pieces(ids), strict=True)):
        index = pos - first
        token = TokenScore(pos, token_id, piece.text, piece.bytes, part)
        if index >= 0 and columns:
            numbers = {name: column[index] for name, column in columns.items()}
            numbers |= {name: int(numbers[name]) for name in ("rank_base", "rank_tuned")}
            token = TokenScore(
                pos, token_id, piece.text, piece.bytes, part,
                **numbers, top_base=tops["base"][index], top_tuned=tops["tuned"][index],
            )  # fmt: skip
        tokens.append(token)
    return tuple(tokens)


def _choices(prompts: PromptBuilder, scores: PositionScores, model: str) -> list[tuple[Choice, ...]]:
    return [
        tuple(Choice(i, piece.text, logp) for i, piece, logp in zip(ids, prompts.pieces(ids), logps, strict=True))
        for ids, logps in zip(scores.top_ids[model].tolist(), scores.top_logp[model].tolist(), strict=True)
    ]
