"""Divergence: where the two models differ on a text, token by token; and ask a token why."""

from functools import partial

import streamlit as st

from core.generate.requests import Progress
from core.measure.diff import Diff, diff
from core.measure.metrics import METRICS
from core.measure.units import GRANULARITIES
from core.pair.pair import Pair
from core.pair.parts import Mask
from core.present.heatmap import noise_of_metric
from core.present.provenance import source_of
from core.present.words import LIMITS
from pages._shared.frame import footer, open_page, open_worker
from pages._shared.heat_panel import Look, draw_heat, draw_summary
from pages._shared.legend import draw_legend
from pages._shared.lens_panel import draw_lens
from pages._shared.tasks import compute
from pages._shared.texts import MASK_WORDS, Text, choose_text, draw_asked, draw_pasted
from pages._shared.why_panel import ask_why

PAGE = "Divergence"
NOTHING = "nothing"


def _score(text: Text, mask: Mask, pair: Pair, progress: Progress) -> Diff:
    return diff(pair, text.prompt, text.ids, mask)


def _choose() -> tuple[list[Text], Mask, Look]:
    """The texts to look at, which part of them counts, and how they are drawn."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen, at_hand = choose_text(worker.pair)
        others = [label for label in at_hand if chosen is None or label != chosen.label]
        beside = st.selectbox("beside it", [NOTHING, *others], key="text_beside", width=230)
        metric = st.selectbox("colour", list(METRICS), format_func=lambda m: METRICS[m].label, key="metric", width=200)
        mask = st.selectbox(
            "part of the text", list(MASK_WORDS), format_func=MASK_WORDS.__getitem__, key="mask", width=220
        )
        granularity = st.segmented_control("by", GRANULARITIES, key="granularity", required=True, default="token")
        with st.popover("Marks"):
            terms = st.toggle(
                "medical terms", key="show_terms", help="Underlined by category. A word list, not a judgement."
            )
            spaces = st.toggle("spaces", key="show_spaces")
    if chosen is None:
        chosen = draw_pasted(worker.pair)
    else:
        draw_asked(chosen)
    texts = [chosen] if chosen is not None else []
    look = Look(metric, granularity or "token", spaces, terms)
    return [*texts, *([at_hand[beside]] if beside in at_hand else [])], mask, look


open_page(PAGE)
worker = open_worker()
texts, mask, look = _choose()
scored = []
for number, text in enumerate(texts):
    work = partial(_score, text, mask)
    found = compute(worker, f"diff {number}", PAGE, (text.prompt.ids, text.ids, mask), work, "Scoring every token")
    if found is not None:
        scored.append(found)
if texts and len(scored) == len(texts):
    sources = [source_of(worker.pair, text.question) for text in texts]
    picked = draw_heat(texts, scored, look, sources)
    draw_legend(noise_of_metric(scored[0], look.metric), look.metric, parted=False, terms=look.terms)
    if picked is not None:
        st.session_state["asked_token"] = picked
    which, pos = st.session_state.get("asked_token", (0, 0))
    if which < len(texts) and 0 < pos < len(scored[which].tokens):
        with st.container(border=True):
            ask_why(worker, PAGE, texts[which], pos)
    else:
        st.info("Click a token, or walk to it with the arrow keys and press Enter, to ask why it is there.")
    with st.container(border=True):
        draw_lens(worker, PAGE, texts[which if which < len(texts) else 0], mask)
    for text, found, source in zip(texts, scored, sources, strict=True):
        draw_summary(text, found, source)
    st.caption(LIMITS)
footer()
