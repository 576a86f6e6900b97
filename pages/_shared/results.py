"""What stands under the lanes of a run: legend, plain words, comparisons, numbers, downloads, link.

Knows the order of things; each is drawn by its own module.
"""

import streamlit as st

from core.present.answers_figure import answers_figure, asked_words
from core.present.figures import Figure
from core.present.live import sampling_of
from core.present.provenance import Source, provenance_line
from core.present.run_lanes import titled
from core.present.runs import RunReport
from pages._shared.asking import draw_link
from pages._shared.cross_panel import draw_cross
from pages._shared.exports import draw_exports
from pages._shared.history import draw_downloads
from pages._shared.lanes_panel import draw_report
from pages._shared.legend import draw_legend
from pages._shared.numbers import draw_numbers, draw_reference, draw_words
from pages._shared.options_panel import draw_options
from pages._shared.parted_panel import draw_parted
from pages._shared.resources import recorded_example


def draw_result(report: RunReport | None, simple: bool, written: RunReport | None = None) -> None:
    """Everything about a run but its lanes; only the legend while there is none.

    Args:
        report: of a run that is done.
        simple: whether to leave out what a clinician does not need.
        written: of a run whose answers are whole while its noise is still measured: what is told without it.
    """
    told = report or written
    draw_legend(told.noise if told else None)
    if told is not None:
        draw_words(told)
    if report is None or simple:
        return
    draw_options(report)
    draw_parted(report)
    draw_reference(report)
    draw_cross(report)
    with st.expander("Numbers"):
        draw_numbers(report)
    with st.container(horizontal=True):
        draw_exports(_answers(report), "answers")
        draw_downloads(report)
        with st.popover("Link"):
            draw_link(report.settings, report.messages[-1]["content"])
    if report.command is None:
        st.caption(
            "No line of the command line writes all of these answers again (there is none for a follow-up, a stopped "
            "answer and some forks), so the downloaded run names none."
        )


def _answers(report: RunReport) -> Figure:
    """All answers of a run as a figure to keep."""
    made, asked = report.provenance, report.settings
    source = Source(made.pair or "run", provenance_line(made), report.messages[-1]["content"])
    titles = {lane.answer.name: titled(report, lane.answer.name) for lane in report.lanes}
    how = asked_words(sampling_of(asked), asked.max_new_tokens, asked.system, asked.raw, len(report.messages) > 1)
    return answers_figure(source, [lane.answer for lane in report.lanes], titles, how)


def draw_recorded(simple: bool) -> RunReport | None:
    """The lanes of the recorded example, or a word on how to begin where there is none."""
    recorded = recorded_example()
    if recorded is None:
        st.info("Nothing asked yet. Choose an example or type a question, then press Run.")
        return None
    asked = recorded.messages[-1]["content"]
    st.caption(f"A recorded example, asked of the pair “{recorded.provenance.pair}” earlier: “{asked}”")
    draw_report(recorded, simple, key="recorded")
    return recorded


def draw_recorded_result() -> None:
    """The recorded example with all that belongs to it, for a page that has no pair yet."""
    simple = st.session_state["simple"]
    draw_result(draw_recorded(simple), simple)
