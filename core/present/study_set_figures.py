"""The figures of a study's smallest sets of layers and of its patches at single positions.

Knows results and descriptions; computes none.
"""

from functools import partial
from typing import Any

from core.present.figures import Figure
from core.present.provenance import Source
from core.present.study_charts import interval_chart, layer_bars, places_chart
from core.present.study_layer_figures import curve_rows
from core.present.study_token_figures import place_words
from core.present.texts import percent
from core.study.claims_layers import texts_in_words
from core.study.described_sets import RANDOM, RECOVERY, SIZE, layers_in_sets, patches_by_place, smallest_sizes
from core.study.results import Results
from core.study.runner import facts_from
from core.study.settings import REACHES


def set_figures(results: Results, source: Source) -> dict[str, Figure]:
    """Name → figure; what was not measured is left out."""
    noise = f"Measured where the models differ by at least 5 times the noise of {results.floors.kl:.1e} nats a token."
    drawn: dict[str, Figure] = {}
    if len(results.tables.get("smallest", ())):
        drawn |= _sizes(results, noise, source) | _layers(results, noise, source)
    if len(results.tables.get("patches", ())):
        drawn |= _patches(results, noise, source)
    return drawn


def _sizes(results: Results, noise: str, source: Source) -> dict[str, Figure]:
    tables, n_layers = results.tables, _n_layers(results)
    found = smallest_sizes(tables["smallest"], tables["prompts"], _seed(results))
    beside = {(one.corpus, one.group, one.what): one.estimate for one in found}
    rows: list[dict[str, Any]] = []
    for one in (one for one in found if one.what == SIZE):
        own, random = (beside.get((one.corpus, one.group, what)) for what in (RECOVERY, RANDOM))
        words = f"{one.estimate.value:.1f} (n = {one.estimate.n})"
        words += f"; {percent(own.value)}" if own is not None else ""
        words += f", at random {percent(random.value)}" if random is not None else ""
        rows.append(
            {"label": one.group, "series": one.corpus, "value": one.estimate.value, "low": one.estimate.low,
             "high": one.estimate.high, "n": one.estimate.n, "recovery": own and own.value,
             "recovery_at_random": random and random.value, "words": words}
        )  # fmt: skip
    at_random = " and of random ones of their size" if any(row["recovery_at_random"] for row in rows) else ""
    moved = tables["smallest"]["recovery_noise"].dropna()
    if len(moved):
        noise += f" By another numerical route a recovery changes by {moved.median():.1e} (median)."
    legend = (
        f"How many of {n_layers} layers bring back so much of one prompt's change, sought greedily for each prompt: "
        "from below by adding the best layer, from above by taking the least missed one away; mean over prompts. "
        f"Beside it the mean recovery of these sets{at_random}. Bars are 95 % intervals over prompts. On "
        f"{texts_in_words(tables['smallest'], tables['prompts'])}."
    )
    limit = (
        "Sets are found and measured on the same prompt, which flatters them; those scored on other prompts, where "
        "that was measured, have a figure of their own. Random adapters were not searched this way, so nothing here "
        "says that so few layers are fewer than any change of this size needs. A smaller set that a greedy search "
        "misses may exist."
    )
    draw = partial(interval_chart, x_title="layers in the set, mean", none=0.0)
    title = "How few layers each prompt's own change needs"
    return {"smallest": Figure(title, source, legend, noise, "study-smallest", tuple(rows), draw, limit)}


def _layers(results: Results, noise: str, source: Source) -> dict[str, Figure]:
    tables, reach = results.tables, min(REACHES)
    found = layers_in_sets(tables["smallest"], tables["prompts"], _n_layers(results), reach)
    chance = float(tables["smallest"].loc[tables["smallest"]["reach"] == reach, "size"].mean()) / _n_layers(results)
    legend = (
        f"Share of the prompts whose own smallest set for {percent(reach)} holds the layer, by where the search began. "
        "Lines at the ends are exact 95 % intervals over prompts. On "
        f"{texts_in_words(tables['smallest'], tables['prompts'])}."
    )
    limit = (
        "A layer that is in most sets need not carry much alone: what it brings depends on the others. By chance alone "
        f"it is in {percent(chance)} of these sets, and which depth stands out means something only beside random "
        "adapters, which were not searched this way."
    )
    draw = partial(layer_bars, x_title="share of prompts")
    title = "Which layers are in these sets"
    name = "smallest-layers"
    return {name: Figure(title, source, legend, noise, f"study-{name}", curve_rows(found), draw, limit)}


def _patches(results: Results, noise: str, source: Source) -> dict[str, Figure]:
    tables = results.tables
    found = patches_by_place(tables["patches"], tables["prompts"], _seed(results))
    counts = tables["patches"].drop_duplicates("document")["corpus"].value_counts()
    rows = tuple(
        {"panel": f"{one.corpus} text, n = {counts[one.corpus]}", "corpus": one.corpus,
         "place": place_words(one.place, results), "layer": one.layer, "value": one.estimate.value,
         "low": one.estimate.low, "high": one.estimate.high, "n": one.estimate.n}
        for one in found
    )  # fmt: skip
    legend = (
        "The state after a layer at one position is replaced by the fine-tuned model's, everything else is base: the "
        "share of the text's change that this brings back, 0 none, added up over the positions of a place, one at a "
        "time, and pooled over prompts. After the last layer the places sum to 1, since there a state decides its own "
        f"prediction alone. On {texts_in_words(tables['patches'], tables['prompts'])}; the table has intervals."
    )
    limit = (
        "Positions are patched one by one: together they may do more or less than their sum, so below the last layer "
        "the places need not sum to 1. Longer places have more positions. Which depth stands out means something only "
        "beside random adapters, which were not patched."
    )
    title = "What the state after each layer brings back, by place in the text"
    return {"patches": Figure(title, source, legend, noise, "study-patches", rows, places_chart, limit)}


def _n_layers(results: Results) -> int:
    return facts_from(results.record).n_layers


def _seed(results: Results) -> int:
    return int(results.record["settings"]["seed"])
