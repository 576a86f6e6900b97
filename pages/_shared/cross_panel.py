"""Each answer under each model: asked for with a button, computed by the worker, drawn as a heat table.

Knows what to ask the worker for, and how to draw it.
"""

from collections.abc import Hashable, Mapping
from functools import partial

import streamlit as st

from core.generate.requests import Progress
from core.measure.cross import CrossScores, cross_scores
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.prompts import Prompt
from core.present.cross_chart import cross_chart, cross_rows
from core.present.cross_words import LIMITS, Names, cross_words
from core.present.provenance import source_of
from core.present.run_lanes import called, model_of
from core.present.runs import RunReport
from core.present.texts import two_digits
from pages._shared.at_hand import AGAIN, AtHand, at_hand
from pages._shared.exports import draw_figure
from pages._shared.frame import escaped
from pages._shared.tasks import compute

_LEGEND = (
    "Mean −log p in nats a token of each answer (row) under each model (column), over reasoning and answer without "
    "headings; colour from 0 to 4 nats, a fixed scale; framed: the model that wrote the answer."
)


def draw_cross(report: RunReport) -> None:
    """A button, then the table; says how to get there where the models are not at hand."""
    st.markdown("**Each answer under each model**")
    found = at_hand(report)
    if found is None:
        st.caption(f"{AGAIN} score each answer under each model: this run's models are not at hand.")
        return
    texts = {lane.answer.name: lane.answer.ids for lane in report.lanes}
    identity = (report.prompt_ids, tuple(texts.items()), report.settings.hybrids)
    if st.session_state.get("cross_asked") != identity:
        left, right = st.columns([1, 8], vertical_alignment="center")
        right.caption("How likely every model finds what the others wrote; two passes an answer.")
        left.button("Score", on_click=_ask, args=(identity,), width="stretch")
        return
    models = found.models(report)
    work = partial(_cross, found.prompt, texts, models)
    scores = compute(found.worker, "cross", "Ask", identity, work, "Scoring each answer under each model")
    if scores is not None:
        _draw(report, found, scores, models)


def _ask(identity: Hashable) -> None:
    st.session_state["cross_asked"] = identity


def _cross(
    prompt: Prompt, texts: Mapping[str, tuple[int, ...]], models: Mapping[str, Gates], pair: Pair, progress: Progress
) -> CrossScores:
    return cross_scores(pair, prompt, texts, models, progress=progress)


def _draw(report: RunReport, found: AtHand, scores: CrossScores, models: Mapping[str, Gates]) -> None:
    lanes = [lane.answer.name for lane in report.lanes]
    own = {name: model_of(report, name) for name in lanes if model_of(report, name) in models}
    names = Names({name: called(report, name) for name in lanes}, own)
    st.markdown(escaped(cross_words(scores, names)))
    cells = [score for row in scores.answers for score in row.models if score.noise is not None]
    moved = max((score.noise or 0.0 for score in cells), default=0.0)
    draw_figure(
        source_of(found.worker.pair, report.messages[-1]["content"]),
        "Each answer under each model",
        _LEGEND,
        f"± is by how much a figure changes by another numerical route, at most {two_digits(moved)} nats.",
        "answers-under-models",
        cross_rows(scores, names),
        partial(cross_chart, theme=st.context.theme.type or "light"),
        width="content",
    )
    st.caption(f"{_LEGEND} {LIMITS} {_left_out(report, names, models)}")


def _left_out(report: RunReport, names: Names, models: Mapping[str, Gates]) -> str:
    """Which lanes have no column of their own, and why."""
    no_models = [name for name in names.called if name not in models and name not in names.own]
    forks = [lane.answer.name for lane in report.lanes if lane.fork is not None]
    said = []
    if no_models:
        which = " and ".join(escaped(names.called[name]) for name in no_models)
        said.append(f"{which}: no single model (activations patched or logits amplified), so no column and no frame.")
    if forks:
        said.append("A fork's answer begins with another's words, so its figure is not of its own model's words alone.")
    return " ".join(said)
