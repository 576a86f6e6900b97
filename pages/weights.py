"""Weights: what the adapter changed in the weights, and whether large changes have large effects."""

from typing import cast

import streamlit as st

from core.errors import GraftError
from core.pair.parts import Mask
from pages._shared.frame import footer, open_page, open_worker, show_error
from pages._shared.layer_text import LayerText, layer_text
from pages._shared.resources import chosen, weights_of
from pages._shared.texts import MASK_WORDS, choose_text, draw_asked, draw_pasted
from pages._shared.weights_panel import choose_measure, draw_effects, draw_sizes, measured

PAGE = "Weights"


def _choose() -> tuple[str, LayerText | None]:
    """The measure, and the text with the part of it that counts; None while there is none."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        measure = choose_measure()
        text, _ = choose_text(worker.pair)
        mask = st.selectbox(
            "part of the text", list(MASK_WORDS), format_func=MASK_WORDS.__getitem__, key="mask", width=220
        )
    if text is None:
        text = draw_pasted(worker.pair)
    else:
        draw_asked(text)
    try:
        return measure, layer_text(worker.pair, text, cast(Mask, mask)) if text is not None else None
    except GraftError as error:
        show_error(error)
        return measure, None


def _draw() -> None:
    choice = chosen()
    try:
        changes = weights_of(choice.spec, choice.device, choice.dtype)
    except GraftError as error:
        show_error(error)
        return
    st.write(
        "Fine-tuning added a matrix ΔW to each weight matrix W. Its size needs no text; what it does on the text "
        "chosen here stands below."
    )
    measure, text = _choose()
    found = measured(worker, PAGE, changes, measure, text)
    if found is None:
        return
    draw_sizes(worker.pair, found)
    if text is not None:
        draw_effects(worker, PAGE, found, text)


open_page(PAGE)
worker = open_worker()
_draw()
footer()
