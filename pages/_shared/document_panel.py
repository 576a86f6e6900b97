"""A report's blocks on a page: texts, tables, finding cards, and figures with their exports.

Knows documents; knows no study.
"""

import base64
import html

import streamlit as st

from core.present.charts import clear
from core.present.document import Block, Cards, Code, Items, Picture, Section, Table, Text
from core.present.document_html import strip_svg
from core.present.study_cards import Card, Strip
from pages._shared.exports import draw_exports
from pages._shared.frame import escaped

_CARD = "border-left:5px solid {own};padding:.1rem .9rem"
_AROUND = 90  # pixels of axes and legend
_INK, _FAINT = "#7B8490", "#7B849060"  # as charts of a page


def draw_section(section: Section) -> None:
    """A heading and its blocks."""
    st.markdown(f"##### {escaped(section.title)}")
    for block in section.blocks:
        draw_block(block)


def draw_block(block: Block) -> None:
    """One block."""
    match block:
        case Text():
            (st.caption if block.small else st.write)(escaped(block.words))
        case Items():
            st.markdown("\n".join(f"- {escaped(item)}" for item in block.items))
        case Code():
            st.code(block.line, language="bash", wrap_lines=True)
        case Table():
            columns = {name or "\u00a0": [row[k] for row in block.rows] for k, name in enumerate(block.header)}
            st.table(columns, hide_index=True)
        case Picture():
            _draw_picture(block)
        case Cards():
            if block.folded:
                with st.expander(f"{block.folded} ({len(block.cards)})"):
                    for card in block.cards:
                        draw_card(card)
            else:
                for card in block.cards:
                    draw_card(card)


def draw_card(card: Card, simple: bool = False) -> None:
    """A claim with its verdict; in the simple view its sentence alone, without numbers of tests."""
    own = card.look.dark if st.context.theme.type == "dark" else card.look.light
    said = [
        f"<b>{_text(card.number)} {_text(card.claim)}</b>",
        f"<span style='color:{own};font-weight:700'>{card.look.mark} {_text(card.verdict)}</span>",
    ]
    if simple:
        said.append(_text(card.sentence))
    else:
        said.append(
            f"<span style='font-size:1.15em;font-weight:600'>{_text(card.effect)}</span> "
            f"<small>{_text(card.interval)}</small>"
        )
        said += [_strip(card.strip, own)] if card.strip else []
        said += [
            _text(card.sentence),
            f"<small>{_text(card.least)}</small>",
            f"<small><b>What would change it</b> {_text(card.would_change_it)}</small>",
            f"<small><b>Limit</b> {_text(card.limit)}</small>",
        ]
    lines = "".join(f"<div style='margin:.3rem 0'>{line}</div>" for line in said)
    st.html(f"<div data-testid='finding' style='{_CARD.format(own=own)}'>{lines}</div>")


def _strip(strip: Strip, own: str) -> str:
    """As a picture: Streamlit lets no drawing through."""
    svg = strip_svg(strip).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" height="26" ', 1)
    for name, colour in (("ink", _INK), ("faint", _FAINT), ("own", own)):
        svg = svg.replace(f"var(--{name})", colour)
    content = base64.b64encode(svg.encode()).decode()
    words = "effect with its interval; dashed: no effect; short line: the smallest that matters"
    style = "width:100%;height:26px;display:block"
    return f"<img alt='{words}' title='{words}' style='{style}' src='data:image/svg+xml;base64,{content}'>"


def _draw_picture(block: Picture) -> None:
    figure = block.figure
    st.markdown(f"**{escaped(figure.title)}**")
    chart = figure.draw(figure.rows)
    height = getattr(chart, "height", None)
    if isinstance(height, int | float):  # Streamlit counts axes and legend into it
        st.altair_chart(clear(chart), theme=None, width="stretch", height=int(height) + _AROUND)
    else:
        st.altair_chart(clear(chart), theme=None, width="content")
    st.caption(escaped(f"{figure.legend} {figure.noise_note} {figure.limit}"))
    with st.container(horizontal=True):
        draw_exports(figure, figure.slug)
        with st.popover("Table"):
            st.dataframe([dict(row) for row in figure.rows], hide_index=True, width="stretch")


def _text(words: str) -> str:
    return html.escape(words)
