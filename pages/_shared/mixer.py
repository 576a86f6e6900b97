"""The layer mixer: which layers of the hybrid come from the fine-tuned model.

Keeps its choice in session state as text in the layer grammar. Knows widgets; gates are made in core.
"""

from dataclasses import dataclass

import streamlit as st

from core.errors import GraftError
from core.pair.gates import format_layers, parse_layers, thirds
from pages._shared.components import layer_row
from pages._shared.frame import show_error

_PARTS = {"both": "attention and MLP", "attn": "attention only", "mlp": "MLP only"}
_DIRECTIONS = {"tuned-into-base": "fine-tuned into base", "base-into-tuned": "base into fine-tuned"}


@dataclass(frozen=True)
class Mix:
    """What the mixer is set to."""

    layers: str
    part: str
    strength: float
    direction: str


def _from_row() -> None:
    chosen = st.session_state["layer_row"]["layers"]
    st.session_state["layers"] = format_layers(chosen, st.session_state["n_layers"])
    st.session_state["preset"] = None


def _from_preset() -> None:
    if st.session_state["preset"] is not None:
        presets = {"none": (), "all": range(st.session_state["n_layers"])} | thirds(st.session_state["n_layers"])
        st.session_state["layers"] = format_layers(presets[st.session_state["preset"]], st.session_state["n_layers"])


def _from_text() -> None:
    st.session_state["preset"] = None


def _start(n_layers: int) -> None:
    if st.session_state["layers"] is None:
        st.session_state["layers"] = format_layers(thirds(n_layers)["upper"], n_layers)


def current_mix(n_layers: int) -> Mix:
    """What the mixer was last set to, without drawing it."""
    _start(n_layers)
    state = st.session_state
    return Mix(state["layers"], state["part"], state["strength"], state["direction"])


def draw_mixer(n_layers: int) -> Mix | None:
    """Draws the mixer; None where what is typed cannot be used (and says so)."""
    st.session_state["n_layers"] = n_layers
    _start(n_layers)
    models = ("fine-tuned", "base")
    donor, host = models if st.session_state["direction"] == "tuned-into-base" else models[::-1]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.segmented_control(
            f"Layers taken from the {donor} model",
            ["none", "lower", "middle", "upper", "all"],
            key="preset",
            on_change=_from_preset,
            help=f"These layers of the hybrid are the {donor} model's (grafted); all others are the {host} model's.",
            width="content",
        )
        typed = st.text_input(
            "as text", key="layers", on_change=_from_text, help="For example 20-29 or 3,7,20-22.", width=130
        )
        part = st.selectbox("part", list(_PARTS), format_func=_PARTS.__getitem__, key="part", width=180)
        strength = st.slider(
            "strength",
            0.0,
            4.0,
            step=0.1,
            key="strength",
            help=f"0 is {host}, 1 is {donor}; above 1 amplifies, from base to fine-tuned only.",
            width=150,
        )
        direction = st.selectbox(
            "direction", list(_DIRECTIONS), format_func=_DIRECTIONS.__getitem__, key="direction", width=190
        )
    try:
        layers = parse_layers(typed, n_layers)
    except GraftError as error:
        show_error(error)
        return None
    layer_row(n_layers, layers, (donor, host), key="layer_row", on_change=_from_row)
    st.caption(
        f"{len(layers)} of {n_layers} layers · layer 0 reads the words, layer {n_layers - 1} is nearest the output"
    )
    return Mix(format_layers(layers, n_layers), part, strength, direction)
