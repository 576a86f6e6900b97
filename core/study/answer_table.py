"""One text scored under both models, as a row: how far they part on it and what it holds.

Knows the figures of `diff`; sums them up, computes no others.
"""

from collections.abc import Sequence
from dataclasses import asdict
from math import fsum

from core.measure.answer_text import answer_figures
from core.measure.diff import Diff
from core.measure.tokens import TokenScore
from core.pair.pair import Pair
from core.pair.parts import MASKS
from core.pair.prompts import Prompt
from core.study.explanation import explanation
from core.study.schema import Row
from core.study.words_table import token_texts
from core.study.written import BOTH

_ENDS = ("end_base", "end_tuned")
_MEANS = ("js", "js_distance", "tv", "entropy_base", "entropy_tuned")


def answer_row(pair: Pair, prompt: Prompt, ids: Sequence[int], found: Diff) -> Row:
    """The row of one text, but for its key, whose it is and what only writing it tells.

    Sums and `tokens` are over reasoning and answer tokens, without headings and end of turn; where a text has none of
    the one or of the other, its sum alone is None.

    Args:
        pair: the models.
        prompt: the question.
        ids: the text.
        found: its scores, under the mask `response`.
    """
    tokens = found.tokens[len(prompt.ids) :]
    masked = [token for token in tokens if token.part in MASKS["response"]]
    question = [token for token in found.tokens[: len(prompt.ids)] if token.part in MASKS["prompt"]]
    kl, with_format = found.summary["kl_tuned_base"], found.summary_with_format["kl_tuned_base"]
    figures = asdict(answer_figures(pair.prompts, prompt, ids))
    stretches = {part: _text_of(tokens, part) for part in MASKS["response"]}
    explained = explanation(list(stretches.items()))
    return {
        "text": pair.prompts.text(ids),
        "ids": list(ids),
        "tokens": kl.n,
        "kl_sum": kl.sum or 0.0,
        "kl_reverse_sum": found.summary["kl_base_tuned"].sum or 0.0,
        "kl_reverse_noise": found.summary["kl_base_tuned"].noise,
        "kl_question_sum": fsum(token.kl_tuned_base or 0.0 for token in question),
        "question_tokens": sum(token.kl_tuned_base is not None for token in question),
        **{f"nll_{model}_sum": _nll(masked, model) for model in BOTH},
        **_nll_by_part(masked),
        "kl_median": kl.median,
        "kl_p95": kl.p95,
        "kl_p99": kl.p99,
        "kl_max": kl.max,
        "kl_noise": kl.noise,
        "kl_sum_with_format": with_format.sum or 0.0,
        "tokens_with_format": with_format.n,
        **{f"{name}_mean": found.summary[name].mean for name in _MEANS},
        **{f"{name}_noise": found.summary[name].noise for name in _MEANS},
        **{f"{name}_mean": _mean([getattr(token, name) or 0.0 for token in masked]) for name in _ENDS},
        **asdict(found.concentration),
        **asdict(found.choices),
        "reasoning_text": stretches["reasoning"],
        "answer_text": stretches["answer"],
        "reasoning_share": explained.reasoning_share,
        "connectives": explained.per_100_words,
        **figures,
    }


def where_they_part(tokens: Sequence[TokenScore], at: int | None) -> Row:
    """The prediction at which the two models' answers part: its KL(tuned‖base), and what each puts first.

    Args:
        tokens: of either answer; up to there both are the same.
        at: index of the first token that differs; None where there is none, or where there are no two answers.
    """
    there = tokens[at] if at is not None and at < len(tokens) else None
    first = {
        f"first_{model}": top[0].text if top else None
        for model, top in (("base", there and there.top_base), ("tuned", there and there.top_tuned))
    }
    return {"kl_first_divergence": there.kl_tuned_base if there else None, **first}


def _nll(tokens: Sequence[TokenScore], model: str) -> float:
    return -fsum(getattr(token, f"logp_{model}") or 0.0 for token in tokens)


def _nll_by_part(tokens: Sequence[TokenScore]) -> Row:
    own = {part: [token for token in tokens if token.part == part] for part in MASKS["response"]}
    return {
        f"nll_{model}_{part}_sum": _nll(held, model) if held else None for part, held in own.items() for model in BOTH
    }


def _mean(values: Sequence[float]) -> float | None:
    return fsum(values) / len(values) if values else None


def _text_of(tokens: Sequence[TokenScore], part: str) -> str:
    """The stretches of one part, what lies between them as a line break."""
    pieces = [text if token.part == part else "\n" for token, text in zip(tokens, token_texts(tokens), strict=True)]
    return "".join(pieces).strip()
