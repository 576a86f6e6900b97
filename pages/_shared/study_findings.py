"""What a study found: its report on the page, by question, with downloads.

Knows documents and findings that have been computed; computes none.
"""

import time

import streamlit as st

from core.present.document import Cards, Picture
from core.present.document_html import as_html
from core.present.document_pdf import as_pdf
from core.present.study_told import ToldStudy
from core.study.shelf import ShelvedStudy
from core.study.verdicts import FEWEST_DOCUMENTS
from pages._shared.document_panel import draw_block, draw_card, draw_section
from pages._shared.frame import escaped, show_error
from pages._shared.resources import Telling, findings_of_study

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 0.3
_QUESTION = "question-"


def findings_at_hand(study: ShelvedStudy) -> ToldStudy | None:
    """The study's findings; None while there are none or they are on their way (and says so)."""
    stamp = study.stamp
    if not stamp:
        if study.state != "running":
            st.caption("There are no tables yet: resume the study.")
        return None
    telling = findings_of_study(study.folder, stamp)
    if not telling.done.wait(PATIENCE_SECONDS):
        st.fragment(_watch, run_every=POLL_SECONDS)(telling, time.monotonic())
        return None
    if telling.error is not None:
        show_error(telling.error)
    return telling.told


def _watch(telling: Telling, since: float) -> None:
    if telling.done.is_set():
        st.rerun()
    st.status(f"Findings: {telling.stage} … {time.monotonic() - since:.0f} s", state="running")


def draw_findings(study: ShelvedStudy, told: ToldStudy, simple: bool) -> None:
    """Headlines, then question by question, then methods, corpora, limits and where it all comes from."""
    document = told.document
    if document.notice:
        few = (
            f" Claims on fewer than {FEWEST_DOCUMENTS} documents stay inconclusive."
            if not told.results.finished
            else ""
        )
        st.warning(escaped(f"{document.notice}{few}"), icon=":material/hourglass_top:")
    sections = {section.key: section for section in document.sections}
    asked = {key: section for key, section in sections.items() if key.startswith(_QUESTION)}
    if simple:
        for section in asked.values():
            st.markdown(f"##### {escaped(section.title)}")
            for block in section.blocks:
                if isinstance(block, Cards) and not block.folded:
                    for card in block.cards:
                        draw_card(card, simple=True)
        draw_section(sections["limits"])
        return
    draw_section(sections["headline"])
    _draw_downloads(study, told)
    key = st.segmented_control(
        "Question", list(asked), format_func=lambda one: asked[one].title, key="study_question", required=True,
        default=next(iter(asked)),
    )  # fmt: skip
    blocks = asked[key or next(iter(asked))].blocks
    left, right = st.columns([5, 6])
    with left:
        for block in blocks:
            if not isinstance(block, Picture):
                draw_block(block)
    with right:
        for block in blocks:
            if isinstance(block, Picture):
                draw_block(block)
    for section in sections.values():
        if section.key not in ("headline", *asked):
            with st.expander(section.title):
                for block in section.blocks:
                    draw_block(block)


def _draw_downloads(study: ShelvedStudy, told: ToldStudy) -> None:
    with st.container(horizontal=True):
        st.download_button(
            "Report (PDF)", lambda: as_pdf(told.document), f"{study.name}.pdf", "application/pdf", on_click="ignore",
            key="study_pdf",
        )  # fmt: skip
        st.download_button(
            "Report (page, HTML)", lambda: as_html(told.document), f"{study.name}.html", "text/html",
            on_click="ignore", key="study_html",
        )  # fmt: skip
