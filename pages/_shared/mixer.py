"""The layer mixer: which layers of each hybrid come from the fine-tuned model.

Session state keeps the hybrids; the controls show the one being edited and write back at every change. Knows
widgets; gates are made in core.
"""

from dataclasses import replace

import streamlit as st

from core.errors import ArgumentError, GraftError
from core.pair.gates import format_layers, parse_layers, thirds
from core.present.colour import mark_of
from core.present.hybrids import MAX_HYBRIDS, Hybrid, checked_name, lane_names
from pages._shared.components import layer_row
from pages._shared.frame import show_error
from pages._shared.saved import draw_saved
from pages._shared.texts import DIRECTION_WORDS

_PARTS = {"both": "attention and MLP", "attn": "attention only", "mlp": "MLP only"}
_FIELDS = ("layers", "part", "strength", "direction")


def use_hybrids(hybrids: tuple[Hybrid, ...]) -> None:
    """Replaces what the mixer holds, as a link or a reopened run does."""
    st.session_state["hybrids"] = list(hybrids)
    _edit(0)


def current_hybrids(n_layers: int) -> tuple[Hybrid, ...]:
    """What the mixer was last set to, without drawing it; layers were not checked."""
    st.session_state["n_layers"] = n_layers
    if "hybrids" not in st.session_state:
        use_hybrids((Hybrid(layers=_presets()["upper"]),))
    found: list[Hybrid] = st.session_state["hybrids"]
    return tuple(found)


def _presets() -> dict[str, str]:
    """Preset → its layers as text."""
    n_layers = st.session_state["n_layers"]
    sets = {"none": (), "all": range(n_layers)} | thirds(n_layers)
    return {name: format_layers(layers, n_layers) for name, layers in sets.items()}


def _preset_of(layers: str) -> str | None:
    return next((name for name, text in _presets().items() if text == layers), None)


def _edit(number: int) -> None:
    """Shows one hybrid in the controls."""
    hybrid = st.session_state["hybrids"][number]
    for field in _FIELDS:
        st.session_state[field] = getattr(hybrid, field)
    st.session_state["hybrid_name"] = hybrid.name
    st.session_state["preset"] = _preset_of(hybrid.layers)
    st.session_state["hybrid_at"] = st.session_state["editing"] = number


def _store() -> None:
    """Writes the controls into the hybrid they show."""
    state = st.session_state
    name = state["hybrids"][state["editing"]].name
    state["hybrids"][state["editing"]] = Hybrid(name, **{field: state[field] for field in _FIELDS})


def _from_row() -> None:
    chosen = st.session_state["layer_row"]["layers"]
    st.session_state["layers"] = format_layers(chosen, st.session_state["n_layers"])
    _from_text()


def _from_preset() -> None:
    if st.session_state["preset"] is not None:
        st.session_state["layers"] = _presets()[st.session_state["preset"]]
        _store()


def _from_text() -> None:
    st.session_state["preset"] = _preset_of(st.session_state["layers"])
    _store()


def _from_name() -> None:
    state = st.session_state
    number = state["editing"]
    try:
        name = checked_name(state["hybrid_name"])
        if name in [hybrid.name for k, hybrid in enumerate(state["hybrids"]) if k != number]:
            raise ArgumentError(f"Another hybrid is called {name!r}.", "Choose another name.")
        state["hybrids"][number] = replace(state["hybrids"][number], name=name)
    except GraftError as error:
        show_error(error)
    state["hybrid_name"] = state["hybrids"][number].name


def _from_choice() -> None:
    _store()
    _edit(st.session_state["hybrid_at"])


def _add() -> None:
    hybrids: list[Hybrid] = st.session_state["hybrids"]
    if len(hybrids) >= MAX_HYBRIDS:  # a second click that came before the page was drawn anew
        return
    _store()
    names = {hybrid.name for hybrid in hybrids}
    name = next(f"Hybrid {k}" for k in range(2, MAX_HYBRIDS + 3) if f"Hybrid {k}" not in names)
    used = [hybrid.layers for hybrid in hybrids]
    presets = _presets()
    layers = next((presets[name] for name in ("upper", "middle", "lower") if presets[name] not in used), "all")
    hybrids.append(Hybrid(name, layers))
    _edit(len(hybrids) - 1)


def _remove() -> None:
    hybrids: list[Hybrid] = st.session_state["hybrids"]
    if len(hybrids) < 2:  # a second click that came before the page was drawn anew
        return
    del hybrids[st.session_state["editing"]]
    _edit(min(st.session_state["editing"], len(hybrids) - 1))


def _use_saved(hybrid: Hybrid) -> None:
    hybrids: list[Hybrid] = st.session_state["hybrids"]
    number = st.session_state["editing"]
    taken = [other.name for k, other in enumerate(hybrids) if k != number]
    hybrids[number] = hybrid if hybrid.name not in taken else replace(hybrid, name=hybrids[number].name)
    _edit(number)


def draw_mixer(n_layers: int) -> tuple[Hybrid, ...] | None:
    """Draws the mixer; None where what is set cannot be used (and says so)."""
    hybrids = current_hybrids(n_layers)
    if len(hybrids) > 1:
        _draw_choice(hybrids)
    models = ("fine-tuned", "base")
    donor, host = models if st.session_state["direction"] == "tuned-into-base" else models[::-1]
    _draw_controls(donor, host)
    try:
        layers = parse_layers(st.session_state["layers"], n_layers)
        layer_row(n_layers, layers, (donor, host), key="layer_row", on_change=_from_row)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(
                f"{len(layers)} of {n_layers} layers · layer 0 reads the words, layer {n_layers - 1} is nearest the "
                "output",
                width="content",
            )
            st.space("stretch")
            if len(hybrids) < MAX_HYBRIDS:
                st.button("Add a hybrid", on_click=_add, type="tertiary", help="Up to three, beside each other.")
            draw_saved(hybrids[st.session_state["editing"]], _use_saved)
        for hybrid in hybrids:
            hybrid.gates(n_layers)
        return tuple(hybrid.normal(n_layers) for hybrid in hybrids)
    except GraftError as error:
        show_error(error)
        return None


def _draw_choice(hybrids: tuple[Hybrid, ...]) -> None:
    marks = [mark_of(lane) for lane in lane_names(hybrids)]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.segmented_control(
            "Hybrid to set up",
            range(len(hybrids)),
            format_func=lambda number: f"{marks[number]} {hybrids[number].name}",
            key="hybrid_at",
            required=True,
            on_change=_from_choice,
        )
        st.text_input("its name", key="hybrid_name", on_change=_from_name, width=190)
        st.button("Remove", on_click=_remove, help="Takes this hybrid away.")


def _draw_controls(donor: str, host: str) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.segmented_control(
            f"Layers taken from the {donor} model",
            ["none", "lower", "middle", "upper", "all"],
            key="preset",
            on_change=_from_preset,
            help=f"These layers of the hybrid are the {donor} model's (grafted); all others are the {host} model's.",
            width="content",
        )
        st.text_input("as text", key="layers", on_change=_from_text, help="For example 20-29 or 3,7,20-22.", width=130)
        st.selectbox("part", list(_PARTS), format_func=_PARTS.__getitem__, key="part", on_change=_store, width=180)
        st.slider(
            "strength",
            0.0,
            4.0,
            step=0.1,
            key="strength",
            on_change=_store,
            help=f"0 is {host}, 1 is {donor}; above 1 amplifies, from base to fine-tuned only.",
            width=150,
        )
        st.selectbox(
            "direction",
            list(DIRECTION_WORDS),
            format_func=DIRECTION_WORDS.__getitem__,
            key="direction",
            on_change=_store,
            width=190,
        )
