"""The frame every page starts with: title, sign-in, menu, pair, disclaimer.

Knows what all pages share; knows nothing of any one page.
"""

from collections.abc import Callable

import streamlit as st

from core.errors import GraftError
from core.generate.worker import Worker
from core.pair.fetch import is_ready
from pages._shared.resources import browser_session, chosen, fetching, start_fetch, worker_of

MENU = {
    "Ask": "app.py", "Divergence": "pages/divergence.py", "Layers": "pages/layers.py", "Weights": "pages/weights.py",
    "Study": "pages/study.py", "About": "pages/about.py",
}  # fmt: skip
# What a person has typed or set, and what it is at first; survives other pages and the simple view.
KEPT: dict[str, object] = {
    "simple": False, "question": "", "part": "both", "strength": 1.0, "direction": "tuned-into-base", "system": "",
    "raw": False, "max_new_tokens": 160, "temperature": 0.0, "top_p": 1.0, "seed": 0, "layers": None, "preset": None,
    "reference": "", "hybrid_at": 0, "hybrid_name": "", "sets_text": "", "save_as": "",
    "kind": "graft", "site": "mlp_out", "alpha": 0.5, "coupled": False,
    "study_name": "my-study",
}  # fmt: skip
DISCLAIMER = "Research tool, not medical advice. Do not enter personal data."


def open_page(name: str) -> None:
    """Sets the page up and draws what stands on top; must be a page's first call.

    Nothing is drawn before the sign-in gate, where one is configured.
    """
    st.set_page_config(page_title=f"Graft · {name}", layout="wide", initial_sidebar_state="collapsed")
    _sign_in()
    browser_session()
    _keep()
    st.session_state["arrived"] = name == "Ask" and st.session_state.get("arrived", False)
    if name != "Ask" and (run := st.session_state.get("run")) is not None:
        run.stop()
    for asked in st.session_state.get("tasks", {}).values():
        if asked.page != name:
            asked.task.close()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("#### Graft", width="content")
        for label, target in MENU.items():
            st.page_link(target, label=label, width="content")
        st.space("stretch")
        st.toggle("Simple view", key="simple", help="Hides what a clinician does not need.", width="content")


def _keep() -> None:
    """Remembers what is typed and set: Streamlit forgets a widget that a page or a view does not draw."""
    kept = st.session_state.setdefault("kept", dict(KEPT))
    for key in KEPT:
        kept[key] = st.session_state.get(key, kept[key])
        st.session_state[key] = kept[key]


def _sign_in() -> None:
    """Asks for a sign-in where the server's secrets configure one (`[auth]`); anyone may look otherwise."""
    if not _auth_configured():
        return
    if not st.user.is_logged_in:
        st.button("Sign in", on_click=st.login)
        st.stop()
    allowed = st.secrets.get("allowed_emails", [])
    if allowed and st.user.email not in allowed:
        st.error("This account may not use this server. Ask whoever runs it to add your e-mail address.")
        st.button("Sign out", on_click=st.logout)
        st.stop()


def _auth_configured() -> bool:
    try:
        return "auth" in st.secrets
    except FileNotFoundError:
        return False


def open_worker(meanwhile: Callable[[], None] | None = None) -> Worker:
    """The chosen pair's worker, loaded now if need be; stops the page where the pair cannot be used.

    Args:
        meanwhile: draws what can be seen without the pair, where it is not on this machine yet.
    """
    try:
        choice = chosen()
        if not is_ready(choice.spec):
            _offer_fetch()
            if meanwhile is not None:
                meanwhile()
            footer()
            st.stop()
        waiting = st.empty()
        with waiting, st.spinner(f"Loading {choice.spec.title} (a few seconds) …", show_time=True):
            worker = worker_of(choice.spec, choice.device, choice.dtype)
        waiting.empty()
        st.session_state["worker"] = worker
        return worker
    except GraftError as error:
        show_error(error)
        footer()
        st.stop()


def show_error(error: GraftError) -> None:
    """An error as it stands: what happened, and what to do."""
    said = f"{escaped(error.message)} {escaped(error.remedy)}".replace("\n", "  \n")
    st.error(said, icon=":material/error:")


def escaped(text: str) -> str:
    """Text that Streamlit's Markdown shows as it stands."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()#+-!|<>$~:" else c for c in text)


def footer() -> None:
    """What stands under every page."""
    st.caption(DISCLAIMER)


@st.fragment(run_every=0.5)
def _watch_fetch() -> None:
    state = fetching(chosen().spec)
    if state is None or state.done:
        st.rerun()
    else:
        st.progress(min(state.share, 1.0), text=f"Fetching: {state.stage} …")


def _offer_fetch() -> None:
    spec = chosen().spec
    state = fetching(spec)
    if state is not None and not state.done:
        _watch_fetch()
        return
    if state is not None and state.error is not None:
        show_error(state.error)
    st.info(
        f"**{spec.title}** is not on this machine yet. Fetching it takes about a minute, once; "
        "afterwards no network is needed."
    )
    if st.button("Fetch", type="primary"):
        start_fetch(spec)
        st.rerun()
