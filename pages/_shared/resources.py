"""Everything Streamlit keeps for us: the loaded pair, this browser session's requests, the recorded example.

The only file that uses `st.cache_*`. Knows lifetimes; knows nothing about drawing.
"""

import gzip
import os
import sys
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import streamlit as st

from core.errors import ArgumentError, GraftError
from core.generate.requests import Request
from core.generate.worker import Worker
from core.measure.noise import noise_of
from core.measure.weights import WeightChanges, weight_changes
from core.pair.fetch import fetch
from core.pair.home import ASSETS
from core.pair.open import load_pair
from core.pair.registry import PairSpec, known_pairs, pair_spec, spec_of
from core.present.document_file import DocumentFile
from core.present.runs import RunReport, run_from_json
from core.present.study_told import ToldStudy, told_study, told_together
from core.study.background import StudyDesk

Told = TypeVar("Told")
RECORDED = ASSETS / "recorded" / "example.json.gz"


def _shut_down(worker: Worker) -> None:
    worker.shutdown()
    worker.pair.release()  # runs of other tabs hold the pair, for its texts


@st.cache_resource(max_entries=1, show_spinner=False, on_release=_shut_down)
def worker_of(spec: PairSpec, device: str, dtype: str | None) -> Worker:
    """The worker of a pair; one pair is loaded at a time, another one unloads it."""
    pair = load_pair(spec, device, dtype)
    noise_of(pair)
    return Worker(pair)


@st.cache_resource(max_entries=1, show_spinner=False)
def weights_of(spec: PairSpec, device: str, dtype: str | None) -> WeightChanges:
    """How much a pair's weights changed; read from its factors, which nothing changes, so not through the worker."""
    return weight_changes(worker_of(spec, device, dtype).pair)


def unload() -> None:
    """Unloads the pair that is loaded; whoever is on it is stopped."""
    worker_of.clear()


@dataclass
class Session:
    """One browser session: its name and the requests it has open."""

    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    requests: list[Request] = field(default_factory=list)
    closed: bool = False

    def add(self, *requests: Request) -> None:
        """Takes on requests, which end at once where the session has; those that have ended are let go."""
        self.requests = [*(known for known in self.requests if not known.ended), *requests]
        if self.closed:
            self.close()

    def close(self) -> None:
        """Removes every row this session has in the worker."""
        self.closed = True
        for request in self.requests:
            request.close()


def _close(session: Session) -> None:
    session.close()


@st.cache_resource(scope="session", show_spinner=False, on_release=_close)
def browser_session() -> Session:
    """This browser session; closed, and its rows removed, when the tab goes away."""
    return Session()


@st.cache_resource(show_spinner=False)
def recorded_example() -> RunReport | None:
    """The finished run shown before anything is asked; None where none was recorded."""
    return run_from_json(gzip.decompress(RECORDED.read_bytes())) if RECORDED.is_file() else None


def _close_desk(desk: StudyDesk) -> None:
    if (study := desk.at_work()) is not None:
        study.close()


@st.cache_resource(show_spinner=False, on_release=_close_desk)
def study_desk() -> StudyDesk:
    """Where studies of this server are begun; whoever closes a tab ends none of them."""
    return StudyDesk()


@dataclass
class Telling(Generic[Told]):
    """What a study says, on its way, for whoever polls it."""

    stage: str = "waiting"
    told: Told | None = None
    error: GraftError | None = None
    done: threading.Event = field(default_factory=threading.Event)

    def begin(self, name: str, work: Callable[[Callable[[str], None]], Told]) -> "Telling[Told]":
        """Computes it in a thread."""
        threading.Thread(target=self._run, args=(work,), name=name, daemon=True).start()
        return self

    def _run(self, work: Callable[[Callable[[str], None]], Told]) -> None:
        try:
            self.told = work(self._at)
        except GraftError as error:
            self.error = error
        except Exception as error:
            self.error = GraftError(f"{type(error).__name__}: {error}", "This is a bug; see the log.")
            raise
        finally:
            self.done.set()

    def _at(self, stage: str) -> None:
        self.stage = stage


@st.cache_resource(max_entries=6, show_spinner=False)
def findings_of_study(folder: Path, stamp: str) -> Telling[ToldStudy]:
    """The findings of a study's tables as they were at `stamp`; computed once, for all sessions."""
    return Telling[ToldStudy]().begin(f"findings {folder.name}", partial(told_study, folder))


@st.cache_resource(max_entries=3, show_spinner=False)
def comparison_of(stamps: tuple[str, str], _a: ToldStudy, _b: ToldStudy) -> Telling[DocumentFile]:
    """Two studies side by side, each by its folder and stamp."""
    return Telling[DocumentFile]().begin("comparison", partial(told_together, _a, _b))


@dataclass
class Fetching:
    """A fetch on its way, for whoever polls it."""

    stage: str = "starting"
    share: float = 0.0
    error: GraftError | None = None
    done: bool = False


@st.cache_resource(show_spinner=False)
def _fetches() -> dict[str, Fetching]:
    return {}


def fetching(spec: PairSpec) -> Fetching | None:
    """The fetch of a pair that is on its way or has failed; None if none was started."""
    return _fetches().get(spec.name)


def start_fetch(spec: PairSpec) -> None:
    """Starts fetching in a thread, unless one is on its way."""
    current = _fetches().get(spec.name)
    if current and not current.done:
        return
    state = _fetches()[spec.name] = Fetching()

    def report(stage: str, share: float) -> None:
        state.stage, state.share = stage, share

    def run() -> None:
        try:
            fetch(spec, report)
        except GraftError as error:
            state.error = error
        except Exception as error:
            state.error = GraftError(f"{type(error).__name__}: {error}", "This is a bug; see the log.")
            raise
        finally:
            state.done = True

    threading.Thread(target=run, name=f"fetch {spec.name}", daemon=True).start()


@dataclass(frozen=True)
class Choice:
    """Which pair this server shows, and where it runs."""

    spec: PairSpec
    device: str
    dtype: str | None


def configured_choice() -> Choice:
    """From `streamlit run app.py -- --base … --tuned …`, else `GRAFT_PAIR`, `GRAFT_DEVICE`, `GRAFT_DTYPE`.

    Raises:
        ArgumentError: an unknown argument, or a pair that does not exist.
    """
    typed = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=False)) if len(sys.argv) > 1 else {}
    known = {"--pair", "--base", "--tuned", "--device", "--dtype"}
    if set(typed) - known or len(sys.argv) % 2 == 0:
        raise ArgumentError(f"The arguments {sys.argv[1:]} are not understood.", f"Use {', '.join(sorted(known))}.")
    if ("--base" in typed) != ("--tuned" in typed):
        raise ArgumentError("--base and --tuned go together.", "Give both, or --pair.")
    if "--base" in typed:
        spec = spec_of(typed["--base"], typed["--tuned"])
    else:
        spec = pair_spec(typed.get("--pair") or os.environ.get("GRAFT_PAIR") or "demo")
    device = typed.get("--device") or os.environ.get("GRAFT_DEVICE") or "cpu"
    return Choice(spec, device, typed.get("--dtype") or os.environ.get("GRAFT_DTYPE") or None)


def chosen() -> Choice:
    """The pair this session looks at: the one chosen on the page, else the server's."""
    name = st.session_state.get("pair_name")
    configured = configured_choice()
    return Choice(known_pairs()[name], configured.device, configured.dtype) if name in known_pairs() else configured
