"""The smallest sets of layers on a page, with shares and controls beside them.

Knows what to ask for, and how to draw it; searches nothing itself.
"""

from functools import partial

import streamlit as st

from core.errors import GraftError
from core.generate.requests import Progress
from core.generate.worker import Worker
from core.intervene.controls import Control
from core.intervene.search import METHODS, FoundSet, SearchResult, SearchSettings, search
from core.pair.gates import DIRECTIONS, PARTS
from core.pair.pair import Pair
from core.present.hybrids import Hybrid
from core.present.provenance import source_of
from core.present.set_charts import curve_chart, curve_rows, share_rows, shares_chart
from core.present.texts import two_digits
from pages._shared.exports import draw_figure
from pages._shared.frame import show_error
from pages._shared.layer_text import LayerText
from pages._shared.live_mixer import NO_DIFFERENCE
from pages._shared.tasks import compute
from pages._shared.texts import DIRECTION_WORDS, choose_direction

_METHODS = dict(
    zip(METHODS, ("add the best one", "take the least missed away", "by Shapley share", "try all sets"), strict=True)
)
_BY = {"layer": "layers", "part": "attention and MLP apart", "projection": "projections apart"}
REACHES = (0.8, 0.9)


def draw_search(worker: Worker, page: str, chosen: LayerText) -> None:
    """Settings, the search once it is asked for, and what it found."""
    settings = _settings()
    if settings is None:
        return
    identity = (chosen.ids, chosen.predicted, settings)
    if st.button("Search", type="primary", key="search_go"):
        st.session_state["searched"] = identity
    if st.session_state.get("searched") != identity:
        st.caption(
            "Looks for the fewest layers that bring back 80 % and 90 % of the fine-tune on this text, and holds them "
            "against random sets of the same size and against adapters with the same singular values and random "
            "directions: depth matters for any change, so only what goes beyond those is the fine-tune's own."
        )
        return
    found = compute(
        worker, "search", page, identity, partial(_search, chosen, settings), "Searching",
        partial(_draw, worker.pair, chosen, settings, page),
    )  # fmt: skip
    if found is not None:
        _draw(worker.pair, chosen, settings, page, found)


def _settings() -> SearchSettings | None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        method = st.selectbox(
            "method", list(_METHODS), format_func=_METHODS.__getitem__, key="search_method", width=220
        )
        by = st.selectbox("units", list(_BY), format_func=_BY.__getitem__, key="search_by", width=210)
        direction = choose_direction("search_direction")
        permutations = st.number_input(
            "orders for shares", 0, 256, 0, step=8, key="search_permutations", width=150,
            help="Shapley shares average over random orders of adding units; 0 computes none.",
        )  # fmt: skip
        controls = st.number_input("of each control", 0, 100, 20, key="search_controls", width=130)
    try:
        return SearchSettings(
            method=method, by=by, reaches=REACHES, direction=direction,
            permutations=16 if method == "shapley" and not permutations else permutations,
            random_sets=controls, random_adapters=controls,
        )  # fmt: skip
    except GraftError as error:
        show_error(error)
        return None


def _search(chosen: LayerText, settings: SearchSettings, pair: Pair, progress: Progress) -> SearchResult:
    latest: list[SearchResult] = []

    def tell(share: float) -> None:
        progress(share, latest[-1] if latest else None)

    return search(pair, chosen.ids, chosen.predicted, settings, tell, latest.append)


def _draw(pair: Pair, chosen: LayerText, settings: SearchSettings, page: str, found: SearchResult) -> None:
    """What is known, finished or not."""
    if not found.defined:
        st.write(NO_DIFFERENCE)
        return
    for reached in found.sets:
        _draw_set(reached, settings)
    donor = "tuned" if settings.direction == DIRECTIONS[0] else "base"
    source = source_of(pair, chosen.question)
    legend = (
        f"Recovery 1 − K(S)/K(∅), K = mean KL({donor}‖grafted) over {len(chosen.predicted)} tokens, "
        f"{DIRECTION_WORDS[settings.direction]}; K(∅) = {two_digits(found.k_base)} nats. Controls: mean ± standard "
        "deviation."
    )
    noise = f"± {two_digits(found.k_noise)} nats of K(∅) by numerical noise."
    slug = f"{settings.direction}-{settings.method}-{settings.by}"
    if found.curve:
        rows = curve_rows(found.curve, found.sets, pair.n_layers)
        draw_figure(source, f"{chosen.label}: smallest sets", legend, noise, f"sets-{slug}", rows, curve_chart)
        st.caption(legend)
    if found.shapley:
        said = (
            f"Mean of what a unit adds to those before it, over {settings.permutations} random orders, ± one standard "
            f"error; shares sum to the recovery of all units. {legend}"
        )
        rows = share_rows(found.shapley)
        draw_figure(source, f"{chosen.label}: Shapley shares", said, noise, f"shares-{slug}", rows, shares_chart)
        st.caption(said)
    if found.interaction is not None:
        st.caption(
            f"Interaction: all units together recover {two_digits(found.interaction)} "
            f"{'more' if found.interaction >= 0 else '(less, negative)'} than the sum of each alone. "
            f"All this took the work of {found.forwards_equivalent:,.0f} forward passes."
        )


def _draw_set(found: FoundSet, settings: SearchSettings) -> None:
    """One set in words, its controls, and a button that takes it to the Ask page."""
    name = f"layers {found.name}" if settings.by == "layer" and found.reached != 1 else found.name
    name = f"layer {found.name}" if settings.by == "layer" and found.reached == 1 else name
    if found.reached is None:
        st.write(f"{found.reach:.0%} was not reached; the best set tried is {name} ({found.recovery:.0%}).")
    else:
        least = " No smaller set does." if found.smallest else ""
        words = "unit" if found.reached == 1 else "units"
        reached = f"**{found.reach:.0%}** is reached with {found.reached} {words}"
        st.write(f"{reached}: **{name}** ({found.recovery:.0%}).{least}")
    controls = [
        f"{label} {_percent(control)}"
        for label, control in (
            ("random sets of this size", found.random),
            ("this set in random adapters", found.random_adapter),
        )
        if control.n
    ]
    if controls:
        st.caption(f"Held against: {'; '.join(controls)}. {_verdict(found)}")
    if found.part in PARTS:
        # A link and not st.switch_page: that leaves an empty page where the timer of a fragment fires meanwhile.
        hybrid = Hybrid("Found set", found.layers, found.part, 1.0, settings.direction)
        st.page_link(
            "app.py", label="Use this set", icon=":material/arrow_forward:", help="Takes it to the Ask page.",
            query_params={"hybrids": hybrid.text()},
        )  # fmt: skip


def _percent(control: Control) -> str:
    mean = "none" if control.mean is None else f"{control.mean:.0%}"
    return f"{mean} ± {control.sd:.0%} (n = {control.n})" if control.sd is not None else f"{mean} (n = {control.n})"


def _verdict(found: FoundSet) -> str:
    """Whether the set does more than in the random adapters, said without a test where there are too few."""
    values = found.random_adapter.values
    if len(values) < 20:
        return "Fewer than 20 random adapters: no comparison."
    above = sum(value >= found.recovery for value in values)
    if not above:
        return f"None of {len(values)} random adapters does as much with this set: more than depth alone."
    return f"{above} of {len(values)} random adapters do as much with this set: depth alone may explain it."
