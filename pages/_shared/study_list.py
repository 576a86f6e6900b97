"""The studies of this server as a list. Knows the shelf; opens none."""

import streamlit as st

from core.generate.worker import Worker
from core.study.shelf import ShelvedStudy, all_shelved
from pages._shared.frame import show_error
from pages._shared.resources import study_desk

EMPTY = (
    "A study asks both models many prompts instead of one, on medical and on general questions, and answers four "
    "questions with claims that can turn out false: did it learn medicine and did it forget, is the divergence on "
    "medical terms and in explanations, do higher layers carry it, and what moved inside. Every effect that is tested "
    "has an interval over documents, and every claim says what would change it. **None has been run on this server "
    "yet.** It takes minutes to hours; the preview measures how long on this machine before anything starts. A report "
    "of the shipped questions is in `docs/study` of the project."
)


def draw_list(worker: Worker) -> None:
    """Every study with its state and a button that opens it; what a study is, where there is none."""
    running = study_desk().at_work()
    studies, unread = all_shelved()
    if not studies and running is None:
        st.info(EMPTY)
    if running is not None and running.folder.name not in {study.name for study in studies}:
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{running.folder.name}** · beginning")
            st.button("Open", key=f"study-open-{running.folder.name}", on_click=_open, args=(running.folder.name,))
    for study in studies:
        _draw_row(worker, study)
    for error in unread:
        show_error(error)


def _draw_row(worker: Worker, study: ShelvedStudy) -> None:
    facts, when = study.record["facts"], str(study.record["created"]).replace("T", " ")[:16]
    corpora = ", ".join(f"{one['name']} {one['rows']:,}" for one in study.record["corpora"])
    other = "" if study.of_pair(worker.pair) else " (another pair)"
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(
            f"**{study.name}** · {study.state}, {study.done:,} of {study.prompts:,} prompts · {corpora} · "
            f"{facts['pair']}{other} · {when} UTC",
            width="stretch",
        )
        st.button("Open", key=f"study-open-{study.name}", on_click=_open, args=(study.name,))


def _open(name: str) -> None:
    st.session_state["study_open"] = name
