"""Computations a page asks of the worker: put in, watched, stopped.

One of a kind at a time in a browser session. Knows the worker's tasks; knows nothing of what they compute.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

import streamlit as st

from core.errors import GraftError
from core.generate.requests import Progress, Task
from core.generate.worker import Worker
from core.pair.pair import Pair
from pages._shared.frame import show_error
from pages._shared.resources import browser_session

Result = TypeVar("Result")
POLL_SECONDS = 0.3
PATIENCE_SECONDS = 0.3  # what is done within so much is drawn at once, without a bar in between


@dataclass
class _Asked:
    identity: Hashable
    page: str
    task: Task[Any]


def compute(
    worker: Worker,
    kind: str,
    page: str,
    identity: Hashable,
    work: Callable[[Pair, Progress], Result],
    words: str,
    draw_so_far: Callable[[Any], None] | None = None,
) -> Result | None:
    """What `work` gives, once it is there; until then draws how far it is, with a Stop, and gives None.

    Args:
        worker: the pair's worker.
        kind: one computation of a kind is kept; another identity replaces it.
        page: whose it is; other pages stop it.
        identity: what the result depends on; the same one is not computed again.
        work: as for `Worker.call`.
        words: what it is doing, for the bar.
        draw_so_far: draws what the work has told of its result, while it runs and after a stop.
    """
    asked: dict[str, _Asked] = st.session_state.setdefault("tasks", {})
    known = asked.get(kind)
    if known is None or known.identity != identity or known.task.status == "stopped":
        if known is not None:
            known.task.close()
            if known.identity == identity and not st.button("Compute again", key=f"again-{kind}"):
                st.caption("Stopped.")
                if draw_so_far is not None and known.task.so_far is not None:
                    draw_so_far(known.task.so_far)
                return None
        try:
            known = _Asked(identity, page, worker.call(work, browser_session().name))
        except GraftError as error:
            show_error(error)
            return None
        browser_session().add(known.task)
        asked[kind] = known
    if known.task.wait(PATIENCE_SECONDS):
        if known.task.error is not None:
            show_error(known.task.error)
        result: Result | None = known.task.result
        return result
    st.fragment(_watch, run_every=POLL_SECONDS)(worker, known.task, words, draw_so_far)
    return None


def _watch(worker: Worker, task: Task[Any], words: str, draw_so_far: Callable[[Any], None] | None) -> None:
    if task.ended:
        st.rerun()
    left, right = st.columns([8, 1], vertical_alignment="center")
    place = worker.place(task)
    left.progress(min(task.share, 1.0), text=f"Waiting: {place} before you." if place else f"{words} …")
    right.button("Stop", key=f"stop-{task.id}", on_click=task.close, width="stretch")
    if draw_so_far is not None and task.so_far is not None:
        draw_so_far(task.so_far)
