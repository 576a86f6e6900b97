"""Downloads of a heatmap in every form. Knows figures; draws none on screen."""

from functools import partial

import streamlit as st

from core.present.heatmap import KINDS, Heatmap, export

_WORDS = {
    "png": "PNG, twice the size",
    "svg": "SVG",
    "pdf": "PDF",
    "html": "page (HTML)",
    "csv": "table (CSV)",
    "json": "JSON",
}
_MIME = {
    "png": "image/png", "svg": "image/svg+xml", "pdf": "application/pdf", "html": "text/html", "csv": "text/csv",
    "json": "application/json",
}  # fmt: skip


def draw_exports(figure: Heatmap, key: str) -> None:
    """A button for each form; every file carries legend, noise, provenance and the data's hash."""
    theme = st.context.theme.type or "light"
    with st.popover("Export"):
        for kind in KINDS:
            st.download_button(
                _WORDS[kind],
                partial(export, figure, kind, theme),
                f"{figure.file_name}.{kind}",
                _MIME[kind],
                on_click="ignore",
                key=f"export-{key}-{kind}",
                width="stretch",
            )
        st.caption(f"data SHA-256 {figure.data_hash[:16]}…, the same in every form")
