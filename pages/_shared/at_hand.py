"""The worker behind a finished run, for whoever wants to compute something more of it.

A run of this page's worker has one; so has an earlier or an uploaded one made with the same weights. Knows runs and
workers; computes nothing.
"""

from dataclasses import dataclass

import streamlit as st

from core.errors import GraftError
from core.generate.lane import Lane
from core.generate.worker import Worker
from core.pair.gates import Gates
from core.pair.prompts import Prompt
from core.present.hybrids import lane_names, run_lanes
from core.present.live import build_prompt
from core.present.runs import RunReport

AGAIN = "Run the question again to"


@dataclass(frozen=True, eq=False)
class AtHand:
    """A run whose models are loaded.

    Attributes:
        worker: the pair's worker.
        prompt: the question as token ids, the same as when it was asked.
    """

    worker: Worker
    prompt: Prompt

    def lanes(self, report: RunReport) -> tuple[Lane, ...]:
        """Base, the hybrids of every kind, and fine-tuned; forks are answers of these."""
        return run_lanes(self.worker.pair, report.settings.hybrids)

    def models(self, report: RunReport) -> dict[str, Gates]:
        """Base, the hybrids that are grafts, and fine-tuned; what was patched or amplified is no single model."""
        pair = self.worker.pair
        hybrids = zip(lane_names(report.settings.hybrids), report.settings.hybrids, strict=True)
        grafts = {name: hybrid.gates(pair.n_layers) for name, hybrid in hybrids if hybrid.kind == "graft"}
        return {"base": pair.base_gates(), **grafts, "tuned": pair.tuned_gates()}


def at_hand(report: RunReport) -> AtHand | None:
    """This page's worker, if its pair is the one the run was made with; None otherwise."""
    worker: Worker | None = st.session_state.get("worker")
    if worker is None or worker.gone:
        return None
    pair = worker.pair
    weights = (report.provenance.base_sha256, report.provenance.tuned_sha256)
    if weights != (pair.identity.base_sha256, pair.identity.tuned_sha256):
        return None
    try:
        prompt = build_prompt(pair, report.messages, report.settings)
    except GraftError:  # an uploaded run may hold what this pair cannot read; then it was not made with it
        return None
    return AtHand(worker, prompt) if prompt.ids == report.prompt_ids else None
