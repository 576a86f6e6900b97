"""The answers side by side: live while they are written, or from a finished run.

Knows how lanes are laid out; gets them from a live run or a report.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from core.measure.answers import parted_at
from core.measure.noise import noise_of
from core.measure.tokens import TokenScore
from core.present.answers_figure import ENDINGS
from core.present.forks import Fork, coloured_lane, fork_title, fork_words
from core.present.hybrids import Hybrid, lane_title
from core.present.live import LiveRun
from core.present.runs import RunReport
from core.present.strip import strip
from core.present.texts import two_digits
from pages._shared.components import token_lanes
from pages._shared.fork_panel import draw_picked, pickable_lanes, picked
from pages._shared.frame import show_error

# Seconds between two looks at a run, by how many tokens its longest lane has: each look sends them all.
POLL_SECONDS = {0: 0.2, 250: 0.5, 1000: 1.0}
WRITTEN_SECONDS = 0.4
"""Once they are written, until it is known how far rounding moves their figures. No other pace, so that it is seen."""
FIRST_TOKEN_SECONDS, AWAIT_SECONDS, LOOK_SECONDS = 1.5, 0.3, 0.02
"""From the click so long is waited for first tokens, and later, at every look, so long; seconds between two looks."""
SENT_SECONDS = 0.05
"""What a fragment draws is dropped where it runs again before it was sent; so long is left for that."""
_NO_STATUS = "<style>.stStatusWidget { display: none; }</style>"
"""Streamlit shows a Stop of its own while a script runs for half a second; it would stop the page, not the answer."""


def draw_live(run: LiveRun, simple: bool = False) -> None:
    """Draws a run as far as it has come; polls while more will come."""
    pace = _pace(run)
    if run.running:
        st.html(_NO_STATUS)
    st.session_state["watched"] = None
    st.fragment(_live, run_every=pace)(run, pace, simple)
    st.session_state["watched"] = run


def _pace(run: LiveRun) -> float | None:
    if not run.running:
        return None
    if run.written:
        return WRITTEN_SECONDS
    longest = max(len(record.ids) for record in run.records.values())
    return next(seconds for least, seconds in reversed(POLL_SECONDS.items()) if longest >= least)


def _live(run: LiveRun, pace: float | None, simple: bool) -> None:
    awaited = st.session_state.get("watched") is run and _await_first_tokens(run, st.session_state["n_begun"])
    st.session_state["n_begun"] = _n_begun(run)
    if pace != _pace(run):
        st.rerun()  # draw the whole page once more: with what stands below, without polling, or at a calmer pace
    polling = pace is not None
    if polling:
        left, right = st.columns([8, 1], vertical_alignment="center")
        left.caption(_stage(run))
        right.button("Stop", on_click=run.stop, width="stretch")
    for request in run.requests:
        if request.error is not None:
            show_error(request.error)
    noise = noise_of(run.worker.pair).js_distance
    prompts = run.worker.pair.prompts
    shown = {
        name: _Shown(record.tokens(prompts, run.prompt), record.finished, record.tokens_per_second, run.forks.get(name))
        for name, record in run.records.items()
        if _wanted(name, simple)
    }
    parted = {name: None if name == "base" else run.parted(name) for name in shown}
    _draw_lanes("lanes", run, shown, parted, run.settings.hybrids, noise, simple, with_details=not polling)
    if awaited:  # the browser has asked for the next run meanwhile
        time.sleep(SENT_SECONDS)


def _await_first_tokens(run: LiveRun, n_shown: int) -> bool:
    """Waits a moment for the next lane's first token, rather than have the browser ask for it and draw nothing new.

    Not where the whole page is drawn, of which something still follows; and not for long, since Stop waits meanwhile.

    Returns:
        Whether there was something to wait for.
    """
    if not run.running or n_shown == len(run.records):
        return False
    asked = min(request.submitted_at for request in run.requests)
    ends = max(asked + FIRST_TOKEN_SECONDS, time.monotonic() + AWAIT_SECONDS)
    while run.running and _n_begun(run) == n_shown and time.monotonic() < ends:
        time.sleep(LOOK_SECONDS)
    return True


def _n_begun(run: LiveRun) -> int:
    """How many lanes have a token."""
    return sum(bool(record.ids) for record in run.records.values())


@dataclass(frozen=True)
class _Shown:
    """One answer as far as it has come."""

    tokens: tuple[TokenScore, ...]
    finished: str | None
    speed: float | None
    fork: Fork | None


def _draw_lanes(
    key: str,
    source: LiveRun | RunReport,
    shown: Mapping[str, _Shown],
    parted: Mapping[str, int | None],
    hybrids: Sequence[Hybrid],
    noise: float,
    simple: bool,
    with_details: bool = True,
) -> None:
    """The answers, forks under the others, and under them the token that was clicked."""
    asked = None if simple else picked(key, source)
    for forked in (False, True):
        names = [name for name, one in shown.items() if (one.fork is not None) == forked]
        strips = [
            strip(
                coloured_lane(name, one.fork),
                fork_title(name, one.fork, one.tokens, hybrids) if one.fork else lane_title(name, hybrids),
                one.tokens,
                noise,
                parted=parted[name],
                running=one.finished is None,
                whole=_whole(shown["base"], one),
                note=_note(one.finished, one.speed, len(one.tokens)),
                with_details=with_details,
                shared=fork_words(one.fork, hybrids) if one.fork else None,
                picked=asked[1] if asked is not None and asked[0] == name else None,
            )
            for name, one in ((name, shown[name]) for name in names)
        ]
        if not names:
            continue
        if simple:
            token_lanes(strips, key=key)
        else:
            pickable_lanes(strips, names, f"{key}-forks" if forked else key, key, source)
    if not simple:
        draw_picked(key, source, {name: one.tokens for name, one in shown.items()}, hybrids)


def _stage(run: LiveRun) -> str:
    first = next((request for request in run.requests if not request.ended), None)
    if first is None or first is run.scoring:
        return "Scoring the reference answer …"
    place = run.worker.place(first)
    if place:
        return f"Waiting: {place} before you."
    if run.written:
        return "Written; measuring how far rounding moves the figures …"
    others = run.worker.n_rows() - sum(request.n_rows for request in run.requests)
    if others < 1:
        return "Writing …"
    return f"Writing beside {others} other {'lane' if others == 1 else 'lanes'} …"


def _wanted(lane: str, simple: bool) -> bool:
    return not simple or lane in ("base", "tuned")


def draw_report(report: RunReport, simple: bool, key: str) -> None:
    """Draws a finished run from its report alone."""
    base = next(lane.answer for lane in report.lanes if lane.answer.name == "base")
    shown, parted = {}, {}
    for lane in report.lanes:
        answer = lane.answer
        if _wanted(answer.name, simple):
            shown[answer.name] = _Shown(lane.tokens, answer.finished, answer.tokens_per_second, lane.fork)
            same = None if answer is base else parted_at(base.ids, answer.ids)
            parted[answer.name] = lane.fork.at if lane.fork else same
    _draw_lanes(key, report, shown, parted, report.settings.hybrids, report.noise, simple)


def _whole(base: _Shown, other: _Shown) -> bool | None:
    """Whether both answers ended by themselves; None while either is being written, or where base wrote nothing."""
    if base.finished is None or other.finished is None or not base.tokens:
        return None
    return base.finished == other.finished == "end"


def _note(finished: str | None, speed: float | None, n_tokens: int) -> str:
    pace = f"{two_digits(speed)} tokens/s" if speed else ""
    ending = ENDINGS.get(finished or "", "")
    return " · ".join(part for part in (f"{n_tokens} token{'s' if n_tokens != 1 else ''}", pace, ending) if part)
