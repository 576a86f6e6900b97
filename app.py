"""Ask: type a medical question, see what base, hybrid and fine-tuned model answer, and where they part."""

import streamlit as st

from core.errors import GraftError
from core.present.live import start
from pages._shared.asking import conversation, draw_question, read_link, settings_of
from pages._shared.frame import escaped, footer, open_page, open_worker, show_error
from pages._shared.history import draw_history, latest_report, made_of
from pages._shared.lanes_panel import draw_live, draw_report
from pages._shared.mixer import current_hybrids, draw_mixer
from pages._shared.pair_card import draw_pair_card, draw_warnings
from pages._shared.resources import browser_session
from pages._shared.results import draw_recorded, draw_recorded_result, draw_result

open_page("Ask")
worker = open_worker(meanwhile=draw_recorded_result)
read_link(worker.pair.n_layers)
simple, run = st.session_state["simple"], st.session_state.get("run")
earlier = latest_report(run)
with st.container(horizontal=True, vertical_alignment="center"):
    draw_pair_card(worker)
    chosen, other = (None, None) if simple else draw_history()
draw_warnings(worker)

pressed, question = draw_question(simple, earlier)
hybrids = current_hybrids(worker.pair.n_layers) if simple else draw_mixer(worker.pair.n_layers)
if pressed and hybrids is not None:
    try:
        session = browser_session()
        asked = conversation(question, earlier)
        before, run = run, start(worker, asked, settings_of(hybrids), session.name, previous=run)
        if before is not None:
            before.stop()
        session.add(*run.requests)
        st.session_state["run"], chosen = run, None
    except GraftError as error:
        show_error(error)

if chosen is not None and chosen is not latest_report(run):
    report = chosen
    st.caption(f"An earlier or uploaded run: “{escaped(chosen.messages[-1]['content'])}”, {escaped(made_of(chosen))}")
    draw_report(chosen, simple, key="chosen")
elif run is not None:
    draw_live(run, simple)
    report = latest_report(run)
else:
    report = draw_recorded(simple)
if other is not None:
    st.caption(f"Compared with: “{escaped(other.messages[-1]['content'])}”, {escaped(made_of(other))}")
    draw_report(other, simple, key="compared-run")
written = run.report() if run is not None and report is None and run.written else None
draw_result(report, simple, written)
footer()
