"""The figures of a study's single tokens: divergence along the text, by how sure base was, the words it is about, and
where along the text gradients place the change.

Knows results and descriptions; computes none.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pandas as pd

from core.present.figures import Figure
from core.present.forks import quoted
from core.present.provenance import Source
from core.present.study_charts import interval_chart
from core.present.study_source import hybrid_words
from core.present.texts import percent, two_digits
from core.study.choice import KINDS
from core.study.claims_layers import texts_in_words
from core.study.claims_words import TEXTS
from core.study.curves import PART_WORDS
from core.study.described import Described
from core.study.described_tokens import (
    PLACES,
    change_by_place,
    kl_along_text,
    kl_by_entropy,
    looked_at,
    partings,
    words_moved,
)
from core.study.resampling import Estimate
from core.study.results import Results

_SHOWN = 12
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
    own = {corpus: looked_at(tokens, prompts, corpus) for corpus in KINDS}
    present = {corpus: rows for corpus, rows in own.items() if len(rows)}
    if not present:
        return {}
    texts = texts_in_words(pd.concat(list(present.values())), prompts)
    along = (
        "kl-along-text", "Divergence along the text", kl_along_text(tokens, prompts, seed),
        f"Mean KL(tuned‖base) of the tokens in each fifth of a text, first to last, in {texts}; texts under five "
        "tokens left out.",
        "Place and what stands there are not told apart.",
    )  # fmt: skip
    sure = (
        "kl-by-entropy", "Divergence by how sure base was", kl_by_entropy(tokens, prompts, seed),
        f"Mean KL(tuned‖base) of a fifth of a corpus's tokens each, by the entropy of base's prediction, in {texts}.",
        "Where base is unsure there is more room to differ; that alone makes a slope.",
    )  # fmt: skip
    corpus = next(iter(present))
    return {
        **{one[0]: _bars(*one, noise, source) for one in (along, sure)},
        "parting": _parting(partings(tokens, prompts, seed), hybrid_words(results), source),
        "words-moved": _moved(
            words_moved(tokens, prompts, corpus), corpus, texts_in_words(present[corpus], prompts), noise, source
        ),
    }


def place_figure(results: Results, source: Source) -> dict[str, Figure]:
    """What gradients attribute to the parts of a text; empty where no gradients were followed."""
    tables = results.tables
    if not len(tables.get("positions", ())) or not len(tables.get("attribution", ())):
        return {}
    found = change_by_place(
        tables["positions"], tables["attribution"], tables["prompts"], int(results.record["settings"]["seed"])
    )
    rows = tuple(
        _row(f"{place_words(one.what, results)}, {PART_WORDS[one.group]}", one.corpus, one.estimate, percent)
        for one in found
    )
    legend = (
        "Share of the change by integrated gradients that the gates at these positions account for, all layers "
        f"together, pooled over prompts; of one kind of text they sum to 1. Bars are 95 % intervals over documents. On "
        f"{texts_in_words(tables['positions'], tables['prompts'])}. A gate at the question acts on the answer through "
        "the keys and values that are read from there, and one at the prompt's last token on the answer's first."
    )
    noise = completeness_words(tables["attribution"])
    limit = "Longer parts have more positions; a share is not per token."
    draw = partial(interval_chart, x_title="share of the change", none=0.0, percent=True)
    title = "Where along the text the change comes in"
    return {"places": Figure(title, source, legend, noise, "study-places", rows, draw, limit)}


def place_words(place: str, results: Results) -> str:
    """What a place is called: a system prompt of the study's own is read with the question."""
    own_system = place == PLACES["prompt"] and results.record["settings"]["system"]
    return f"system prompt and {place}" if own_system else place


def completeness_words(attribution: pd.DataFrame) -> str:
    """By how much integrated gradients miss what they divide, in a sentence."""
    missed = attribution.groupby("document")["completeness_error"].first()
    return f"A text's shares miss their sum by {missed.median():.2%} (median; at most {missed.max():.2%})."


def _row(label: str, series: str, one: Estimate, in_words: Callable[[float], str]) -> dict[str, Any]:
    """An estimate as a row of a chart of intervals."""
    words = f"{in_words(one.value)} (n = {one.n})"
    return {
        "label": label, "series": series, "value": one.value, "low": one.low, "high": one.high, "n": one.n,
        "words": words,
    }  # fmt: skip


def _bars(
    slug: str, title: str, found: Sequence[Described], legend: str, limit: str, noise: str, source: Source
) -> Figure:
    rows = tuple(_row(one.what, one.corpus, one.estimate, two_digits) for one in found)
    draw = partial(interval_chart, x_title=_KL, none=0.0)
    legend = f"{legend} Bars are 95 % intervals over documents."
    return Figure(title, source, legend, noise, f"study-{slug}", rows, draw, limit)


def _parting(found: Sequence[Described], hybrid: str, source: Source) -> Figure:
    rows = tuple(_row(_text(one), one.what, one.estimate, percent) for one in found)
    legend = (
        "At each token of these texts, given the text so far, headings and end of turn left out: the share at which "
        "base and fine-tuned model would draw different tokens at temperature 1, though they share their noise "
        "(Gumbel-max, other noise for every prompt), and the mean total variation of what they draw from. Bars are "
        f"95 % intervals over documents.{hybrid}"
    )
    limit = (
        "On average no way of sharing noise parts them less often than the total variation, and this one at most twice "
        "as often."
    )
    draw = partial(interval_chart, x_title="share of tokens", none=0.0, percent=True)
    title = "How often the models would draw different tokens"
    noise = "The noise of a prompt is one draw; the intervals hold that too."
    return Figure(title, source, legend, noise, "study-parting", rows, draw, limit)


def _text(one: Described) -> str:
    return TEXTS.get((one.corpus, one.group), f"the {one.group}'s {one.corpus} answers")


def _moved(found: pd.DataFrame, corpus: str, texts: str, noise: str, source: Source) -> Figure:
    rows: list[dict[str, Any]] = [
        {"label": quoted(str(row["text"])), "series": way, "value": float(row["nats"]), "low": None, "high": None,
         "n": int(row["count"]), "words": f"at {int(row['count'])} tokens"}
        for way in ("gained", "lost")
        for _, row in found[found["way"] == way].head(_SHOWN).iterrows()
    ]  # fmt: skip
    title = f"Words that gained and lost most, in {corpus} text"
    legend = (
        f"At every token of {texts}: the word whose term p_t ln(p_t/p_b) is the largest (gained) and the one whose "
        "term is the least (lost). A word's terms are added up where it is that word, and divided by the number of all "
        "these tokens; the first 12 of either way."
    )
    limit = "Only the first word of either way at each token counts, and frequent words lead any such list."
    draw = partial(interval_chart, x_title="sum of the terms, nats per token of text", none=0.0)
    return Figure(title, source, legend, noise, "study-words-moved", tuple(rows), draw, limit)
