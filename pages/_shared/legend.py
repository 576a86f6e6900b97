"""The colour scale's legend, as wide as a line. Knows colours; knows no run."""

from dataclasses import asdict
from pathlib import Path

import streamlit as st

from core.measure.metrics import DEFAULT_COLOUR, metric_of
from core.present.colour import TERM_LINES
from core.present.strip import scale
from core.present.texts import two_digits
from pages._shared.components import script

_HERE = Path(__file__).parent
_legend = st.components.v2.component(
    "graft_legend",
    html="<div class='legend' data-testid='legend'></div>",
    css=(_HERE / "legend.css").read_text(),
    js=script("legend.js"),
)


def draw_legend(
    noise: float | None, metric: str = DEFAULT_COLOUR, parted: bool = True, terms: bool = False, key: str = "legend"
) -> None:
    """What colours, underlines and hatching mean; with a bar for where answers part, and medical terms, if drawn."""
    words = "below numerical noise" if noise is None else f"below numerical noise ({two_digits(noise)})"
    lines = {name: asdict(line) for name, line in TERM_LINES.items()} if terms else {}
    signed = metric_of(metric).signed
    _legend(key=key, data={**scale(metric), "noise": words, "signed": signed, "parted": parted, "terms": lines})
