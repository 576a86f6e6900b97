"""Divergence: where the two models differ on a text, token by token; and ask a token why."""

from functools import partial

import streamlit as st

from core.errors import GraftError
from core.generate.requests import Progress
from core.measure.diff import Diff, diff
from core.measure.metrics import METRICS
from core.measure.units import GRANULARITIES
from core.pair.pair import Pair
from core.pair.parts import Mask
from core.present.provenance import provenance_line, provenance_of
from core.present.words import LIMITS
from pages._shared.frame import footer, open_page, open_worker, show_error
from pages._shared.heat_panel import Source, draw_heat, draw_summary
from pages._shared.legend import draw_legend
from pages._shared.tasks import compute
from pages._shared.texts import PASTED, Text, draw_pasted, run_at_hand, texts_of
from pages._shared.why_panel import ask_why

PAGE = "Divergence"
MASKS = {
    "response": "reasoning and answer",
    "reasoning": "reasoning",
    "answer": "answer",
    "prompt": "question",
    "all": "all",
}
NOTHING = "nothing"


def _score(text: Text, mask: Mask, pair: Pair, progress: Progress) -> Diff:
    return diff(pair, text.prompt, text.ids, mask)


def _choose() -> tuple[list[Text], str, Mask, str]:
    """The texts to look at, the metric, the mask, the granularity."""
    report = run_at_hand()
    at_hand: dict[str, Text] = {}
    try:
        at_hand = {text.label: text for text in (texts_of(worker.pair, report) if report else ())}
    except GraftError as error:
        show_error(error)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        first = st.selectbox("Text", [*reversed(at_hand), PASTED], key="text_first", width=230)
        beside = st.selectbox("beside it", [NOTHING, *(t for t in at_hand if t != first)], key="text_beside", width=230)
        metric = st.selectbox("colour", list(METRICS), format_func=lambda m: METRICS[m].label, key="metric", width=200)
        mask = st.selectbox("part of the text", list(MASKS), format_func=MASKS.__getitem__, key="mask", width=220)
        granularity = st.segmented_control("by", GRANULARITIES, key="granularity", required=True, default="token")
    if report is not None and first != PASTED:
        st.caption(f"Asked: “{report.messages[-1]['content']}”")
    chosen = draw_pasted(worker.pair) if first == PASTED else at_hand.get(first)
    texts = [chosen] if chosen is not None else []
    return [*texts, *([at_hand[beside]] if beside in at_hand else [])], metric, mask, granularity or "token"


open_page(PAGE)
worker = open_worker()
texts, metric, mask, granularity = _choose()
scored = []
for number, text in enumerate(texts):
    work = partial(_score, text, mask)
    found = compute(worker, f"diff {number}", PAGE, (text.prompt.ids, text.ids, mask), work, "Scoring every token")
    if found is not None:
        scored.append(found)
if texts and len(scored) == len(texts):
    source = Source(worker.pair.spec.name, provenance_line(provenance_of(worker.pair)))
    picked = draw_heat(texts, scored, metric, granularity, source)
    draw_legend(scored[0].summary[metric].noise_token, metric)
    if picked is not None:
        st.session_state["asked_token"] = picked
    which, pos = st.session_state.get("asked_token", (0, 0))
    if which < len(texts) and 0 < pos < len(scored[which].tokens):
        with st.container(border=True):
            ask_why(worker, PAGE, texts[which], pos)
    else:
        st.info("Click a token, or walk to it with the arrow keys and press Enter, to ask why it is there.")
    for text, found in zip(texts, scored, strict=True):
        draw_summary(text, found)
    st.caption(LIMITS)
footer()
