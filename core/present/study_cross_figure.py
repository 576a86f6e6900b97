"""The figure of a study's cross-scores: every text under base, hybrid and fine-tuned model.

Knows results and descriptions; computes none.
"""

from functools import partial

from core.present.colour import SPEAKER_WORDS
from core.present.figures import Figure
from core.present.provenance import Source
from core.present.study_charts import interval_chart
from core.present.study_source import hybrid_words
from core.present.texts import two_digits
from core.study.described_cross import cross_means
from core.study.results import Results

_WROTE = {
    "reference": "reference answers", "base": "base's answers", "hybrid": "hybrid's answers",
    "tuned": "fine-tuned model's answers",
}  # fmt: skip


def cross_figure(results: Results, source: Source) -> dict[str, Figure]:
    """Name → figure; empty where no hybrid wrote."""
    tables, settings = results.tables, results.record["settings"]
    if not len(tables.get("cross", ())):
        return {}
    found = cross_means(tables["cross"], tables["prompts"], int(settings["seed"]))
    rows = tuple(
        {"label": f"{one.corpus}, {_WROTE[one.group]}", "series": SPEAKER_WORDS[one.what], "value": one.estimate.value,
         "low": one.estimate.low, "high": one.estimate.high, "n": one.estimate.n,
         "words": f"{two_digits(one.estimate.value)} (n = {one.estimate.n})"}
        for one in found
    )  # fmt: skip
    legend = (
        "Mean −ln p of a token of each kind of text under each model, nats, pooled over documents; smaller is "
        "likelier. All three write greedily. Bars are 95 % intervals over documents, mostly of how hard texts are: the "
        f"models of one kind of text are compared on the same texts.{hybrid_words(results)}"
    )
    moved = tables["cross"]["nll_noise"].dropna()
    noise = (
        f"By another numerical route a text's mean changes by {moved.median():.1e} (median; at most {moved.max():.1e}) "
        "nats."
    )
    limit = (
        "A greedy answer takes the likeliest token at every step, so a model's own text is mostly likeliest under it."
    )
    draw = partial(interval_chart, x_title="−ln p, nats per token", none=0.0)
    return {"cross": Figure("Every text under every model", source, legend, noise, "study-cross", rows, draw, limit)}
