"""The answers side by side: live while they are written, or from a finished run.

Knows how lanes are laid out; gets them from a live run or a report.
"""

import streamlit as st

from core.measure.answers import first_divergence
from core.measure.noise import noise_of
from core.present.colour import speaker_of
from core.present.hybrids import lane_title
from core.present.live import LiveRun
from core.present.runs import RunReport
from core.present.strip import strip
from core.present.texts import two_digits
from pages._shared.components import token_lanes
from pages._shared.frame import show_error

# Seconds between two looks at a run, by how many tokens its longest lane has: each look sends them all.
POLL_SECONDS = {0: 0.2, 250: 0.5, 1000: 1.0}
_ENDINGS = {"end": "finished", "length": "cut at the token limit", "stopped": "stopped"}


def draw_live(run: LiveRun, simple: bool = False) -> None:
    """Draws a run as far as it has come; polls while more will come."""
    pace = _pace(run)
    st.fragment(_live, run_every=pace)(run, pace, simple)


def _pace(run: LiveRun) -> float | None:
    if not run.running:
        return None
    longest = max(len(record.ids) for record in run.records.values())
    return next(seconds for least, seconds in reversed(POLL_SECONDS.items()) if longest >= least)


def _live(run: LiveRun, pace: float | None, simple: bool) -> None:
    if pace != _pace(run):
        st.rerun()  # draw the whole page once more: finished and without polling, or at a calmer pace
    polling = pace is not None
    if polling:
        left, right = st.columns([8, 1], vertical_alignment="center")
        left.caption(_stage(run))
        right.button("Stop", on_click=run.stop, width="stretch")
    for request in run.requests:
        if request.error is not None:
            show_error(request.error)
    prompts = run.worker.pair.prompts
    noise = noise_of(run.worker.pair).js_distance
    lanes = [
        strip(
            name,
            lane_title(name, run.settings.hybrids),
            record.tokens(prompts, run.prompt),
            noise,
            parted=None if name == "base" else run.parted(name),
            running=record.finished is None,
            note=_note(record.finished, record.tokens_per_second, len(record.ids)),
            with_details=not polling,
        )
        for name, record in run.records.items()
        if _shown(name, simple)
    ]
    token_lanes(lanes, key="lanes")


def _stage(run: LiveRun) -> str:
    if run.request is None or run.request.ended:
        return "Scoring the reference answer …"
    place = run.worker.place(run.request)
    return f"Waiting: {place} before you." if place else "Writing …"


def _shown(lane: str, simple: bool) -> bool:
    return not (simple and speaker_of(lane) == "hybrid")


def draw_report(report: RunReport, simple: bool, key: str) -> None:
    """Draws a finished run from its report alone."""
    base = next(lane.answer for lane in report.lanes if lane.answer.name == "base")
    lanes = [
        strip(
            lane.answer.name,
            lane_title(lane.answer.name, report.settings.hybrids),
            lane.tokens,
            report.noise,
            parted=None if lane.answer is base else first_divergence(base.ids, lane.answer.ids),
            note=_note(lane.answer.finished, lane.answer.tokens_per_second, len(lane.answer.ids)),
        )
        for lane in report.lanes
        if _shown(lane.answer.name, simple)
    ]
    token_lanes(lanes, key=key)


def _note(finished: str | None, speed: float | None, n_tokens: int) -> str:
    pace = f"{two_digits(speed)} tokens/s" if speed else ""
    ending = _ENDINGS.get(finished or "", "")
    return " · ".join(part for part in (f"{n_tokens} tokens", pace, ending) if part)
