"""Study: both models over many prompts, and four questions answered by claims that can turn out false."""

import streamlit as st

from pages._shared.frame import footer, open_page, open_worker
from pages._shared.pair_card import draw_pair_card
from pages._shared.study_findings import draw_comparison, draw_findings, findings_at_hand
from pages._shared.study_list import draw_list
from pages._shared.study_preview import draw_preview
from pages._shared.study_progress import draw_state
from pages._shared.study_setup import choose_study

PAGE = "Study"
VIEWS = ("Findings", "Compare with another study")


def _leave() -> None:
    st.session_state["study_open"] = None


def _draw_study(name: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("All studies", key="study_leave", on_click=_leave, icon=":material/arrow_back:")
        st.markdown(f"#### {name}")
    study = draw_state(worker, name)
    if study is None:
        return
    told = findings_at_hand(study)
    if told is None:
        return
    simple = st.session_state["simple"]
    if (
        not simple
        and st.segmented_control("View", VIEWS, key="study_view", default=VIEWS[0], required=True) == VIEWS[1]
    ):
        draw_comparison(study, told)
    else:
        draw_findings(told, simple)


def _draw_all() -> None:
    st.write(
        "One answer is an anecdote. A study asks many questions of both models and says what holds over all of them, "
        "with intervals, and what does not."
    )
    draw_list(worker)
    if st.session_state["simple"]:
        return
    with st.expander("A new study", expanded=True):
        asked = choose_study()
        if st.button("Preview", type="primary", key="study_preview", disabled=asked is None):
            st.session_state["study_asked"] = asked
        if asked is not None and st.session_state.get("study_asked") == asked:
            draw_preview(worker, PAGE, asked)
        else:
            st.caption("Nothing starts before the preview has shown the rows, the prompts and the time it would take.")


open_page(PAGE)
worker = open_worker()
with st.container(horizontal=True, vertical_alignment="center"):
    draw_pair_card(worker)
opened = st.session_state.get("study_open")
if opened is not None:
    _draw_study(opened)
else:
    _draw_all()
footer()
