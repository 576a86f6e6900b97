"""The layer mixer: what each hybrid is made of.

Session state keeps the hybrids; the controls show the one being edited and write back at every change. Knows
widgets; gates are made in core.
"""

from dataclasses import replace

import streamlit as st

from core.errors import ArgumentError, GraftError
from core.generate.lane import LEAST_ALPHA, MOST_ALPHA
from core.pair.gates import format_layers, parse_layers, thirds
from core.pair.patches import WHOLE_RESIDUAL
from core.present.colour import mark_of
from core.present.hybrids import MAX_HYBRIDS, SITE_WORDS, Hybrid, checked_name, lane_names
from pages._shared.components import layer_row
from pages._shared.frame import show_error
from pages._shared.saved import draw_saved
from pages._shared.texts import DIRECTION_WORDS, mixer_words

_PARTS = {"both": "both", "attn": "attention", "mlp": "MLP"}
_KINDS = {"graft": "grafted layers", "patch": "patched activations", "amplify": "amplified difference"}
_WHOLE = (
    "Of a whole residual only the highest layer matters: the same as grafting everything up to it. What attention or "
    "the MLP adds is patched layer by layer."
)
_FIELDS = ("layers", "part", "strength", "direction", "kind")


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
    if hybrid.site:
        st.session_state["site"] = hybrid.site
    if hybrid.alpha is not None:
        st.session_state["alpha"] = hybrid.alpha
    st.session_state["hybrid_name"] = hybrid.name
    st.session_state["preset"] = _preset_of(hybrid.layers)
    st.session_state["hybrid_at"] = st.session_state["editing"] = number


def _store() -> None:
    """Writes the controls into the hybrid they show, unless that has just been taken away."""
    state = st.session_state
    if not _is_there():
        return
    name = state["hybrids"][state["editing"]].name
    if state["kind"] == "amplify":
        made = Hybrid(name, "all", alpha=round(state["alpha"], 2))
    elif state["kind"] == "patch":
        made = Hybrid(name, state["layers"], direction=state["direction"], site=state["site"])
    else:
        made = Hybrid(name, state["layers"], state["part"], state["strength"], state["direction"])
    state["hybrids"][state["editing"]] = made


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
    if not _is_there():
        return
    try:
        name = checked_name(state["hybrid_name"])
        if name in [hybrid.name for k, hybrid in enumerate(state["hybrids"]) if k != number]:
            raise ArgumentError(f"Another hybrid is called {name!r}.", "Choose another name.")
        state["hybrids"][number] = replace(state["hybrids"][number], name=name)
    except GraftError as error:
        show_error(error)
    state["hybrid_name"] = state["hybrids"][number].name


def _is_there() -> bool:
    """Whether the hybrid the browser shows exists: a click may come before the page is drawn without it."""
    return bool(st.session_state["hybrid_at"] < len(st.session_state["hybrids"]))


def _from_choice() -> None:
    _store()
    _edit(st.session_state["hybrid_at"] if _is_there() else st.session_state["editing"])


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
    kind = st.session_state["kind"]
    _draw_controls(kind, donor, host)
    try:
        layers = parse_layers(st.session_state["layers"], n_layers)
        if kind != "amplify":
            layer_row(n_layers, layers, (donor, host), key="layer_row", on_change=_from_row)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(mixer_words(kind, donor, host, len(layers), n_layers), width="stretch")
            if len(hybrids) < MAX_HYBRIDS:
                st.button("Add a hybrid", on_click=_add, type="tertiary", help="Up to three, beside each other.")
            draw_saved(hybrids[st.session_state["editing"]], _use_saved)
        if kind == "patch" and st.session_state["site"] in WHOLE_RESIDUAL:
            st.caption(_WHOLE)
        for hybrid in hybrids:
            hybrid.check(n_layers)
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


def _draw_controls(kind: str, donor: str, host: str) -> None:
    """The controls that apply to this kind of hybrid."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            "made of",
            list(_KINDS),
            format_func=_KINDS.__getitem__,
            key="kind",
            on_change=_store,
            help="Grafted layers mix the two models' weights, patched activations what they compute, an amplified "
            "difference what they predict.",
            width=190,
        )
        if kind == "amplify":
            _draw_alpha()
            return
        _draw_layers(kind, donor, host)
        if kind == "patch":
            st.selectbox(
                "what is patched",
                list(SITE_WORDS),
                format_func=SITE_WORDS.__getitem__,
                key="site",
                on_change=_store,
                help=", ".join(f"{words}: {site}" for site, words in SITE_WORDS.items()),
                width=230,
            )
        else:
            _draw_gates(donor, host)
        st.selectbox(
            "direction",
            list(DIRECTION_WORDS),
            format_func=DIRECTION_WORDS.__getitem__,
            key="direction",
            on_change=_store,
            width=190,
        )


def _draw_layers(kind: str, donor: str, host: str) -> None:
    if kind == "patch":
        label = f"Layers patched from the {donor} model"
        words = f"Activations of these layers are the {donor} model's; everything else the {host} model computes."
    else:
        label = f"Layers taken from the {donor} model"
        words = f"These layers of the hybrid are the {donor} model's (grafted); all others are the {host} model's."
    st.segmented_control(
        label,
        ["none", "lower", "middle", "upper", "all"],
        key="preset",
        on_change=_from_preset,
        help=words,
        width="content",
    )
    st.text_input("as text", key="layers", on_change=_from_text, help="For example 20-29 or 3,7,20-22.", width=95)


def _draw_gates(donor: str, host: str) -> None:
    st.selectbox(
        "part",
        list(_PARTS),
        format_func=_PARTS.__getitem__,
        key="part",
        on_change=_store,
        help="Attention, MLP, or both of these layers.",
        width=110,
    )
    st.slider(
        "strength",
        0.0,
        4.0,
        step=0.1,
        key="strength",
        on_change=_store,
        help=f"0 is {host}, 1 is {donor}; above 1 amplifies in the weights, from base to fine-tuned only. To amplify "
        "what the models predict instead, choose “amplified difference”.",
        width=115,
    )


def _draw_alpha() -> None:
    st.slider(
        "α: how far from base to fine-tuned and beyond",
        LEAST_ALPHA,
        MOST_ALPHA,
        step=0.1,
        key="alpha",
        on_change=_store,
        help="Adds α times the difference of the two models' logits (fine-tuned − base) to the fine-tuned model's. "
        "This is not a strength above 1, which amplifies in the weights of grafted layers.",
        width=420,
    )
