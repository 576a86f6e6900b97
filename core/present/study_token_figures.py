"""The figures of a study's single tokens: divergence along the text, by how sure base was, and the words it is about.

Knows results and descriptions; computes none.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from core.present.figures import Figure
from core.present.forks import quoted
from core.present.provenance import Source
from core.present.study_charts import interval_chart
from core.present.texts import two_digits
from core.study.choice import KINDS
from core.study.described import Described
from core.study.described_tokens import kl_along_text, kl_by_entropy, whose_tokens, words_moved
from core.study.results import Results

_SHOWN = 12
_TEXTS = {"reference": "reference answers", "tuned": "the fine-tuned model's answers"}
_KL = "KL(tuned‖base), nats per token"


def token_figures(results: Results, source: Source, noise: str) -> dict[str, Figure]:
    """Name → figure; figures may be empty.

    Args:
        results: of a study.
        source: of the figures.
        noise: of one token's KL, in a sentence.
    """
    tokens, prompts = results.tables.get("tokens"), results.tables["prompts"]
    if tokens is None or not len(tokens):
        return {}
    seed = int(results.record["settings"]["seed"])
    present = [corpus for corpus in KINDS if (prompts["corpus"] == corpus).any()]
    texts = " and ".join(dict.fromkeys(_TEXTS[whose_tokens(tokens, prompts, corpus)] for corpus in present))
    along = (
        "kl-along-text", f"Divergence along the text, in {texts}", kl_along_text(tokens, prompts, seed),
        "Mean KL(tuned‖base) of the tokens in each fifth of a text, first to last; texts under five tokens left out.",
        "Place and what stands there are not told apart.",
    )  # fmt: skip
    sure = (
        "kl-by-entropy", f"Divergence by how sure base was, in {texts}", kl_by_entropy(tokens, prompts, seed),
        "Mean KL(tuned‖base) of a fifth of the corpus's tokens each, by the entropy of base's prediction.",
        "Where base is unsure there is more room to differ; that alone makes a slope.",
    )  # fmt: skip
    return {
        **{one[0]: _bars(*one, noise, source) for one in (along, sure)},
        "words-moved": _moved(results, present, noise, source),
    }


def _bars(
    slug: str, title: str, found: Sequence[Described], legend: str, limit: str, noise: str, source: Source
) -> Figure:
    rows = tuple(
        {"label": one.what, "series": one.corpus, "value": one.estimate.value, "low": one.estimate.low,
         "high": one.estimate.high, "n": one.estimate.n,
         "words": f"{two_digits(one.estimate.value)} (n = {one.estimate.n})"}
        for one in found
    )  # fmt: skip
    draw = partial(interval_chart, x_title=_KL, none=0.0)
    legend = f"{legend} Bars are 95 % intervals over documents."
    return Figure(title, source, legend, noise, f"study-{slug}", rows, draw, limit)


def _moved(results: Results, present: Sequence[str], noise: str, source: Source) -> Figure:
    tokens, prompts = results.tables["tokens"], results.tables["prompts"]
    by_corpus = {corpus: words_moved(tokens, prompts, corpus) for corpus in present}
    corpus = next((name for name, words in by_corpus.items() if len(words)), present[0])
    found, texts = by_corpus[corpus], _TEXTS[whose_tokens(tokens, prompts, corpus)]
    rows: list[dict[str, Any]] = [
        {"label": quoted(str(row["text"])), "series": way, "value": float(row["nats"]), "low": None, "high": None,
         "n": int(row["count"]), "words": f"at {int(row['count'])} tokens"}
        for way in ("gained", "lost")
        for _, row in found[found["way"] == way].head(_SHOWN).iterrows()
    ]  # fmt: skip
    title = f"Words that gained and lost most, in {corpus} {texts}"
    legend = (
        "At every token the word whose term p_t ln(p_t/p_b) is the largest (gained) and the one whose term is the "
        "least (lost); sums of these terms over all tokens, by their number, nats; the first 12 of either way."
    )
    limit = "Only the first word of either way at each token counts, and frequent words lead any such list."
    draw = partial(interval_chart, x_title="sum of the terms, nats per token of text", none=0.0)
    return Figure(title, source, legend, noise, "study-words-moved", tuple(rows), draw, limit)
