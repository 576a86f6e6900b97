"""Where they part: base's answer and another one up to the token at which they differ, and side by side.

Knows finished runs; decodes nothing.
"""

import streamlit as st

from core.present.answer_sections import Section, Side, sections
from core.present.parted import parted_rows, parted_words, where_they_part
from core.present.run_lanes import called, coloured, lane_run, titled
from core.present.runs import RunReport
from pages._shared.components import word_sides
from pages._shared.frame import escaped


def draw_parted(report: RunReport) -> None:
    """One other answer against base's: the first token that differs, then both texts."""
    st.markdown("**Where they part**")
    others = [lane.answer.name for lane in report.lanes if lane.answer.name != "base"]
    chosen = st.segmented_control(
        "Base beside",
        others,
        default="tuned",
        required=True,
        format_func=lambda name: called(report, name),
        key="word_diff_with",
    )
    if chosen not in others:
        return
    base, other, name = lane_run(report, "base"), lane_run(report, chosen), called(report, chosen)
    found = where_they_part(base, other)
    st.markdown(escaped(parted_words(found, name, report.provenance.noise_floor or 0.0)))
    if found.tokens and found.kl is not None:
        rows = [{key: escaped(value) for key, value in row.items()} for row in parted_rows(found, name)]
        st.table(rows, hide_index=True, width="content")
        given = "the words both answers begin with" if found.at else "the question alone"
        own = "" if chosen == "tuned" else f" {escaped(name)}'s own probabilities are not kept."
        st.caption(
            f"Probabilities of the next token, given {given}.{own} They say what each model would write, not which "
            "of it is right."
        )
    for section in sections(base, other):
        _draw_section(report, chosen, section)


def _draw_section(report: RunReport, chosen: str, section: Section) -> None:
    if section.heading:
        st.markdown(f"**{section.heading}**")
    sides = [
        (coloured(report, name), _title(titled(report, name), side), side.stretches, side.note)
        for name, side in (("base", section.left), (chosen, section.right))
    ]
    word_sides(sides, key=f"word-diff-{section.heading}")
    if section.n_shared is not None:
        st.caption(
            f"{section.n_shared} words stand in both, in the same order, of {section.n_left} and {section.n_right}; "
            "what only one answer has is marked. Long ones scroll together."
        )


def _title(name: str, side: Side) -> str:
    return f"{name} · {side.label}" if side.label else name
