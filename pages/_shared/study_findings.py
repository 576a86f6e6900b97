"""What a study found: its report on the page, by question, with downloads.

Knows documents and findings that have been computed; computes none.
"""

import time
from functools import partial
from typing import TypeVar

import streamlit as st

from core.present.document import Cards, Picture
from core.present.document_file import DocumentFile
from core.present.study_told import ToldStudy
from core.study.shelf import ShelvedStudy, all_shelved, shelved
from core.study.verdicts import FEWEST_DOCUMENTS
from pages._shared.document_panel import draw_block, draw_card, draw_section
from pages._shared.frame import escaped, show_error
from pages._shared.resources import Telling, comparison_of, findings_of_study

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 0.3
_QUESTION = "question-"
_FORMS = {"pdf": ("Report (PDF)", "application/pdf"), "html": ("Report (page, HTML)", "text/html")}
Told = TypeVar("Told")


def findings_at_hand(study: ShelvedStudy) -> ToldStudy | None:
    """The study's findings; None while there are none or they are on their way (and says so)."""
    stamp = study.stamp
    if not stamp:
        if study.state != "running":
            st.caption("There are no tables yet: resume the study.")
        return None
    return _told(findings_of_study(study.folder, stamp))


def _told(telling: Telling[Told]) -> Told | None:
    """What has been told; until then says what is being computed."""
    if not telling.done.wait(PATIENCE_SECONDS):
        st.fragment(_watch, run_every=POLL_SECONDS)(telling, time.monotonic())
        return None
    if telling.error is not None:
        show_error(telling.error)
    return telling.told


def _watch(telling: Telling[Told], since: float) -> None:
    if telling.done.is_set():
        st.rerun()
    st.status(f"Findings: {telling.stage} … {time.monotonic() - since:.0f} s", state="running")


def draw_findings(told: ToldStudy, simple: bool) -> None:
    """Headlines, then question by question, then methods, corpora, limits and where it all comes from."""
    document = told.file.document
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
    _draw_downloads(told.file, "study_report")
    key = st.segmented_control(
        "Question", list(asked), format_func=lambda one: asked[one].title, key="study_question", required=True,
        default=next(iter(asked)),
    )  # fmt: skip
    blocks = asked[key or next(iter(asked))].blocks
    with st.container(horizontal=True, gap="medium"):  # figures go below the cards where both have no room
        for width, pictures in ((470, False), (600, True)):
            with st.container(width=width):
                for block in blocks:
                    if isinstance(block, Picture) == pictures:
                        draw_block(block)
    for section in sections.values():
        if section.key not in ("headline", *asked):
            with st.expander(section.title):
                for block in section.blocks:
                    draw_block(block)


def _draw_downloads(file: DocumentFile, key: str) -> None:
    with st.container(horizontal=True):
        for kind, (words, mime) in _FORMS.items():
            st.download_button(
                words, partial(file.as_file, kind), f"{file.file_name}.{kind}", mime, on_click="ignore",
                key=f"{key}_{kind}",
            )  # fmt: skip


def draw_comparison(study: ShelvedStudy, told: ToldStudy) -> None:
    """A second study to set this one against, and what comes of it."""
    others = [other.name for other in all_shelved()[0] if other.name != study.name and other.stamp]
    name = st.selectbox(
        "Compare with", others, index=None, key="study_other", width=320,
        placeholder="another study" if others else "there is no other study yet",
    )  # fmt: skip
    if name is None:
        return
    other = shelved(name)
    second = findings_at_hand(other)
    if second is None:
        return
    file = _told(comparison_of((f"{study.name} {study.stamp}", f"{name} {other.stamp}"), told, second))
    if file is None:
        return
    _draw_downloads(file, "study_comparison")
    for section in file.document.sections:
        draw_section(section)
