"""The runs of this session: reopen one, compare two, download, upload. Nothing is stored on the server.

Knows finished runs; starts none.
"""

import csv
import io
from functools import partial

import streamlit as st

from core.errors import GraftError
from core.present.live import LiveRun
from core.present.report import to_json
from core.present.runs import RunReport, run_from_json
from core.present.tables import run_rows
from pages._shared.frame import show_error

KEEP = 20
LATEST = "the latest run"


def remember(report: RunReport) -> None:
    """Adds a finished run to this session's history, once."""
    runs: list[RunReport] = st.session_state.setdefault("history", [])
    if not any(known is report for known in runs):
        runs.append(report)
        del runs[:-KEEP]


def latest_report(run: LiveRun | None) -> RunReport | None:
    """What is known of the live run: it with its finished forks, once; None until it has been written.

    A run that was forked takes its own place in the history.
    """
    if run is None:
        return None
    known: tuple[LiveRun, RunReport] | None = st.session_state.get("reported")
    before = known[1] if known is not None and known[0] is run else None
    if run.running:
        return before
    report = run.report()
    runs: list[RunReport] = st.session_state.setdefault("history", [])
    place = next((k for k, other in enumerate(runs) if other is before), None)
    if place is None:
        remember(report)
    else:
        runs[place] = report
    st.session_state["reported"] = (run, report)
    return report


def show_latest() -> None:
    """Goes back to the latest run, as a new question does; a callback.

    A fresh widget, not a new value for the old one: the browser does not take a value for what is in a closed popover,
    and would send the old one back.
    """
    st.session_state["history_round"] = st.session_state.get("history_round", 0) + 1


def draw_history() -> tuple[RunReport | None, RunReport | None]:
    """Lets the person choose an earlier run to look at, and one to compare it with; None for the latest and none."""
    with st.popover("Runs", type="tertiary"):
        st.caption("Kept in this browser session only. Nothing is stored on the server.")
        uploaded = _draw_upload()
        key = f"shown-{st.session_state.get('history_round', 0)}"
        runs: list[RunReport] = st.session_state.get("history", [])
        names = {_name(number, run): run for number, run in enumerate(runs, start=1)}
        if uploaded is not None:
            st.session_state[key] = next(name for name, run in names.items() if run is uploaded)
        shown = st.selectbox("Show", [LATEST, *reversed(names)], key=key)
        other = st.selectbox("Compare with", ["nothing", *reversed(names)], key="compared")
    return names.get(shown), names.get(other)


def _name(number: int, run: RunReport) -> str:
    question = run.messages[-1]["content"]
    short = question if len(question) <= 48 else question[:47] + "…"
    return f"{number} · {short} · {made_of(run)}"


def made_of(run: RunReport) -> str:
    """What a run's hybrids are made of, in short."""
    return " | ".join(hybrid.described() for hybrid in run.settings.hybrids)


def _draw_upload() -> RunReport | None:
    """The run just uploaded; None at any other time."""
    uploaded = st.file_uploader("A run downloaded here before", type="json", key="upload")
    if uploaded is None or st.session_state.get("uploaded_id") == uploaded.file_id:
        return None
    st.session_state["uploaded_id"] = uploaded.file_id
    try:
        report = run_from_json(uploaded.getvalue())
    except GraftError as error:
        show_error(error)
        return None
    remember(report)
    st.success("Added to the runs of this session, and shown.")
    return report


def draw_downloads(report: RunReport) -> None:
    """The run as JSON (complete, can be uploaded again) and as CSV (one line a token)."""
    name = f"graft-{report.provenance.pair or 'run'}".replace(" ", "-")
    as_json, as_csv = partial(to_json, report), partial(_as_csv, report)
    st.download_button("Download: run", as_json, f"{name}.json", "application/json", on_click="ignore")
    st.download_button("Download: table", as_csv, f"{name}-tokens.csv", "text/csv", on_click="ignore")


def _as_csv(report: RunReport) -> str:
    table = io.StringIO()
    rows = run_rows(report)
    writer = csv.DictWriter(table, fieldnames=list(rows[0]) if rows else ["lane"])
    writer.writeheader()
    writer.writerows(rows)
    return table.getvalue()
