"""How far a study is, whoever runs it: this server, or a process of the command line.

Knows the desk and the shelf; runs nothing itself.
"""

import time

import streamlit as st

from core.errors import GraftError
from core.generate.worker import Worker
from core.present.study_text import duration
from core.study.background import BackgroundStudy
from core.study.shelf import ShelvedStudy, shelved
from pages._shared.frame import show_error
from pages._shared.resources import study_desk

POLL_SECONDS = 1.0


def own_run(name: str) -> BackgroundStudy | None:
    """This server's run of a study: the one that goes on, or the last one."""
    last = study_desk().last
    return last if last is not None and last.folder.name == name else None


def draw_state(worker: Worker, name: str) -> ShelvedStudy | None:
    """How far the study is, with Stop or Resume; None while nothing of it has been written yet."""
    run = own_run(name)
    if run is not None and run.error is not None:
        show_error(run.error)
    if run is not None and not run.ended:
        st.fragment(_watch_own, run_every=POLL_SECONDS)(run, _stamp(name))
    try:
        study = shelved(name)
    except GraftError as error:
        if run is None:
            show_error(error)
        return None
    if (run is None or run.ended) and study.state == "running":
        st.fragment(_watch_other, run_every=POLL_SECONDS)(name)
    elif study.state == "stopped":
        _offer_resume(worker, study)
    elif study.state == "finished":
        st.caption(f"Finished: {study.done:,} of {study.prompts:,} prompts.")
    return study


def _stamp(name: str) -> str:
    try:
        return shelved(name).stamp
    except GraftError:
        return ""


def _watch_own(run: BackgroundStudy, stamp: str) -> None:
    if run.ended or _stamp(run.folder.name) != stamp:
        st.rerun()
    progress, (words, share) = run.progress, run.in_hand
    so_far = f", {share * 100:.0f} %" if share else ""
    hand = f"In hand: {words}{so_far}." if words else "Between two prompts."
    if progress is None:
        st.progress(0.0, text=f"Beginning … {hand}")
    else:
        sets = (progress.sets_done, progress.sets_of)
        _draw_bar((progress.done, progress.of), sets, progress.per_second, progress.seconds_left, hand)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Stop", key="study_stop", on_click=run.stop, disabled=run.stopping)
        st.button(
            "Show what stands so far", key="study_so_far", on_click=run.want_tables,
            disabled=run.tables_asked or run.stopping or progress is None,
        )  # fmt: skip
        if run.stopping:
            st.caption("Stopping after the prompt in hand; nothing that was measured is lost.")
        elif run.tables_asked:
            st.caption("Writing tables after the prompt in hand.")
        else:
            st.caption("It goes on when you leave. Questions on the Ask page are answered meanwhile.")


def _watch_other(name: str) -> None:
    study = shelved(name)
    if study.state != "running":
        st.rerun()
    sets = (int(study.record.get("sets_done", 0)), int(study.record.get("sets_of", 0)))
    words = "Another process runs it: stop it where it was started."
    _draw_bar((study.done, study.prompts), sets, study.per_second, study.seconds_left, words)


def _draw_bar(
    prompts: tuple[int, int], sets: tuple[int, int], rate: float | None, left: float | None, words: str
) -> None:
    """Prompts and visits for sets of layers, each as done and of how many."""
    done, of = prompts[0] + sets[0], prompts[1] + sets[1]
    visits = f", {sets[0]:,} of {sets[1]:,} visits for sets of layers" if sets[1] and prompts[0] == prompts[1] else ""
    speed = f" · {rate * 60:.1f} a minute" if rate else ""
    more = f" · about {duration(left)} left" if left is not None and done < of else ""
    text = f"{prompts[0]:,} of {prompts[1]:,} prompts{visits}{speed}{more}. {words}"
    st.progress(min(done / of, 1.0) if of else 0.0, text=text)


def _offer_resume(worker: Worker, study: ShelvedStudy) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        mine, busy = study.of_pair(worker.pair), study_desk().at_work()
        if st.button(
            "Resume", key="study_resume", type="primary", disabled=not (mine and study.goes_on) or busy is not None
        ):
            try:
                study_desk().start(worker, study.folder, None)
                time.sleep(0.1)  # so that what refuses it at once is seen at once
                st.rerun()
            except GraftError as error:
                show_error(error)
        said = f"Stopped: {study.done:,} of {study.prompts:,} prompts are measured, and are not measured again."
        if not study.goes_on:
            said += " It was made by an earlier version: it can be reported as it is, and does not go on."
        elif not mine:
            said += f" It was made with another pair, {study.record['facts']['pair']}: load that one to go on."
        elif busy is not None:
            said += f" {busy.folder.name} is running; one study runs at a time."
        st.caption(said)
