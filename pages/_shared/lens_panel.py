"""The layer × token lens on a page: where in the model the two part, cell by cell.

Knows what to ask the worker for, and how to draw it; reads no model itself.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import streamlit as st

from core.generate.requests import Progress
from core.generate.worker import Worker
from core.measure.lens import LENS_METRICS, Lens, LensChoices, layers_within, lens, lens_choices
from core.measure.tokens import Choice
from core.pair.gates import format_layers
from core.pair.pair import Pair
from core.pair.parts import MASKS, Mask
from core.present.charts import clear
from core.present.figures import Figure
from core.present.lens_chart import (
    lens_chart,
    lens_figure,
    lens_legend,
    lens_rows,
    mean_chart,
    mean_rows,
    token_label,
)
from core.present.provenance import source_of
from core.present.texts import two_digits
from pages._shared.exports import draw_exports, draw_figure
from pages._shared.frame import escaped
from pages._shared.tasks import compute
from pages._shared.texts import Text

COLUMNS = 120
_CHOICES = {"kl": "KL(tuned‖base)", "norm": "drift, length", "cosine": "drift, direction"}


def draw_lens(worker: Worker, page: str, text: Text, mask: Mask) -> None:
    """A switch that opens the lens; nothing is computed before it is opened.

    Args:
        worker: the pair's worker.
        page: whose computation it is.
        text: what is read.
        mask: which of its tokens.
    """
    if not st.toggle("Layer by layer: where in the model the two part", key="lens_open"):
        return
    st.markdown(f"##### Layer by layer: {text.label}")
    st.write(
        "Each row is a layer, each column a token. A cell compares what the two models have in mind after that layer, "
        "just before that token. Reading a layer so is approximate, the more so the lower the layer; the top row is "
        "the models' real output."
    )
    positions = _chosen_positions(worker.pair, text, mask)
    if not positions:
        st.write("There is no token in this part of the text.")
        return
    ids = (*text.prompt.ids, *text.ids)
    layers = layers_within(worker.pair, len(positions))
    work = partial(_lens, ids, positions, layers)
    found = compute(worker, "lens", page, (ids, positions, layers), work, "Reading every layer")
    if found is None:
        return
    tokens = [piece.text for piece in worker.pair.prompts.pieces([ids[pos] for pos in positions])]
    metric, figure = _draw_cells(worker.pair, text, found, tokens)
    layer, pos = st.session_state.get("lens_cell", (-1, -1))
    if layer in found.layers and pos in found.positions:
        asked = partial(_choices, ids, pos, layer)
        choices = compute(worker, "lens cell", page, (ids, pos, layer), asked, "Reading both models there")
        if choices is not None:
            _draw_choices(choices, tokens[found.positions.index(pos)])
    else:
        st.caption("Click a cell to see what each model would write there.")
    st.markdown("**Mean over these tokens, by layer**")
    draw_figure(
        figure.source, f"{figure.title}, mean by layer", f"Mean over {len(positions)} tokens. {figure.legend}",
        figure.noise_note, f"{figure.slug}-mean", mean_rows(found), partial(mean_chart, metric=metric),
    )  # fmt: skip


def _lens(
    ids: tuple[int, ...], positions: tuple[int, ...], layers: tuple[int, ...], pair: Pair, progress: Progress
) -> Lens:
    return lens(pair, ids, positions, layers, progress)


def _choices(ids: tuple[int, ...], pos: int, layer: int, pair: Pair, progress: Progress) -> LensChoices:
    return lens_choices(pair, ids, pos, layer)


def _chosen_positions(pair: Pair, text: Text, mask: Mask) -> tuple[int, ...]:
    """The predicted tokens of a part of the text; a stretch of them where there are many."""
    parts = (*text.prompt.parts, *pair.prompts.answer_parts(text.ids, text.prompt).parts)
    positions = [pos for pos, part in enumerate(parts) if pos and part in MASKS[mask]]
    if len(positions) <= COLUMNS:
        return tuple(positions)
    starts = range(0, len(positions), COLUMNS)
    start = st.selectbox("stretch of the text", starts, format_func=partial(_stretch, len(positions)), width=230)
    return tuple(positions[start : start + COLUMNS])


def _stretch(n: int, start: int) -> str:
    return f"tokens {start + 1} to {min(start + COLUMNS, n)} of {n}"


def _draw_cells(pair: Pair, text: Text, found: Lens, tokens: Sequence[str]) -> tuple[str, Figure]:
    """The heatmap with its downloads; its metric and its figure. A click is remembered as `lens_cell`."""
    metric = st.segmented_control(
        "what is compared", list(_CHOICES), format_func=_CHOICES.__getitem__, key="lens_metric", default="kl",
        required=True, help="KL: what each would write next. Drift: how far the state itself has moved.",
    ) or "kl"  # fmt: skip
    theme = st.context.theme.type or "light"
    title = f"Layer × token, {text.label}: {LENS_METRICS[metric].label}"
    figure = lens_figure(found, tokens, metric, title, source_of(pair, text.question), theme)
    picked: Any = st.altair_chart(
        clear(lens_chart(lens_rows(found, tokens), metric, theme)),
        theme=None,
        on_select="rerun",
        selection_mode="cell",
        key=f"lens-{metric}",
    )
    if picked["selection"]["cell"]:
        cell = picked["selection"]["cell"][0]
        st.session_state["lens_cell"] = (cell["layer"], cell["pos"])
    st.caption(f"{lens_legend(metric)} {figure.noise_note}{_left_out(found, pair.n_layers)}")
    draw_exports(figure, f"lens-{metric}")
    return metric, figure


def _left_out(found: Lens, n_layers: int) -> str:
    if len(found.layers) == n_layers:
        return ""
    return f" To save time, {len(found.layers)} of the {n_layers} layers were read: {format_layers(found.layers)}."


def _draw_choices(found: LensChoices, token: str) -> None:
    """What both models would write at the clicked cell."""
    st.markdown(f"**After layer {found.layer}, before “{escaped(token_label(token))}”**")
    left, right = st.columns(2)
    for column, words, choices in ((left, "Base", found.base), (right, "Fine-tuned", found.tuned)):
        column.caption(f"{words}, read there, would write")
        column.table([_choice_row(choice) for choice in choices], hide_index=True)
    st.caption(f"KL(tuned‖base) of the two readings: {two_digits(found.kl)} nats.")


def _choice_row(choice: Choice) -> dict[str, str]:
    return {"token": escaped(token_label(choice.text)), "log p": two_digits(choice.logp)}
