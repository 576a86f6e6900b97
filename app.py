"""Ask: type a medical question, see what base, hybrid and fine-tuned model answer, and where they part."""

import streamlit as st

from core.errors import GraftError
from core.present.live import start
from pages._shared.asking import conversation, draw_link, draw_question, read_link, settings_of
from pages._shared.frame import footer, open_page, open_worker, show_error
from pages._shared.history import draw_downloads, draw_history, remember
from pages._shared.lanes_panel import draw_live, draw_numbers, draw_report, draw_words
from pages._shared.legend import draw_legend
from pages._shared.mixer import current_mix, draw_mixer
from pages._shared.pair_card import draw_pair_card, draw_warnings
from pages._shared.resources import browser_session, recorded_example

open_page("Ask")
worker = open_worker()
read_link()
simple, run = st.session_state["simple"], st.session_state.get("run")
earlier = run.report() if run is not None and not run.running else None
if earlier is not None:
    remember(earlier)
with st.container(horizontal=True, vertical_alignment="center"):
    draw_pair_card(worker)
    chosen, other = (None, None) if simple else draw_history()
draw_warnings(worker)

pressed, question = draw_question(simple, earlier)
mix = current_mix(worker.pair.n_layers) if simple else draw_mixer(worker.pair.n_layers)
if pressed and mix is not None:
    try:
        session = browser_session()
        before, run = run, start(worker, conversation(question, earlier), settings_of(mix), session.name, previous=run)
        if before is not None:
            before.stop()
        session.add(run.request)
        st.session_state["run"], chosen = run, None
    except GraftError as error:
        show_error(error)

recorded = recorded_example()
if chosen is not None:
    report = chosen
    draw_report(chosen, simple, key="chosen")
elif run is not None:
    draw_live(run, simple)
    report = None if run.running else run.report()
elif recorded is not None:
    report = recorded
    asked = recorded.messages[-1]["content"]
    st.caption(f"A recorded example, asked of the pair “{recorded.provenance.pair}” earlier: “{asked}”")
    draw_report(recorded, simple, key="recorded")
else:
    report = None
    st.info("Nothing asked yet. Choose an example or type a question, then press Run.")
if other is not None:
    st.caption(f"Compared with: “{other.messages[-1]['content']}”, layers {other.settings.layers}")
    draw_report(other, simple, key="compared-run")

draw_legend(report.noise if report else None)
if report is not None:
    draw_words(report)
    if not simple:
        with st.expander("Numbers"):
            draw_numbers(report)
        with st.container(horizontal=True):
            draw_downloads(report)
            with st.popover("Link"):
                draw_link(report.settings, report.messages[-1]["content"])
footer()
