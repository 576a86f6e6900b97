"""The runs of this session: reopen one, compare two, download, upload. Nothing is stored on the server.

Knows finished runs; starts none.
"""

import csv
import io

import streamlit as st

from core.errors import GraftError
from core.present.reports import to_json
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


def draw_history() -> tuple[RunReport | None, RunReport | None]:
    """Lets the person choose an earlier run to look at, and one to compare it with; None for the latest and none."""
    with st.popover("Runs", type="tertiary"):
        st.caption("Kept in this browser session only. Nothing is stored on the server.")
        _draw_upload()
        runs: list[RunReport] = st.session_state.get("history", [])
        names = {_name(number, run): run for number, run in enumerate(runs, start=1)}
        shown = st.selectbox("Show", [LATEST, *reversed(names)], key="shown")
        other = st.selectbox("Compare with", ["nothing", *reversed(names)], key="compared")
    return names.get(shown), names.get(other)


def _name(number: int, run: RunReport) -> str:
    question = run.messages[-1]["content"]
    short = question if len(question) <= 48 else question[:47] + "…"
    return f"{number} · {short} · layers {run.settings.layers}"


def _draw_upload() -> None:
    uploaded = st.file_uploader("A run downloaded here before", type="json", key="upload")
    if uploaded is None or st.session_state.get("uploaded_id") == uploaded.file_id:
        return
    st.session_state["uploaded_id"] = uploaded.file_id
    try:
        remember(run_from_json(uploaded.getvalue()))
        st.success("Added to the runs of this session.")
    except GraftError as error:
        show_error(error)


def draw_downloads(report: RunReport) -> None:
    """The run as JSON (complete, can be uploaded again) and as CSV (one line a token)."""
    table = io.StringIO()
    rows = run_rows(report)
    writer = csv.DictWriter(table, fieldnames=list(rows[0]) if rows else ["lane"])
    writer.writeheader()
    writer.writerows(rows)
    name = f"graft-{report.provenance.pair or 'run'}".replace(" ", "-")
    st.download_button("Download: run", to_json(report), f"{name}.json", "application/json", on_click="ignore")
    st.download_button("Download: table", table.getvalue(), f"{name}-tokens.csv", "text/csv", on_click="ignore")
