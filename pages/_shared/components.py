"""The browser components: the token strip, the layer row, two texts word by word.

JSON in, small events out. Knows the browser's side; knows no models.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import streamlit as st

from core.present.colour import SPEAKERS, mark_of, speaker_of
from core.present.worddiff import Stretch

_HERE = Path(__file__).parent


def script(name: str) -> str:
    """A component's script, after what all of them share."""
    return (_HERE / "theme.js").read_text() + (_HERE / name).read_text()


def _nothing() -> None:
    return None


_token_strip = st.components.v2.component(
    "graft_token_strip",
    html="<div class='lanes'></div>",
    css=(_HERE / "token_strip.css").read_text(),
    js=script("token_strip.js"),
)
_layer_row = st.components.v2.component(
    "graft_layer_row",
    html="<div class='layers' data-testid='layers' role='group' aria-label='Layers of the hybrid'></div>",
    css=(_HERE / "layer_row.css").read_text(),
    js=(_HERE / "layer_row.js").read_text(),
)


_word_diff = st.components.v2.component(
    "graft_word_diff",
    html="<div class='pair'></div>",
    css=(_HERE / "word_diff.css").read_text(),
    js=script("word_diff.js"),
)


def word_sides(sides: Sequence[tuple[str, str, Sequence[Stretch], str]], key: str) -> None:
    """Two texts side by side, each as (lane, title, stretches, note); what one has alone is marked.

    The note stands where there is no text.
    """
    data = [
        {
            "mark": mark_of(lane),
            "title": title,
            "colour": asdict(SPEAKERS[speaker_of(lane)]),
            "stretches": [[stretch.text, stretch.shared] for stretch in stretches],
            "note": note,
        }
        for lane, title, stretches, note in sides
    ]
    _word_diff(key=key, data={"sides": data})


def token_lanes(
    lanes: Sequence[dict[str, Any]], key: str, on_picked: Callable[[], None] = _nothing, panel: str = ""
) -> tuple[int, int] | None:
    """Lanes of tokens, side by side where there is room; returns lane and index of a token just clicked.

    Args:
        lanes: as `strip` makes them.
        key: of the component; `st.session_state[key]["picked"]` holds the click while `on_picked` runs.
        on_picked: called at a click, before the page is drawn anew.
        panel: key of the container a click opens, to be brought into view; none if empty.
    """
    data = {"lanes": list(lanes), "panel": panel}
    picked = _token_strip(key=key, data=data, on_picked_change=on_picked).picked
    return (picked[0], picked[1]) if picked else None


def layer_row(
    n_layers: int, layers: Sequence[int], words: tuple[str, str], key: str, on_change: Callable[[], None]
) -> None:
    """One switch per layer, named by whose it is on and off; `st.session_state[key]["layers"]` holds the choice."""
    data = {"n": n_layers, "layers": list(layers), "colour": SPEAKERS["hybrid"].light, "words": list(words)}
    _layer_row(key=key, data=data, on_layers_change=on_change)
