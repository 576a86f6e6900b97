"""The tokens of a scored text as rows: what each is, how far the models part there, and the words it is about.

Knows token scores and the extreme terms of a divergence; knows no model.
"""

from collections.abc import Sequence

from core.measure.positions import ExtremeTerms
from core.measure.tokens import TokenScore
from core.pair.prompts import PromptBuilder
from core.study.schema import Row


def token_rows(
    tokens: Sequence[TokenScore], terms: ExtremeTerms, parted: Sequence[bool], prompts: PromptBuilder
) -> list[Row]:
    """One row a token of a text, headings and end of turn included.

    Args:
        tokens: the text's, without the prompt.
        terms: of the predictions of these tokens.
        parted: whether both models would have drawn different tokens there under one noise.
        prompts: the pair's texts.

    Returns:
        Rows of the table `tokens` but for its key. Where nothing gained or lost, no word is named.
    """
    gained, lost = (
        [piece.text for piece in prompts.pieces(ids.tolist())] for ids in (terms.gained_ids, terms.lost_ids)
    )
    more = zip(gained, terms.gained.tolist(), lost, terms.lost.tolist(), parted, strict=True)
    return [
        {
            "token": number,
            "id": token.id,
            "text": token.text,
            "part": token.part,
            "kl": token.kl_tuned_base,
            "kl_reverse": token.kl_base_tuned,
            "js": token.js,
            "tv": token.tv,
            "entropy_base": token.entropy_base,
            "entropy_tuned": token.entropy_tuned,
            "logp_base": token.logp_base,
            "logp_tuned": token.logp_tuned,
            "rank_base": token.rank_base,
            "rank_tuned": token.rank_tuned,
            "end_base": token.end_base,
            "end_tuned": token.end_tuned,
            "first_base": token.top_base[0].text if token.top_base else None,
            "first_base_id": token.top_base[0].id if token.top_base else None,
            "first_tuned": token.top_tuned[0].text if token.top_tuned else None,
            "first_tuned_id": token.top_tuned[0].id if token.top_tuned else None,
            "parted": parts,
            "gained": gained_text if gained_term > 0 else None,
            "gained_term": gained_term,
            "lost": lost_text if lost_term < 0 else None,
            "lost_term": lost_term,
        }
        for number, (token, (gained_text, gained_term, lost_text, lost_term, parts)) in enumerate(
            zip(tokens, more, strict=True)
        )
    ]
