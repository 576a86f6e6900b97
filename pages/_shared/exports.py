"""Figures on a page with their downloads in every form. Knows figures; computes none."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import streamlit as st

from core.present.charts import Rows, clear
from core.present.figures import FORMS, LIMIT, Exportable, Figure
from core.present.provenance import Source

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


def draw_figure(
    source: Source,
    title: str,
    legend: str,
    noise_note: str,
    slug: str,
    rows: Rows,
    draw: Callable[[Rows], Any],
    limit: str = LIMIT,
    width: Literal["stretch", "content"] = "stretch",
) -> None:
    """A chart with its downloads under it; the fields are those of `Figure`, `width` as wide as the page or its own."""
    figure = Figure(title, source, legend, noise_note, slug, tuple(rows), draw, limit)
    st.altair_chart(clear(draw(rows)), theme=None, width=width)
    draw_exports(figure, slug)


def draw_exports(figure: Exportable, key: str) -> None:
    """A button for each form; every file carries legend, noise, provenance and the data's hash."""
    theme = st.context.theme.type or "light"
    with st.popover("Export"):
        for kind in FORMS:
            st.download_button(
                _WORDS[kind],
                partial(figure.as_file, kind, theme),
                f"{figure.file_name}.{kind}",
                _MIME[kind],
                on_click="ignore",
                key=f"export-{key}-{kind}",
                width="stretch",
            )
        st.caption(f"data SHA-256 {figure.data_hash[:16]}…, the same in every form")
