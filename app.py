"""Ask: type a medical question, see what base, hybrid and fine-tuned model answer, and where they part."""

import streamlit as st

from core.errors import GraftError
from core.pair.prompts import Message
from core.present.examples import examples
from core.present.live import start
from core.present.reports import to_json
from core.present.runs import RunSettings
from pages._shared.frame import banner, footer, open_page, open_worker, show_error
from pages._shared.lanes_panel import draw_live, draw_numbers, draw_report, draw_words
from pages._shared.legend import draw_legend
from pages._shared.mixer import draw_mixer
from pages._shared.resources import browser_session, recorded_example

N_CHIPS = 8

open_page("Ask")
worker = open_worker()
banner(worker)
simple = st.session_state["simple"]
by_label = {example.label: example.question for example in examples()}


def take_example(key: str) -> None:
    """Puts the chosen example into the question box."""
    if st.session_state[key]:
        st.session_state["question"] = by_label[st.session_state[key]]


with st.form("ask", border=False):
    left, right = st.columns([9, 1], vertical_alignment="center")
    question = left.text_area(
        "Question", key="question", placeholder="Ask a medical question …", height=68, label_visibility="collapsed"
    )
    pressed = right.form_submit_button("Run", type="primary", width="stretch")
with st.container(horizontal=True, vertical_alignment="center"):
    st.pills(
        "Examples",
        list(by_label)[:N_CHIPS],
        key="example",
        on_change=take_example,
        args=("example",),
        label_visibility="collapsed",
    )
    with st.popover("More examples"):
        st.pills(
            "More",
            list(by_label)[N_CHIPS:],
            key="more",
            on_change=take_example,
            args=("more",),
            label_visibility="collapsed",
        )
mix = draw_mixer(worker.pair.n_layers)

session, run = browser_session(), st.session_state.get("run")
if pressed and mix is not None:
    settings = RunSettings(layers=mix.layers, part=mix.part, strength=mix.strength, direction=mix.direction)
    try:
        if run is not None:
            run.stop()
        run = start(worker, (Message(role="user", content=question),), settings, session.name, previous=run)
        session.requests.append(run.request)
        st.session_state["run"] = run
    except GraftError as error:
        show_error(error)

recorded = recorded_example()
if run is not None:
    draw_live(run)
elif recorded is not None:
    asked = recorded.messages[-1]["content"]
    st.caption(f"A recorded example, asked of the pair “{recorded.provenance.pair}” earlier: “{asked}”")
    draw_report(recorded)
else:
    st.info("Nothing asked yet. Choose an example or type a question, then press Run.")
report = run.report() if run is not None and not run.running else recorded if run is None else None
draw_legend(report.noise if report else None)
if report is not None:
    draw_words(report)
    if not simple:
        with st.expander("Numbers"):
            draw_numbers(report)
        st.download_button(
            "Download this run", to_json(report), "graft-run.json", "application/json", on_click="ignore"
        )
footer()
