"""The question: text box, examples, options, follow-up; and links that bring settings along.

Knows widgets; what is asked is put to the worker by the page.
"""

import streamlit as st

from core.errors import ArgumentError, GraftError
from core.generate.room import MAX_NEW_TOKENS
from core.pair.prompts import Message
from core.present.answer_sections import NO_ANSWER
from core.present.examples import examples
from core.present.hybrids import Hybrid, lane_word
from core.present.permalink import from_query, to_query
from core.present.runs import RunReport, RunSettings
from pages._shared.frame import show_error
from pages._shared.history import show_latest
from pages._shared.mixer import current_hybrids, use_hybrids

N_CHIPS = 8
_NEW = "a new question"


def read_link(n_layers: int) -> None:
    """Takes settings and question from the page's address, once each time a person arrives."""
    current_hybrids(n_layers)
    if st.session_state["arrived"]:
        return
    st.session_state["arrived"] = True
    try:
        settings, question = from_query(st.query_params)
    except GraftError as error:
        show_error(error)
        return
    for name in ("temperature", "top_p", "seed", "max_new_tokens", "raw", "coupled"):
        if name in st.query_params:
            st.session_state[name] = getattr(settings, name)
    if "hybrids" in st.query_params:
        use_hybrids(settings.hybrids)
    if question:
        st.session_state["question"] = question


def _take_example(key: str) -> None:
    questions = {example.label: example.question for example in examples()}
    if st.session_state[key]:
        st.session_state["question"] = questions[st.session_state[key]]


def draw_question(simple: bool, earlier: RunReport | None) -> tuple[bool, str]:
    """The question box with its examples; whether Run was pressed, and the text."""
    with st.form("ask", border=False):
        left, right = st.columns([9, 1], vertical_alignment="center")
        left.text_area(
            "Question", key="question", placeholder="Ask a medical question …", height=68, label_visibility="collapsed"
        )
        pressed = right.form_submit_button("Run", type="primary", width="stretch", on_click=show_latest)
    labels = [example.label for example in examples()]
    with st.container(horizontal=True, vertical_alignment="center"):
        _chips("Examples", labels[:N_CHIPS], "example")
        with st.popover("More examples"):
            _chips("More", labels[N_CHIPS:], "more")
        if not simple:
            with st.popover("Options"):
                _draw_options(earlier)
    return pressed, st.session_state["question"] or ""


def _chips(label: str, labels: list[str], key: str) -> None:
    st.pills(label, labels, key=key, on_change=_take_example, args=(key,), label_visibility="collapsed")


def _draw_options(earlier: RunReport | None) -> None:
    answers = [] if earlier is None else [lane.answer.name for lane in earlier.lanes]
    st.selectbox(
        "Ask",
        [_NEW, *answers],
        format_func=lambda name: name if earlier is None or name == _NEW else _follow_up(name, earlier),
        key="follow_up",
        help="A follow-up shows all models the same conversation, with this answer as the assistant's turn.",
    )
    st.text_area("System prompt", key="system", placeholder="the template's own", height=68)
    st.text_area(
        "Reference answer",
        key="reference",
        placeholder="none",
        height=68,
        help="An answer you trust. Shows how likely each model finds it, token by token.",
    )
    st.toggle("Raw text", key="raw", help="No chat template: the models continue the text as it stands.")
    st.number_input("Longest answer, tokens", 1, MAX_NEW_TOKENS, key="max_new_tokens")
    st.slider("Temperature", 0.0, 2.0, step=0.1, key="temperature", help="0 always takes the likeliest token.")
    st.slider("top-p", 0.05, 1.0, step=0.05, key="top_p")
    st.number_input("Seed", 0, 2**31 - 1, key="seed")
    if st.session_state["temperature"] > 0:
        st.toggle(
            "Shared noise",
            key="coupled",
            help="The lanes share their random numbers, so they choose differently only where their distributions do.",
        )


def _follow_up(lane: str, earlier: RunReport) -> str:
    return f"a follow-up to the answer of {lane_word(lane, earlier.settings.hybrids)}"


def settings_of(hybrids: tuple[Hybrid, ...]) -> RunSettings:
    """Settings from the mixer and the options, wherever they were last set."""
    state = st.session_state
    return RunSettings(
        system=state["system"].strip() or None,
        raw=state["raw"],
        hybrids=hybrids,
        temperature=state["temperature"],
        top_p=state["top_p"],
        seed=state["seed"],
        max_new_tokens=state["max_new_tokens"],
        reference=state["reference"].strip() or None,
        coupled=state["coupled"] and state["temperature"] > 0,
    )


def conversation(question: str, earlier: RunReport | None) -> tuple[Message, ...]:
    """The messages to ask: the question alone, or after an earlier run and one of its answers.

    Raises:
        ArgumentError: that answer is a reasoning that was not finished, which is no assistant's turn.
    """
    asked = Message(role="user", content=question)
    chosen = st.session_state.get("follow_up", _NEW)
    if earlier is None or chosen == _NEW or st.session_state["raw"]:
        return (asked,)
    answer = next(lane.answer for lane in earlier.lanes if lane.answer.name == chosen)
    if answer.reasoning_finished is False:
        raise ArgumentError(
            f"{NO_ANSWER} There is nothing to follow up in what {lane_word(chosen, earlier.settings.hybrids)} wrote.",
            "Ask again with a longer answer, or follow up another one.",
        )
    return (*earlier.messages, Message(role="assistant", content=answer.text), asked)


def draw_link(settings: RunSettings, question: str) -> None:
    """A link with these settings, and with the question if the person ticks it."""
    with_question = st.checkbox("with the question", help="Links end up in logs and histories.")
    try:
        query = to_query(settings, question if with_question else "")
    except GraftError as error:
        show_error(error)
        return
    st.code(f"{(st.context.url or '').split('?')[0]}?{query}", language=None, wrap_lines=True)
