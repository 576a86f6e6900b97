"""The figures of a study's questions 3 and 4: which layers carry the change, and what moved inside.

Knows results and the curves of core/study; computes none.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pandas as pd

from core.present.figures import Figure
from core.present.provenance import Source
from core.present.study_charts import beside_random, interval_chart, layer_bars, layer_chart
from core.present.study_token_figures import completeness_words
from core.present.texts import percent, two_digits
from core.study.claims_layers import texts_in_words
from core.study.curves import SHAPES, Curve, attribution_curves, depths, layer_curves, shapley_curves, state_curves
from core.study.held_out import held_out_sets
from core.study.resampling import Estimate
from core.study.results import Results

BANDS = "Bands and bars are 95 % intervals over prompts; layer 0 reads the words."
CURVE_WORDS = {
    "single": "each layer alone",
    "without": "all layers but one",
    "prefix": "all layers up to one",
    "increments": "what each layer adds to those below",
    "suffix": "all layers from one on",
    "window-3": "three layers together",
    "window-5": "five layers together",
    "shapley": "Shapley shares",
}
_GRAFTED = {
    "single": (
        "Recovery by each layer alone (sufficiency)",
        "Share of the change that this layer of the fine-tuned model alone brings back; 0 base, 1 fine-tuned.",
        "recovery (0 base, 1 fine-tuned)",
    ),
    "without": (
        "Recovery lost without each layer (necessity)",
        "Share of the change that is lost when this layer alone stays base's; 0 nothing is lost.",
        "recovery lost (0 nothing, 1 all)",
    ),
    "prefix": (
        "Recovery from below",
        "Share of the change that all layers up to this one bring back; 0 base, 1 fine-tuned.",
        "recovery (0 base, 1 fine-tuned)",
    ),
    "increments": (
        "What each layer adds to those below",
        "Increment of the recovery from below; the increments sum to the recovery of all layers.",
        "increment of recovery",
    ),
    "suffix": (
        "Recovery from above",
        "Share of the change that this layer and all above it bring back; 0 base, 1 fine-tuned.",
        "recovery (0 base, 1 fine-tuned)",
    ),
    "window-3": (
        "Recovery by three layers together",
        "Share of the change that this layer and the next two bring back; 0 base, 1 fine-tuned.",
        "recovery (0 base, 1 fine-tuned)",
    ),
    "window-5": (
        "Recovery by five layers together",
        "Share of the change that this layer and the next four bring back; 0 base, 1 fine-tuned.",
        "recovery (0 base, 1 fine-tuned)",
    ),
}
_LIMIT = (
    "Layers work together: what one brings alone, what is lost without it and its Shapley share are three answers to "
    "three questions. Depth means something only beside the random adapters."
)
_STATES = {
    "drift": ("drift_norm", "How far states moved", "‖h_t − h_b‖/‖h_b‖", "ratio"),
    "cosine": ("drift_cosine", "How far states turned", "1 − cos(h_t, h_b)", "1 − cosine, 0 to 2"),
}


def layer_figures(results: Results, source: Source) -> dict[str, Figure]:
    """Name → figure; figures may be empty."""
    tables, floors, seed = results.tables, results.floors, int(results.record["settings"]["seed"])
    prompts = tables["prompts"]
    drawn: dict[str, Figure] = {}
    curves: dict[str, tuple[Curve, ...]] = {}
    if "layers" in tables:
        curves = {shape: layer_curves(tables["layers"], prompts, shape, floors, seed) for shape in SHAPES}
    if {"layers", "shapley"} <= set(tables):
        curves["shapley"] = shapley_curves(tables["shapley"], tables["layers"], prompts, seed)
    noise = f"Drawn where the models differ by more than 5 times the noise of {floors.kl:.1e} nats a token."
    texts = {
        name: f" On {texts_in_words(rows, prompts)}."
        for name in ("layers", "shapley", "attribution")
        if len(rows := tables.get(name, pd.DataFrame())) and "whose" in rows
    }
    for shape, found in curves.items():
        own = noise + _noise_of(tables["layers"], "prefix" if shape == "increments" else shape)
        if shape == "shapley":
            drawn |= _shapley(found, texts.get("shapley", ""), noise, source)
        else:
            drawn |= _grafted(shape, found, texts.get("layers", ""), own, source)
    if len(tables.get("attribution", ())):
        missing = _without_attribution(tables["layers"], tables["attribution"]) if "layers" in tables else ""
        found = attribution_curves(tables["attribution"], prompts, seed)
        drawn |= _attribution(found, tables["attribution"], texts.get("attribution", "") + missing, source)
    drawn |= _centres(curves, noise, source)
    if "layers" in tables:
        drawn |= _depth(results, noise, source)
    if {"nested_sets", "sets"} <= set(tables) and len(tables["nested_sets"]):
        drawn |= _sets(results, noise, source)
    return drawn | _states(results, source, seed)


def _noise_of(layers: pd.DataFrame, kind: str) -> str:
    """How much a text's recovery changes by another numerical route, in a sentence."""
    if "recovery_noise" not in layers:
        return ""
    changes = layers.loc[(layers["kind"] == kind) & (layers["adapter"] == 0), "recovery_noise"].dropna()
    if not len(changes):
        return ""
    return (
        f" By another numerical route a text's recovery changes by {changes.median():.1e} (median; at most "
        f"{changes.max():.1e})."
    )


def curve_rows(curves: Sequence[Curve]) -> tuple[dict[str, Any], ...]:
    """Curves as rows, one a layer."""
    return tuple(
        {"panel": f"{curve.corpus} text, n = {curve.n}", "series": curve.part or curve.corpus, "corpus": curve.corpus,
         "layer": layer, "value": one.value, "low": one.low, "high": one.high, "n": one.n}
        for curve in curves
        for layer, one in enumerate(curve.layers)
    )  # fmt: skip


def _grafted(shape: str, found: Sequence[Curve], texts: str, noise: str, source: Source) -> dict[str, Figure]:
    title, legend, x = _GRAFTED[shape]
    draw = partial(layer_bars if shape == "increments" else layer_chart, x_title=x)
    if found:
        centres = [f"{one.corpus} {two_digits(one.centre.value)}" for one in found if one.centre]
        title += f"; centre at {', '.join(centres)} of the depth" if centres else ""
    if shape == "single" and found:
        sums = {one.corpus: sum(layer.value for layer in one.layers) for one in found}
        each = ", ".join(f"{corpus} {two_digits(total)}" for corpus, total in sums.items())
        legend += f" They sum to {each}; shares of a divergence need not sum to 1, whether or not layers interact."
    slug = f"layers-{shape}"
    legend = f"{legend} {BANDS}{texts}"
    return {slug: Figure(title, source, legend, noise, f"study-{slug}", curve_rows(found), draw, _LIMIT)}


def _shapley(found: Sequence[Curve], texts: str, noise: str, source: Source) -> dict[str, Figure]:
    title = "Shapley shares of attention and MLP by layer"
    sums = {curve.part: sum(one.value for one in curve.layers) for curve in found if curve.corpus == found[0].corpus}
    if sums:
        parts = ", ".join(f"{part} {two_digits(value)}" for part, value in sums.items())
        title = f"Shapley shares by layer: {parts} in sum, {found[0].corpus} text"
    legend = "Each part's share of the change, pooled over prompts; they sum to the recovery of all layers. "
    legend += f"{BANDS}{texts}"
    noise += " Shares are sampled: few orders a prompt widen the intervals."
    draw = partial(layer_bars, x_title="share of the change")
    return {"shapley": Figure(title, source, legend, noise, "study-shapley", curve_rows(found), draw, _LIMIT)}


def _attribution(found: Sequence[Curve], table: pd.DataFrame, texts: str, source: Source) -> dict[str, Figure]:
    legend = (
        "Each part's share of the change by integrated gradients, all gates opened together, pooled over prompts; they "
        f"sum to 1. {BANDS}{texts}"
    )
    noise = completeness_words(table)
    limit = "Gradients say how a little more of a gate acts on the way; to graft a layer alone is another question."
    draw = partial(layer_bars, x_title="share of the change")
    title = "What gradients attribute to attention and MLP by layer"
    slug = "attribution"
    return {slug: Figure(title, source, legend, noise, f"study-{slug}", curve_rows(found), draw, limit)}


def _without_attribution(layers: pd.DataFrame, attribution: pd.DataFrame) -> str:
    """How many texts have recoveries and no attributions, in a sentence; empty where none."""
    swept = layers.loc[layers["adapter"] == 0, "document"]
    missing = set(swept) - set(attribution["document"])
    if not missing:
        return ""
    return f" {len(missing)} of {swept.nunique()} texts are not in it: no difference, or no memory for gradients."


def _centres(curves: dict[str, tuple[Curve, ...]], noise: str, source: Source) -> dict[str, Figure]:
    rows = []
    for corpus in ("medical", "general"):
        for shape, found in curves.items():
            centre = next((one.centre for one in found if one.corpus == corpus and one.centre), None)
            if centre is not None:
                rows.append(_centre_row(CURVE_WORDS[shape], corpus, centre))
    legend = f"Centre of mass of each curve, share of the way from the first layer to the last. {BANDS}"
    draw = partial(interval_chart, x_title="centre, share of the depth (0 first layer, 1 last)", whole=(0.0, 1.0))
    title = "Centres of the curves over layers"
    return {"centres": Figure(title, source, legend, noise, "study-centres", tuple(rows), draw, _LIMIT)}


def _centre_row(label: str, series: str, centre: Estimate) -> dict[str, Any]:
    words = f"{two_digits(centre.value)} (n = {centre.n})"
    return {"label": label, "series": series, "value": centre.value, "low": centre.low, "high": centre.high,
            "n": centre.n, "words": words}  # fmt: skip


def _depth(results: Results, noise: str, source: Source) -> dict[str, Figure]:
    rows: list[dict[str, Any]] = []
    higher: list[str] = []
    whos = ("fine-tuned", "random adapter")
    for kind, (depth, n) in depths(results.tables["layers"], results.floors, _seed(results)).items():
        rows += _beside(CURVE_WORDS[kind], whos, depth.centre, depth.random, n)
        n_higher = sum(centre >= depth.centre.value for centre in depth.random)
        higher.append(f"{n_higher} of {len(depth.random)} (by {CURVE_WORDS[kind]})")
    title = f"The fine-tune's depth beside random adapters': at least as high lie {', '.join(higher)}"
    legend = (
        "Centre of mass of each curve. Random adapters have the fine-tune's singular values with vectors drawn at "
        "random, on the same prompts; a fine-tune inside their cloud lies where any change would. The bar is the "
        "fine-tune's 95 % interval over prompts; random adapters are set apart downwards for sight alone."
    )
    x = "centre of the curve, share of the depth (0 first layer, 1 last)"
    draw = partial(beside_random, x_title=x, whos=whos, whole=(0.0, 1.0))
    return {"depth": Figure(title, source, legend, noise, "study-depth", tuple(rows), draw, _LIMIT)}


def _beside(
    label: str, whos: tuple[str, str], one: Estimate, many: Sequence[float], n: int, **more: Any
) -> list[dict[str, Any]]:
    """Rows of one value and the random ones beside it."""
    row = {"label": label, "n": n, **more}
    own = {**row, "who": whos[0], "value": one.value, "low": one.low, "high": one.high, "jitter": 0}
    others = [
        {**row, "who": whos[1], "value": value, "low": None, "high": None, "jitter": k % 5 * 2 - 4}
        for k, value in enumerate(many)
    ]
    return [own, *others]


def _sets(results: Results, noise: str, source: Source) -> dict[str, Figure]:
    nested, sets = (results.tables[name] for name in ("nested_sets", "sets"))
    whos = ("set found on the other half", "random set of its size")
    rows: list[dict[str, Any]] = []
    for held in held_out_sets(nested, sets, seed=_seed(results)):
        for one in held.sets:
            if one.recovery is not None:
                names = "layers" if held.by == "layer" else "parts"
                label = f"{one.size} of {one.of} {names} for {percent(held.reach)},\nfound on half {one.found_on + 1}"
                more = {"units": one.units, "recovery_found": one.recovery_found}
                rows += _beside(label, whos, one.recovery, one.random, one.recovery.n, **more)
    legend = (
        "Recovery on prompts the set was not found on, 0 base, 1 fine-tuned. Sets are the smallest of a ranking that "
        "bring back so much on one half of the prompts. The bar is the 95 % interval over prompts; random sets are "
        "set apart downwards for sight alone."
    )
    draw = partial(beside_random, x_title="recovery on the other half (0 base, 1 fine-tuned)", whos=whos)
    limit = "The ranking is not the best of all sets; a better one of the same size may exist."
    title = "Few layers on prompts they were not found on"
    return {"sets": Figure(title, source, legend, noise, "study-sets", tuple(rows), draw, limit)}


def _states(results: Results, source: Source, seed: int) -> dict[str, Figure]:
    tables, drawn = results.tables, {}
    if "representations" in tables:
        for slug, (measure, title, formula, unit) in _STATES.items():
            found = state_curves(tables["representations"], tables["prompts"], measure, seed)
            noise = f"Noise of one state: {getattr(results.floors, measure):.1e}."
            legend = f"Mean over tokens of {formula} after each layer, position 0 left out; 0 is no change. {BANDS}"
            draw = partial(layer_chart, x_title=f"{formula} ({unit})")
            limit = "A state that moved far need not matter for the answer: see the layers that carry the change."
            drawn[slug] = Figure(title, source, legend, noise, f"study-{slug}", curve_rows(found), draw, limit)
    similarity = tables.get("similarity")
    if similarity is not None and len(similarity):
        rows = tuple(
            {"panel": f"{row['corpus']} text, n = {row['documents']}", "series": str(row["corpus"]),
             "corpus": str(row["corpus"]), "layer": int(row["layer"]), "value": float(row["cka_unbiased"]),
             "low": None, "high": None, "n": int(row["documents"])}
            for _, row in similarity.sort_values(["corpus", "layer"], ascending=[False, True]).iterrows()
        )  # fmt: skip
        legend = (
            "Unbiased linear CKA of both models' mean states, one a prompt, after each layer; 1 is the same geometry. "
            "One number for all prompts, so there is no interval."
        )
        draw = partial(layer_chart, x_title="CKA, unbiased (1 the same)", none=1.0)
        limit = "With few prompts CKA is uncertain; compare its course over layers, not single values."
        noise = "Base against itself is 1 up to rounding."
        drawn["cka"] = Figure(
            "Likeness of the states of both models", source, legend, noise, "study-cka", rows, draw, limit
        )
    return drawn


def _seed(results: Results) -> int:
    return int(results.record["settings"]["seed"])
