"""The layer × token lens drawn: one row a layer, layer 0 at the bottom, one column a token.

Every metric has one fixed scale, so that the same colour is the same number on every text. Knows a lens and the texts
of its tokens; computes none.
"""

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import altair as alt

from core.measure.lens import LENS_METRICS, Lens
from core.measure.metrics import Metric
from core.present.charts import Rows
from core.present.colour import stops
from core.present.figures import Figure
from core.present.provenance import Source
from core.present.texts import two_digits

COLUMNS = {"kl": "lens_kl_tuned_base", "norm": "drift_norm", "cosine": "drift_cosine"}
APPROXIMATE = (
    "The lens reads a layer with the model's last norm and unembedding; it is approximate, the more so the lower the "
    "layer."
)
MAX_LABELS = 40
_LABEL = 14  # characters of a token's label
_ROW, _WIDTH = 15, 900
_QUIET = {"light": "#D5D9DE", "dark": "#353C46"}
_LINE_COLOUR = "#C2521F"
# As wide as the page; as high as its rows, with labels and legend in addition.
_ROOM = alt.AutoSizeParams(type="fit-x", contains="padding")


def lens_rows(found: Lens, tokens: Sequence[str]) -> Rows:
    """One row a cell, lowest layer first: every metric, and its noise at that layer.

    Args:
        found: the lens.
        tokens: texts of the predicted tokens, one a position.
    """
    grids = {name: getattr(found, name) for name in LENS_METRICS}
    noise = {name: getattr(found.noise, name) for name in LENS_METRICS}
    return [
        {"layer": layer, "pos": pos, "token": token}
        | {COLUMNS[name]: grid[row][column] for name, grid in grids.items()}
        | {f"{COLUMNS[name]}_noise": values[row] for name, values in noise.items()}
        for row, layer in enumerate(found.layers)
        for column, (pos, token) in enumerate(zip(found.positions, tokens, strict=True))
    ]


def mean_rows(found: Lens) -> Rows:
    """One row a layer: the mean of every metric over the positions."""
    return [
        {"layer": layer} | {COLUMNS[name]: getattr(found.mean, name)[row] for name in LENS_METRICS}
        for row, layer in enumerate(found.layers)
    ]


def lens_chart(rows: Rows, metric: str, theme: str = "light") -> Any:
    """The cells of one metric. A click on one selects it under the name `cell`, with its `layer` and `pos`.

    Args:
        rows: as of `lens_rows`.
        metric: name in the table of lens metrics.
        theme: `light` or `dark`: what the scale begins with.
    """
    cell = alt.selection_point(name="cell", fields=["layer", "pos"], empty=False)
    cells = [_cell(row, COLUMNS[metric]) for row in rows if row[COLUMNS[metric]] is not None]
    tokens = {row["pos"]: row["token"] for row in rows}
    layers = sorted({row["layer"] for row in rows})
    described = LENS_METRICS[metric]
    unit = "" if described.unit == "1" else f", {described.unit}"
    return (
        alt.Chart(alt.Data(values=cells))
        .mark_rect(strokeWidth=0.4)
        .encode(
            x=alt.X("pos:O", title="token that is predicted", scale=alt.Scale(domain=list(tokens)), axis=_axis(tokens)),
            y=alt.Y("layer:O", title="after layer", scale=alt.Scale(domain=layers[::-1]), axis=alt.Axis(ticks=False)),
            color=alt.condition("datum.quiet", alt.value(_QUIET[theme]), _colour(described, theme)),
            stroke=alt.condition(cell, alt.value("#7B4FA3"), alt.value("#7B849055")),
            strokeWidth=alt.condition(cell, alt.value(2.5), alt.value(0.4)),
            tooltip=[
                alt.Tooltip("layer:O", title="after layer"),
                alt.Tooltip("token:N", title="token"),
                alt.Tooltip("pos:O", title="position"),
                alt.Tooltip("value:Q", title=f"{described.label}{unit}", format=".3g"),
                alt.Tooltip("noise:Q", title="noise", format=".1e"),
            ],
        )
        .add_params(cell)
        .properties(width=_WIDTH, height=_ROW * len(layers), autosize=_ROOM)
    )


def mean_chart(rows: Rows, metric: str) -> Any:
    """The mean of one metric by layer."""
    described = LENS_METRICS[metric]
    unit = "" if described.unit == "1" else f", {described.unit}"
    column = COLUMNS[metric]
    return (
        alt.Chart(alt.Data(values=[row for row in rows if row[column] is not None]))
        .mark_line(point={"color": _LINE_COLOUR}, color=_LINE_COLOUR)
        .encode(
            x=alt.X(
                "layer:Q", title="after layer", scale=alt.Scale(nice=False), axis=alt.Axis(tickMinStep=1, format="d")
            ),
            y=alt.Y(f"{column}:Q", title=f"mean{unit}"),
            tooltip=["layer:Q", alt.Tooltip(f"{column}:Q", title=f"mean {described.label}", format=".3g")],
        )
        .properties(width=_WIDTH, height=150)
    )


def lens_figure(
    found: Lens, tokens: Sequence[str], metric: str, title: str, source: Source, theme: str = "light"
) -> Figure:
    """The lens with all that must stand beside it; its table and JSON hold every metric."""
    noise = [value for value in getattr(found.noise, metric) if value is not None]
    unit = "" if LENS_METRICS[metric].unit == "1" else " nats"
    about = f"Grey: within numerical noise (at most {two_digits(max(noise, default=None))}{unit})."
    rows = tuple(lens_rows(found, tokens))
    draw = partial(lens_chart, metric=metric, theme=theme)
    return Figure(title, source, lens_legend(metric), about, f"{COLUMNS[metric]}".replace("_", "-"), rows, draw)


def lens_legend(metric: str) -> str:
    """What the colours are, in one or two sentences."""
    described = LENS_METRICS[metric]
    unit = "" if described.unit == "1" else f" {described.unit}"
    low, high = (two_digits(end) for end in described.domain)
    words = f"{described.label}: {described.plain}, {low} to {high}{unit}, fixed scale."
    return f"{words} {APPROXIMATE}" if metric == "kl" else words


def token_label(text: str) -> str:
    """A token as it can stand on an axis or in a line: one line, never empty."""
    shown = text.replace("\n", "↵").strip() or "␣"
    return shown if len(shown) <= _LABEL else shown[: _LABEL - 1] + "…"


def _cell(row: dict[str, Any], column: str) -> dict[str, Any]:
    noise = row[f"{column}_noise"]
    return {
        "layer": row["layer"],
        "pos": row["pos"],
        "token": token_label(row["token"]),
        "value": row[column],
        "noise": noise,
        "quiet": row[column] <= (noise or 0.0),
    }


def _axis(tokens: dict[int, str]) -> Any:
    """Token texts under the columns; where there are many, under every second, third … of them."""
    labelled = list(tokens)[:: -(-len(tokens) // MAX_LABELS)]
    texts = json.dumps({str(pos): token_label(tokens[pos]) for pos in labelled})
    return alt.Axis(
        values=labelled, labelExpr=f"{texts}[datum.value]", labelAngle=-60, labelOverlap=False, ticks=False, grid=False
    )


def _colour(metric: Metric, theme: str) -> Any:
    colours = stops(metric, theme)
    low, high = metric.domain
    domain = [low + (high - low) * k / (len(colours) - 1) for k in range(len(colours))]
    unit = "" if metric.unit == "1" else f", {metric.unit}"
    return alt.Color(
        "value:Q",
        scale=alt.Scale(domain=domain, range=list(colours), clamp=True, interpolate="rgb"),
        legend=alt.Legend(
            title=f"{metric.label}{unit}", orient="top", titleLimit=400, gradientLength=220, values=[low, high]
        ),
    )
