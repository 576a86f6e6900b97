"""A clicked token of an answer: what stands there, what else could, and the answer continued with that.

Session state keeps the click, so that a page drawn anew does not lose it. Knows widgets and the live run; what a fork
may be is decided in core.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import streamlit as st

from core.errors import GraftError
from core.measure.tokens import Choice, TokenScore
from core.present.forks import MAX_FORKS, Fork, first_choice, quoted, token_text, typed_ids
from core.present.hybrids import Hybrid, lane_word
from core.present.live import LiveRun
from core.present.texts import percent
from pages._shared.components import token_lanes
from pages._shared.frame import escaped, show_error
from pages._shared.history import show_latest
from pages._shared.resources import browser_session

OFFERED = 5
"""How many of each model's choices a fork may begin with, as many as stand beside a token."""
_TYPED = "typed"
_MODELS = {"base": "Base", "tuned": "Fine-tuned"}


def panel_key(key: str) -> str:
    """Key of the panel that belongs to the lanes drawn under a key."""
    return f"fork-panel-{key}"


def pickable_lanes(lanes: Sequence[dict[str, Any]], names: Sequence[str], key: str, panel: str, source: object) -> None:
    """Lanes whose clicked token is kept for `draw_picked`.

    Args:
        lanes: as `strip` makes them.
        names: lane of each.
        key: of the component.
        panel: under which key the click is kept.
        source: the run or report the lanes are of.
    """
    token_lanes(lanes, key, partial(_keep, key, panel, source, tuple(names)), panel_key(panel))


def _keep(key: str, panel: str, source: object, names: tuple[str, ...]) -> None:
    number, index = st.session_state[key]["picked"]
    if number < len(names):
        st.session_state.setdefault("picks", {})[panel] = (source, names[number], index)
        st.session_state.pop("fork_error", None)


def picked(panel: str, source: object) -> tuple[str, int] | None:
    """Lane and index of the token last clicked in this run or report."""
    found = st.session_state.get("picks", {}).get(panel)
    return found[1:] if found is not None and found[0] is source else None


def _drop(panel: str) -> None:
    st.session_state.get("picks", {}).pop(panel, None)
    st.session_state.pop("fork_error", None)


def draw_picked(
    panel: str, source: object, answers: Mapping[str, Sequence[TokenScore]], hybrids: Sequence[Hybrid]
) -> None:
    """The clicked token, both models' first choices there, and how to go on from it; nothing before a click.

    Args:
        panel: under which key the click is kept.
        source: the live run, which can be continued, or a report, which cannot.
        answers: lane name → its tokens.
        hybrids: of the run.
    """
    found = picked(panel, source)
    if found is None or found[0] not in answers or found[1] >= len(answers[found[0]]):
        if isinstance(source, LiveRun) and not source.running:
            st.caption("Click a token to see what else could stand there, and to continue the answer with that.")
        return
    lane, index = found
    token = answers[lane][index]
    with st.container(border=True, key=panel_key(panel)):
        left, right = st.columns([8, 1], vertical_alignment="center")
        text = escaped(token_text(answers[lane], index))
        left.markdown(f"**Token {index} (counted from 0) of {escaped(lane_word(lane, hybrids))}'s answer: {text}**")
        right.button("Close", on_click=_drop, args=(panel,), type="tertiary", key=f"close-{panel}", width="stretch")
        try:
            choices = {model: first_choice(token, model) for model in _MODELS}
        except GraftError as error:
            show_error(error)
            return
        said = [f"{_MODELS[model]} would put {_shown(choice)} first" for model, choice in choices.items()]
        st.write(f"Here {'; '.join(said)}.")
        if isinstance(source, LiveRun):
            _draw_fork(source, lane, index, token)
        else:
            st.caption("To continue this answer from here with another token, run the question again.")


def _shown(choice: Choice) -> str:
    return f"{escaped(quoted(choice.text))} ({percent(math.exp(choice.logp))})"


def _draw_fork(run: LiveRun, lane: str, index: int, token: TokenScore) -> None:
    if run.records[lane].finished is None:
        st.caption("This answer is still being written; it can be continued from here once it is done.")
        return
    if len(run.forks) >= MAX_FORKS:
        st.caption(f"There are {MAX_FORKS} forks already. Run the question again to begin anew.")
        return
    place, offers = f"{lane}-{index}", _offers(run, lane, index, token)
    models = [name for name in run.records if name not in run.forks]
    own = run.forks[lane].model if lane in run.forks else lane
    with st.container(horizontal=True, vertical_alignment="bottom"):
        what = st.selectbox(
            "put in instead",
            list(offers),
            format_func=lambda name: offers[name][0],
            key=f"fork-what-{place}",
            width=330,
        )
        typed = ""
        if what == _TYPED:
            typed = st.text_input(
                "the text", key=f"fork-text-{place}", help="A word begins with a blank: type “ aspirin”.", width=220
            )
        model = st.selectbox(
            "who writes on",
            models,
            index=models.index(own),
            format_func=lambda name: lane_word(name, run.settings.hybrids),
            key=f"fork-model-{place}",
            width=200,
        )
        pressed = st.button("Continue from here", type="primary", key=f"fork-go-{place}")
    if what == _TYPED and typed and not typed[0].isspace() and index:
        st.caption(f"{escaped(quoted(typed))} continues the word before it; a new word begins with a blank.")
    if pressed:
        _go_on(run, lane, index, typed if what == _TYPED else offers[what][1], model)
    if "fork_error" in st.session_state:
        show_error(st.session_state["fork_error"])


def _offers(run: LiveRun, lane: str, index: int, token: TokenScore) -> dict[str, tuple[str, int]]:
    """What may be put in, with its words: both models' first choices and a text before further ones, none twice.

    What ends the answer is left out; what stands there already comes last.
    """
    ends, here = run.worker.pair.prompts.end_ids, run.records[lane].ids[index]
    found: dict[int, tuple[str, str]] = {}
    for rank in range(OFFERED):
        for model, top in (("base", token.top_base), ("tuned", token.top_tuned)):
            choice = top[rank] if top and rank < len(top) else None
            if choice is None or choice.id in ends:
                continue
            whose, place = _MODELS[model], "first choice" if rank == 0 else f"choice no. {rank + 1}"
            if choice.id not in found:
                found[choice.id] = (model if rank == 0 else f"{model}-{rank + 1}", f"{whose}'s {place}")
            elif rank == 0:
                found[choice.id] = (found[choice.id][0], "both models' first choice")
    texts = {choice.id: choice.text for top in (token.top_base, token.top_tuned) for choice in top or ()}
    offers = {key: (f"{words} {quoted(texts[which])}", which) for which, (key, words) in found.items()}
    new = {key: offer for key, offer in offers.items() if offer[1] != here}
    lead = {key: offer for key, offer in new.items() if key in _MODELS} or new
    return lead | {_TYPED: ("a text of your own", -1)} | new | offers


def _go_on(run: LiveRun, lane: str, index: int, put_in: int | str, model: str) -> None:
    """Asks for the fork and draws the page with it; what cannot be is kept to be told under the controls."""
    session = browser_session()
    try:
        ids = typed_ids(run.worker.pair.prompts, put_in) if isinstance(put_in, str) else (put_in,)
        request = run.fork(Fork(lane, index, ids, model), session.name)
    except GraftError as error:
        st.session_state["fork_error"] = error
        return
    session.add(request)
    for panel in tuple(st.session_state.get("picks", {})):
        _drop(panel)
    show_latest()
    st.rerun()
