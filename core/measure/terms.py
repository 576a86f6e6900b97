"""One prediction taken apart: what of its divergence comes from which word of the vocabulary.

The terms of KL(tuned‖base) add up to it; those above 0 are words fine-tuning made likelier, those below 0 words it
made rarer. Knows the logits of one position; knows no text.
"""

from dataclasses import dataclass

from torch import Tensor

from core.measure.divergence import kl_word_terms, log_softmax
from core.pair.prompts import PromptBuilder

SHOWN = 10


@dataclass(frozen=True)
class Term:
    """One word's share of a divergence.

    Attributes:
        id, text: the token.
        term: p_t ln(p_t/p_b), nats.
        p_base, p_tuned: its probability under each model.
        rank_base, rank_tuned: its place under each; 1 is the first choice.
    """

    id: int
    text: str
    term: float
    p_base: float
    p_tuned: float
    rank_base: int
    rank_tuned: int


@dataclass(frozen=True)
class Terms:
    """A divergence by words.

    Attributes:
        kl: KL(tuned‖base), nats: the sum of all terms.
        gained, lost: the largest terms above 0 and the most negative below it, in order.
        other_gained, other_lost: sum of the terms above and below 0 that are not listed.
        end_base, end_tuned: probability of ending the turn.
    """

    kl: float
    gained: tuple[Term, ...]
    lost: tuple[Term, ...]
    other_gained: float
    other_lost: float
    end_base: float
    end_tuned: float


def vocabulary_terms(base: Tensor, tuned: Tensor, prompts: PromptBuilder, n: int = SHOWN) -> Terms:
    """Terms of KL(tuned‖base) from the two models' (d_vocab,) float32 logits."""
    log_base, log_tuned = log_softmax(base).cpu(), log_softmax(tuned).cpu()
    p_base, p_tuned = log_base.exp(), log_tuned.exp()
    terms = kl_word_terms(tuned, base).cpu()
    order = terms.argsort(descending=True)
    gained = [int(k) for k in order[:n] if terms[k] > 0]
    lost = [int(k) for k in order.flip(0)[:n] if terms[k] < 0]

    def of(k: int) -> Term:
        return Term(
            k, prompts.pieces([k])[0].text, float(terms[k]), float(p_base[k]), float(p_tuned[k]),
            int((log_base > log_base[k]).sum()) + 1, int((log_tuned > log_tuned[k]).sum()) + 1,
        )  # fmt: skip

    above, below = float(terms[terms > 0].sum()), float(terms[terms < 0].sum())
    ends = list(prompts.end_ids)
    return Terms(
        kl=above + below,
        gained=tuple(of(k) for k in gained),
        lost=tuple(of(k) for k in lost),
        other_gained=above - float(terms[gained].sum()),
        other_lost=below - float(terms[lost].sum()),
        end_base=float(p_base[ends].sum()),
        end_tuned=float(p_tuned[ends].sum()),
    )
