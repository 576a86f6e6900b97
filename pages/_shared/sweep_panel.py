"""Sweeps on a page: each layer alone and all but it, curves from below and above, windows, attention and MLP apart.

Knows which sweeps answer which question; knows no model.
"""

from dataclasses import dataclass
from functools import partial

import streamlit as st

from core.generate.requests import Progress
from core.generate.worker import Worker
from core.intervene.plans import sweep_plans
from core.intervene.recovery import Sweep, sweep
from core.pair.gates import DIRECTIONS
from core.pair.pair import Pair
from core.present.layer_charts import increment_rows, increments_chart, parts_chart, recovery_chart, sweep_rows
from core.present.provenance import source_of
from core.present.texts import two_digits
from pages._shared.exports import draw_figure
from pages._shared.layer_text import LayerText
from pages._shared.live_mixer import NO_DIFFERENCE
from pages._shared.tasks import compute
from pages._shared.texts import DIRECTION_WORDS, choose_direction


@dataclass(frozen=True)
class Question:
    """What a set of sweeps answers.

    Attributes:
        label: as asked.
        sweeps: words → kind, part, width.
        says: how to read it.
    """

    label: str
    sweeps: dict[str, tuple[str, str, int]]
    says: str


QUESTIONS = (
    Question(
        "Which single layer is enough, and which is missed?",
        {"this layer alone": ("single", "both", 0), "all layers but this one": ("leave-one-out", "both", 0)},
        "A layer alone may do little and still be missed by the others: sufficiency and necessity differ.",
    ),
    Question(
        "How does it grow from below and from above?",
        {"layers 0 to this one": ("prefix", "both", 0), "this layer to the last": ("suffix", "both", 0)},
        "Replacing the whole residual stream after a layer by the fine-tuned model's is exactly the same as grafting "
        "all layers up to it, which is why such patches appear here, as a curve with increments, and not as toggles.",
    ),
    Question(
        "Which neighbours work together?",
        {"this layer alone": ("single", "both", 0), "windows of 3": ("window", "both", 3),
         "windows of 5": ("window", "both", 5)},
        "Windows stand at their middle layer.",
    ),
    Question(
        "Attention or MLP?",
        {"attention": ("single", "attn", 0), "MLP": ("single", "mlp", 0), "both": ("single", "both", 0)},
        "One layer grafted at a time, its attention, its MLP or both.",
    ),
)  # fmt: skip


def draw_sweeps(worker: Worker, page: str, chosen: LayerText) -> None:
    """One question at a time, answered by grafting and measuring."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        question = st.selectbox("question", QUESTIONS, format_func=lambda q: q.label, key="sweep_question", width=420)
        direction = choose_direction("sweep_direction")
    identity = (chosen.ids, chosen.predicted, question.label, direction)
    work = partial(_sweep, chosen, question, direction)
    found = compute(worker, "sweep", page, identity, work, "Grafting layers")
    if found is None:
        return
    first = next(iter(found.values()))
    if first.results[0].recovery is None:
        st.write(NO_DIFFERENCE)
        return
    rows = sweep_rows(found)
    donor = "tuned" if direction == DIRECTIONS[0] else "base"
    noise = f"± at most {two_digits(max(row['noise'] or 0.0 for row in rows))} by numerical noise."
    legend = (
        f"Recovery 1 − K(S)/K(∅), K = mean KL({donor}‖grafted) over {len(chosen.predicted)} tokens, "
        f"{DIRECTION_WORDS[direction]}; K(∅) = {two_digits(first.k_base)} nats. {question.says}"
    )
    source = source_of(worker.pair, chosen.question)
    slug = f"{direction}-{question.label.lower().rstrip('?').replace(' ', '-').replace(',', '')}"
    title = f"{chosen.label}: {question.label}"
    st.write(_in_words(question, found, donor))
    left, right = st.columns([3, 2])
    with left:
        draw_figure(source, title, legend, noise, slug, rows, recovery_chart)
    with right:
        if question is QUESTIONS[1]:
            prefix = found["layers 0 to this one"]
            draw_figure(
                source, f"{title} Increments", f"What each layer adds to the curve from below. {legend}", noise,
                f"{slug}-increments", increment_rows(prefix), increments_chart,
            )  # fmt: skip
        if question is QUESTIONS[3]:
            draw_figure(source, f"{title} Heatmap", legend, noise, f"{slug}-heatmap", rows, parts_chart)
    st.caption(f"{legend} {noise}")
    plans = sum(len(swept.results) for swept in found.values())
    forwards = sum(swept.forwards_equivalent for swept in found.values())
    alone = "" if first.shared else " This model's layers cannot be run one at a time: each set took a pass of its own."
    st.caption(f"{plans} sets of layers for the work of {forwards:.0f} forward passes.{alone}")
    with st.expander("Table"):
        st.dataframe([_row(row) for row in rows], hide_index=True, width="stretch")


def _sweep(chosen: LayerText, question: Question, direction: str, pair: Pair, progress: Progress) -> dict[str, Sweep]:
    found: dict[str, Sweep] = {}
    for number, (words, (kind, part, width)) in enumerate(question.sweeps.items()):
        plans = sweep_plans(kind, pair.n_layers, part, direction, min(width or 3, pair.n_layers))

        def tell(share: float, number: int = number) -> None:
            progress((number + share) / len(question.sweeps))

        found[words] = sweep(pair, chosen.ids, chosen.predicted, plans, tell)
    return found


def _in_words(question: Question, found: dict[str, Sweep], donor: str) -> str:
    """The strongest result of each sweep, in a sentence."""
    model = {"tuned": "fine-tuned", "base": "base"}[donor]
    if question is QUESTIONS[1]:
        prefix, suffix = ([r.recovery or 0.0 for r in found[words].results] for words in question.sweeps)
        half = next((k for k, value in enumerate(prefix) if value >= 0.5), None)
        above = next((k for k in reversed(range(len(suffix))) if suffix[k] >= 0.5), None)
        low = "no prefix short of all layers" if half is None else f"layers 0 to {half}"
        high = "no suffix" if above is None else f"layers {above} to {len(suffix) - 1}"
        return f"Half of the way to the {model} model is reached from below by {low}, from above by {high}."
    parts = []
    for words, swept in found.items():
        missed = words == "all layers but this one"
        best = (min if missed else max)(swept.results, key=lambda r: r.recovery or 0.0)
        verb = "hurts most to leave out" if missed else "does most"
        parts.append(
            f"{words}: layer {best.layers} {verb} (recovery {two_digits(best.recovery)})"
            if not missed
            else f"{words}: {best.name.split(' ')[1]} {verb} (recovery {two_digits(best.recovery)} without it)"
        )
    sentence = "; ".join(parts) + "."
    return sentence[0].upper() + sentence[1:]


def _row(row: dict[str, object]) -> dict[str, object]:
    def shown(name: str) -> float | None:
        value = row[name]
        return round(value, 4) if isinstance(value, float) else None

    return {
        "grafted": row["grafted"],
        "layers": row["layers"],
        "part": row["part"],
        "recovery": shown("recovery"),
        "± noise": shown("noise"),
        "logit-difference recovery": shown("logit_difference_recovery"),
        "recovery of ln p of the text": shown("logp_recovery"),
        "K(S), nats": shown("k"),
        "mean ln p of the text, nats": shown("logp"),
    }
