"""About: what Graft does, how its numbers are defined, and what they do not show."""

import streamlit as st

from core.measure.metrics import METRICS
from core.pair.fetch import local_folder
from core.pair.home import ASSETS
from core.pair.registry import pair_spec
from pages._shared.frame import footer, open_page

open_page("About")
st.subheader("What this shows")
st.write(
    "Graft holds a base model and its medical fine-tune at once and shows what the fine-tuning changed: in the words "
    "the models write, token by token, and in their layers. The hybrid is the base model with some layers of the "
    "fine-tuned one put in its place (grafted)."
)
st.subheader("The numbers")
st.table(
    [
        {
            "metric": metric.label,
            "in plain words": metric.plain,
            "unit": metric.unit,
            "colour scale": f"{metric.domain[0]:g} to {metric.domain[1]:.2g}, fixed",
        }
        for metric in METRICS.values()
    ]
)
st.write(
    "All are computed over the whole vocabulary from float32 logits, with reductions in float64. A score stands at "
    "the token that was predicted. The noise floor is the 99th percentile of the difference between base and base "
    "computed by other numerical routes (as one pass, left-padded in a larger batch, token by token)."
)
st.subheader("What it does not show")
st.markdown(
    "- Whether an answer is right. A small model is wrong often, before and after fine-tuning.\n"
    "- Why a model writes a word. A large divergence says that the two models disagree there.\n"
    "- Which model is better. The demo fine-tune saw some six thousand answers and learned form more than facts.\n"
    "- The demo base is SmolLM2-135M-Instruct read back from a 4-bit file (Q4_1): close to the published weights, "
    "not the same."
)
st.subheader("The demo adapter")
card = local_folder(pair_spec("demo").tuned) / "README.md"
title, _, text = card.read_text().partition("\n")
with st.expander("Its card: data, settings, curves, every figure, examples good and bad, limits"):
    st.markdown(text.replace("\n## ", "\n##### "))
    for curve, stage in ((card.parent / "first" / "curve.svg", "first"), (card.with_name("curve.svg"), "second")):
        if curve.is_file():
            st.image(str(curve), caption=f"Losses in the {stage} stage of its training")
with st.expander("The word list behind underlined medical terms, and its sources"):
    st.markdown((ASSETS / "lexicon" / "README.md").read_text().partition("\n")[2])
footer()
