"""Layers: which layers carry the fine-tune, exact and on the person's own text."""

from typing import cast

import streamlit as st

from core.errors import GraftError
from core.pair.parts import Mask
from core.present.words import LIMITS
from pages._shared.checks_panel import draw_checks
from pages._shared.frame import footer, open_page, open_worker, show_error
from pages._shared.grid_panel import draw_grid
from pages._shared.layer_text import LayerText, layer_text
from pages._shared.live_mixer import draw_live_mixer
from pages._shared.search_panel import draw_search
from pages._shared.sweep_panel import draw_sweeps
from pages._shared.texts import MASK_WORDS, choose_text, draw_asked, draw_pasted

PAGE = "Layers"
VIEWS = {
    "Mixer": draw_live_mixer,
    "Layer by layer": draw_sweeps,
    "Where in the text": draw_grid,
    "Smallest sets": draw_search,
    "Checks": draw_checks,
}


def _choose() -> LayerText | None:
    """The text, and which part of it counts."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text, _ = choose_text(worker.pair)
        mask = st.selectbox(
            "part of the text", list(MASK_WORDS), format_func=MASK_WORDS.__getitem__, key="mask", width=220
        )
    if text is None:
        text = draw_pasted(worker.pair)
    else:
        draw_asked(text)
    try:
        return layer_text(worker.pair, text, cast(Mask, mask)) if text is not None else None
    except GraftError as error:
        show_error(error)
        return None


open_page(PAGE)
worker = open_worker()
chosen = _choose()
if chosen is not None:
    view = st.segmented_control("View", list(VIEWS), key="layers_view", required=True, default="Mixer")
    VIEWS[view or "Mixer"](worker, PAGE, chosen)
    st.caption(LIMITS)
footer()
