"""The pair's card: names, device, memory, adapter check, noise, hashes; and the chooser of pairs.

Knows a loaded pair; loads none itself.
"""

import streamlit as st

from core.errors import GraftError
from core.generate.worker import Worker
from core.measure.noise import noise_of
from core.pair.fetch import is_ready
from core.pair.load import slow_dtype
from core.pair.registry import known_pairs
from core.present.texts import two_digits
from pages._shared.resources import study_desk, unload


def draw_pair_card(worker: Worker) -> None:
    """One line about the pair, and all about it behind a button."""
    pair = worker.pair
    light = ":green[●]" if pair.adapter.active else ":red[●]"
    st.caption(f"{pair.spec.title} · {pair.device}, {pair.dtype} · {light} {pair.adapter.banner}", width="content")
    with st.popover("Pair", type="tertiary"):
        _draw_details(worker)
        _draw_chooser()


def draw_warnings(worker: Worker) -> None:
    """What the adapter check warns of, and a dtype that this processor has no units for."""
    slow = slow_dtype(worker.pair.device, worker.pair.dtype)
    for warning in (*worker.pair.adapter.warnings, *([slow] if slow else [])):
        st.warning(warning, icon=":material/warning:")


def _draw_details(worker: Worker) -> None:
    pair = worker.pair
    noise = noise_of(pair)
    floors = f"KL {two_digits(noise.kl)} nats, √JS {two_digits(noise.js_distance)}"
    rows = {
        "base": pair.identity.base_id,
        "fine-tune": pair.identity.tuned_id,
        "size": f"{pair.n_layers} layers, d_model {pair.d_model}, {pair.d_vocab:,} tokens in the vocabulary",
        "weights": f"{pair.n_bytes / 2**20:,.0f} MB in {pair.dtype} on {pair.device}; held once for both models",
        "adapter": f"{pair.adapter.banner} (noise {two_digits(pair.adapter.probe_noise)})",
        "noise floor": f"{floors}, between {len(noise.routes)} numerical routes",
        "base SHA-256": f"{pair.identity.base_sha256[:20]}…",
        "fine-tune SHA-256": f"{pair.identity.tuned_sha256[:20]}…",
        "chat template SHA-256": f"{pair.prompts.template_sha256[:20]}…" if pair.prompts.template_sha256 else "none",
    }
    st.table({"": list(rows), "this pair": list(rows.values())}, hide_index=True)


def _choose() -> None:
    st.session_state["pair_name"] = st.session_state["pair_choice"]
    st.session_state.pop("hybrids", None)  # another model has other layers
    st.session_state.pop("tasks", None)
    st.session_state.pop("run", None)


def _draw_chooser() -> None:
    if (study := study_desk().at_work()) is not None:
        st.caption(f"The study {study.folder.name} is running: unloading this pair stops it; it can be resumed.")
    names = list(known_pairs())
    st.selectbox(
        "Show another pair (unloads this one)",
        names,
        index=None,
        format_func=lambda name: f"{known_pairs()[name].title}{'' if _here(name) else ' (not fetched)'}",
        key="pair_choice",
        on_change=_choose,
    )
    if st.button("Unload", help="For everybody; memory is free once no open page shows its runs."):
        st.session_state.pop("run", None)
        unload()
        st.info("Unloaded. Reload the page to load it again.")
        st.stop()


def _here(name: str) -> bool:
    try:
        return is_ready(known_pairs()[name])
    except GraftError:
        return False
