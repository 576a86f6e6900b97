"""A study before it runs: rows, bad rows, prompts as the models read them, and how long it would take.

Knows what to ask the worker for, and how to draw it; measures nothing itself.
"""

from functools import partial

import streamlit as st

from core.errors import DataError, GraftError
from core.generate.requests import Progress
from core.generate.worker import Worker
from core.pair.pair import Pair
from core.present.study_text import duration
from core.study.corpora import Corpus
from core.study.preview import CorpusPreview, StudyPreview, preview_study
from core.study.uploads import read_with_uploads
from pages._shared.frame import escaped, show_error
from pages._shared.resources import study_desk
from pages._shared.study_setup import BAD, AskedStudy
from pages._shared.tasks import compute


def draw_preview(worker: Worker, page: str, asked: AskedStudy) -> None:
    """Rows at once, the time when it has been measured, and then, not before, a button that starts the study."""
    corpora = _read(asked)
    if corpora is None:
        return
    found = compute(
        worker,
        "study preview",
        page,
        (asked, worker.pair.identity),
        partial(_look, asked, corpora),
        "Measuring how long a prompt takes",
        _draw_rows,
    )
    if found is None:
        return
    _draw_rows(found)
    if found.seconds is None:
        st.warning("None of the prompts can be measured.")
        return
    refused = [reason for corpus in found.corpora for reason in corpus.too_long]
    if refused and not any(choice.skip_bad for choice in asked.settings.corpora):
        show_error(DataError(f"{len(refused)} prompts are too long for the models.", f"Choose “{BAD['skip']}”."))
        return
    left, right = st.columns([3, 1], vertical_alignment="center")
    left.markdown(f"**About {duration(found.seconds)} on this device.** {_by_sort(found)}")
    running = study_desk().at_work()
    if right.button("Start the study", type="primary", width="stretch", disabled=running is not None):
        try:
            study_desk().start(worker, asked.folder, asked.settings, asked.uploads)
            st.session_state["study_open"] = asked.folder.name
        except GraftError as error:
            show_error(error)
            return
        st.session_state.pop("study_asked", None)
        st.session_state.pop("study_rows_read", None)
        st.rerun()
    if running is not None:
        st.caption(f"{running.folder.name} is running; one study runs at a time.")
    st.caption(
        f"It runs on the server, under the name {asked.folder.name}: this page may be left and the tab closed. Every "
        "prompt is kept as soon as it is measured. The estimate was measured while others may have been at work."
    )


def _read(asked: AskedStudy) -> tuple[Corpus, ...] | None:
    """The corpora, read once; outside the worker, since the hub may take its time."""
    known = st.session_state.get("study_rows_read")
    if known is not None and known[0] == asked:
        rows: tuple[Corpus, ...] = known[1]
        return rows
    try:
        with st.spinner("Reading the corpora …"):
            found = read_with_uploads(asked.settings, asked.uploads)
    except DataError as error:
        remedy = f"Mend them, or choose “{BAD['skip']}”." if "bad=skip" in error.remedy else error.remedy
        show_error(DataError(error.message, remedy))
        return None
    st.session_state["study_rows_read"] = (asked, found)
    return found


def _look(asked: AskedStudy, corpora: tuple[Corpus, ...], pair: Pair, progress: Progress) -> StudyPreview:
    """First what costs nothing, then the same with times."""
    so_far = 0.0

    def tell(words: str, share: float) -> None:
        nonlocal so_far
        so_far = max(so_far, share)
        progress(so_far)

    progress(0.0, preview_study(pair, asked.settings, False, corpora, tell))
    return preview_study(pair, asked.settings, True, corpora, tell)


def _by_sort(found: StudyPreview) -> str:
    """Where the time goes."""
    said = [f"{found.prompts:,} prompts at {duration(found.seconds_plain or 0.0)} each"]
    if found.seconds_swept is not None:
        said.append(f"layers on {found.swept:,} of them at {duration(found.seconds_swept)} more")
    if found.seconds_controlled is not None:
        said.append(f"random adapters on {found.controlled:,} at {duration(found.seconds_controlled)} more")
    if found.seconds_visit is not None:
        said.append(f"{found.visits:,} visits for sets of layers at {duration(found.seconds_visit)} each")
    return f"{', '.join(said)}."


def _draw_rows(found: StudyPreview) -> None:
    for corpus in found.corpora:
        _draw_corpus(corpus)
    st.write(f"{found.prompts:,} prompts; layers on {found.swept:,} of them, random adapters on {found.controlled:,}.")


def _draw_corpus(corpus: CorpusPreview) -> None:
    st.markdown(
        f"**{escaped(corpus.name)}**, counted as {corpus.kind}: {corpus.rows:,} of {corpus.found:,} usable rows, "
        f"{corpus.prompt_tokens:,} tokens of questions, {corpus.reference_tokens:,} of reference answers."
    )
    bad = (*corpus.bad, *corpus.too_long)
    if bad:
        with st.expander(f"{len(bad)} rows that cannot be used"):
            st.dataframe({"why": list(bad)}, hide_index=True, width="stretch")
    with st.expander("First prompts as the models read them"):
        for row in corpus.shown:
            st.code(row.prompt, language=None, wrap_lines=True)
            if row.reference is not None:
                said = f"Reference answer, {row.n_reference} tokens: {row.reference}"
            else:
                said = f"{row.options} options, {row.letter or 'none'} is right."
            st.caption(escaped(said))
