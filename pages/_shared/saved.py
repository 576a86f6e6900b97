"""Hybrids saved by name in this session, and carried elsewhere as text.

Knows widgets and the text form; the mixer decides what becomes of a chosen one.
"""

from collections.abc import Callable
from dataclasses import replace

import streamlit as st

from core.errors import GraftError
from core.present.hybrids import Hybrid, checked_name, hybrid_from
from pages._shared.frame import show_error


def draw_saved(shown: Hybrid, use: Callable[[Hybrid], None]) -> None:
    """Saves the hybrid that is shown, brings back a saved one, shows all as text and takes text in."""
    saved: dict[str, Hybrid] = st.session_state.setdefault("saved_hybrids", {})
    with st.popover("Saved sets", type="tertiary"):
        st.caption("Kept in this browser session. To keep a set for longer, copy its text.")
        st.text_input("Save this one as", key="save_as", placeholder=_unused(shown.name, saved))
        st.button("Save", on_click=_save, args=(shown,))
        st.code(shown.text(), language=None, wrap_lines=True)
        if saved:
            st.selectbox(
                "Bring back",
                list(saved),
                index=None,
                format_func=lambda name: saved[name].text(),
                key="bring_back",
                on_change=_bring_back,
                args=(use,),
            )
            with st.expander("All as text"):
                st.code("\n".join(hybrid.text() for hybrid in saved.values()), language=None, wrap_lines=True)
        st.text_area(
            "Take from text", key="sets_text", placeholder="Upper: 20-29 / mlp / 0.5", height=68, help="One set a line."
        )
        st.button("Take", on_click=_take)


def _unused(name: str, saved: dict[str, Hybrid]) -> str:
    """The name, with a number after it where it is taken."""
    return name if name not in saved else next(f"{name} {k}" for k in range(2, 999) if f"{name} {k}" not in saved)


def _save(shown: Hybrid) -> None:
    saved: dict[str, Hybrid] = st.session_state["saved_hybrids"]
    try:
        name = checked_name(st.session_state["save_as"] or _unused(shown.name, saved))
    except GraftError as error:
        show_error(error)
        return
    saved[name] = replace(shown, name=name)
    st.session_state["save_as"] = ""


def _bring_back(use: Callable[[Hybrid], None]) -> None:
    name = st.session_state["bring_back"]
    if name is not None:
        use(st.session_state["saved_hybrids"][name])
        st.session_state["bring_back"] = None


def _take() -> None:
    lines = [line for line in (st.session_state["sets_text"] or "").splitlines() if line.strip()]
    try:
        found = [hybrid_from(line) for line in lines]
    except GraftError as error:
        show_error(error)
        return
    saved: dict[str, Hybrid] = st.session_state["saved_hybrids"]
    for line, hybrid in zip(lines, found, strict=True):
        name = hybrid.name if ":" in line else _unused(hybrid.name, saved)
        saved[name] = replace(hybrid, name=name)
    st.session_state["sets_text"] = ""
