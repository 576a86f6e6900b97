"""The identities every figure rests on, run on the text at hand. Knows how to show them; checks nothing itself."""

from functools import partial

import streamlit as st

from core.generate.requests import Progress
from core.generate.worker import Worker
from core.intervene.checks import Check, checks
from core.pair.pair import Pair
from pages._shared.layer_text import LayerText
from pages._shared.tasks import compute


def draw_checks(worker: Worker, page: str, chosen: LayerText) -> None:
    """Runs the checks and shows each with what came out and what is allowed."""
    st.write("The same thing computed in two ways must come out the same. Run on this text, with this pair, just now:")
    identity = (chosen.ids, chosen.predicted)
    found = compute(worker, "checks", page, identity, partial(_checks, chosen), "Computing everything twice")
    if found is None:
        return
    for check in found:
        mark = ":green[:material/check_circle:]" if check.holds else ":red[:material/error:]"
        word = "holds" if check.holds else "**does not hold**"
        st.markdown(f"{mark} {check.says}: {word}")
        st.caption(f"{check.measured:.1e} {check.unit} apart at most; allowed {check.limit:.1e}.")
    broken = sum(not check.holds for check in found)
    if broken:
        st.error(f"{broken} of {len(found)} checks failed: do not trust figures of this pair on this machine.")


def _checks(chosen: LayerText, pair: Pair, progress: Progress) -> tuple[Check, ...]:
    return checks(pair, chosen.ids, chosen.predicted, progress)
