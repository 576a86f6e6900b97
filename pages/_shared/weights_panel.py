"""Weight changes on a page: how large each is, how it spreads, and whether large ones do much on a text.

Knows what to ask the worker for, and how to draw it; measures nothing itself.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import streamlit as st

from core.generate.requests import Progress
from core.generate.worker import Worker
from core.intervene.plans import sweep_plans
from core.intervene.recovery import Sweep, sweep
from core.intervene.size_and_effect import agreements, points
from core.measure.weights import ModuleChange, WeightChanges, with_data
from core.measure.weights_on_data import DataNorms, norms_on_data
from core.pair.pair import Pair
from core.present.charts import clear
from core.present.provenance import source_of
from core.present.texts import two_digits
from core.present.weight_charts import (
    LIMIT,
    effect_rows,
    effects_chart,
    spectrum_chart,
    spectrum_rows,
    weights_chart,
    weights_figure,
)
from core.present.weight_words import (
    ON_DATA,
    WEIGHT_MEASURES,
    agreement_words,
    largest,
    module_words,
    sizes_words,
    spectrum_words,
    within_words,
)
from pages._shared.exports import draw_exports, draw_figure
from pages._shared.layer_text import LayerText
from pages._shared.live_mixer import NO_DIFFERENCE
from pages._shared.tasks import compute

EFFECTS_LIMIT = (
    "Sizes and effects that go together need not be cause and effect, and neighbouring layers are not independent. "
    "What a layer does also depends on its depth; the random adapters under Layers, Smallest sets, show how much."
)


@dataclass(frozen=True)
class Measured:
    """Weight changes by one measure.

    Attributes:
        changes: of every projection, with `on_data` where the measure needs it.
        measure: name in the table of measures.
        question: what was asked, where a text is part of it; else empty.
    """

    changes: WeightChanges
    measure: str
    question: str


def choose_measure() -> str:
    """Which size is looked at."""
    return st.selectbox(
        "measure",
        list(WEIGHT_MEASURES),
        format_func=lambda name: WEIGHT_MEASURES[name].label,
        key="weights_measure",
        width=280,
    )


def measured(
    worker: Worker, page: str, changes: WeightChanges, measure: str, chosen: LayerText | None
) -> Measured | None:
    """The changes by a measure; None while it needs a text that is missing or on its way (and says so)."""
    if measure != ON_DATA:
        return Measured(changes, measure, "")
    if chosen is None:
        st.info("This measure needs a text.")
        return None
    norms = compute(
        worker, "weights on data", page, chosen.ids, partial(_norms, chosen), "Reading every layer's inputs"
    )
    return None if norms is None else Measured(with_data(changes, norms), measure, chosen.question)


def draw_sizes(pair: Pair, found: Measured) -> None:
    """Layer × projection, and beside it the directions of one change."""
    left, right = st.columns(2)
    with left:
        _draw_map(pair, found)
    with right:
        _draw_spectrum(pair, found)


def _draw_map(pair: Pair, found: Measured) -> None:
    figure = weights_figure(found.changes, found.measure, source_of(pair, found.question))
    st.write(sizes_words(found.changes.modules, found.measure))
    key = f"weights-map-{found.measure}"
    st.altair_chart(
        clear(weights_chart(figure.rows, found.measure)),
        theme=None,
        on_select=partial(_pick, key),
        selection_mode="cell",
        key=key,
    )
    st.caption(f"{figure.legend} {LIMIT}")
    draw_exports(figure, figure.slug)


def _pick(key: str) -> None:
    """Takes a clicked cell over into the choice of a projection."""
    picked: Any = st.session_state[key]
    if picked["selection"]["cell"]:
        cell = picked["selection"]["cell"][0]
        st.session_state["weights_module"] = (cell["layer"], cell["projection"])


def _draw_spectrum(pair: Pair, found: Measured) -> None:
    modules = {(module.layer, module.projection): module for module in found.changes.modules}
    top = largest(found.changes.modules, found.measure)
    if st.session_state.get("weights_module") not in modules:  # at first, or of another pair
        st.session_state["weights_module"] = (top.layer, top.projection)
    place = st.selectbox(
        "directions of (or click a cell)", list(modules), format_func=lambda at: module_words(modules[at]),
        key="weights_module", width=280,
    )  # fmt: skip
    module: ModuleChange = modules[place]
    said = spectrum_words(module)
    st.write(said)
    if module.frobenius:
        legend = f"Singular values of ΔW at {module_words(module)}; the sum of their squares is ‖ΔW‖_F²."
        slug = f"weights-layer-{module.layer}-{module.projection.replace('_', '-')}"
        draw_figure(
            source_of(pair, ""), f"Directions of the change at {module_words(module)}", legend,
            "Computed in float64 from the weights.", slug, spectrum_rows(module), spectrum_chart, LIMIT,
        )  # fmt: skip
        st.caption(
            f"{legend} ‖ΔW‖_F is {two_digits(module.frobenius)}, the base's ‖W‖_F {two_digits(module.base_frobenius)}. "
            "A direction may be strong and yet never come up in a text."
        )


def draw_effects(worker: Worker, page: str, found: Measured, chosen: LayerText) -> None:
    """Size of every layer's attention and MLP against what it brings back by itself."""
    st.markdown("##### Do big weights mean big effects?")
    identity = (chosen.ids, chosen.predicted)
    swept = compute(worker, "weight effects", page, identity, partial(_sweep, chosen), "Grafting each part alone")
    if swept is None:
        return
    if swept.results[0].recovery is None:
        st.write(NO_DIFFERENCE)
        return
    agreed = [one for one in agreements(found.changes.parts, swept.results) if one.measure == found.measure]
    st.write(agreement_words(agreed[0], agreed[1:]))
    described = WEIGHT_MEASURES[found.measure]
    legend = (
        f"Each layer's attention and MLP: {described.label} of the part, its matrices as blocks of one, against "
        "recovery 1 − K(S)/K(∅) with that part alone grafted, K = mean KL(tuned‖grafted) over "
        f"{len(chosen.predicted)} tokens; "
        f"K(∅) = {two_digits(swept.k_base)} nats. {within_words(agreed[1:])}"
    )
    noise = f"Recovery ± at most {two_digits(max(r.recovery_noise or 0.0 for r in swept.results))} by numerical noise."
    rows = effect_rows(points(found.changes.parts, swept.results, found.measure))
    draw_figure(
        source_of(worker.pair, chosen.question), f"{chosen.label}: size and effect of weight changes", legend, noise,
        f"weights-effects-{found.measure.replace('_', '-')}", rows, partial(effects_chart, measure=found.measure),
        EFFECTS_LIMIT,
    )  # fmt: skip
    st.caption(f"{legend} {noise} {EFFECTS_LIMIT}")


def _norms(chosen: LayerText, pair: Pair, progress: Progress) -> DataNorms:
    return norms_on_data(pair, chosen.ids, progress)


def _sweep(chosen: LayerText, pair: Pair, progress: Progress) -> Sweep:
    return sweep(pair, chosen.ids, chosen.predicted, sweep_plans("single", pair.n_layers, "each"), progress)
