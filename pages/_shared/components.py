"""The two browser components: the token strip and the layer row.

JSON in, small events out. Knows the browser's side; knows no models.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from core.present.colour import SPEAKERS

_HERE = Path(__file__).parent


def _nothing() -> None:
    return None


_token_strip = st.components.v2.component(
    "graft_token_strip",
    html="<div class='lanes'></div>",
    css=(_HERE / "token_strip.css").read_text(),
    js=(_HERE / "token_strip.js").read_text(),
)
_layer_row = st.components.v2.component(
    "graft_layer_row",
    html="<div class='layers' data-testid='layers' role='group' aria-label='Layers of the hybrid'></div>",
    css=(_HERE / "layer_row.css").read_text(),
    js=(_HERE / "layer_row.js").read_text(),
)


def token_lanes(lanes: Sequence[dict[str, Any]], key: str) -> tuple[int, int] | None:
    """Lanes of tokens, side by side where there is room; returns lane and index of a token just clicked."""
    picked = _token_strip(key=key, data={"lanes": list(lanes)}, on_picked_change=_nothing).picked
    return (picked[0], picked[1]) if picked else None


def layer_row(
    n_layers: int, layers: Sequence[int], words: tuple[str, str], key: str, on_change: Callable[[], None]
) -> None:
    """One switch per layer, named by whose it is on and off; `st.session_state[key]["layers"]` holds the choice."""
    data = {"n": n_layers, "layers": list(layers), "colour": SPEAKERS["hybrid"].light, "words": list(words)}
    _layer_row(key=key, data=data, on_layers_change=on_change)
