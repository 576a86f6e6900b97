"""Weight changes drawn: layer × projection, the directions of one change, and size against effect.

Strength of colour is the size, so that nothing is lost on light or on dark. Knows sizes and recoveries; computes none.
"""

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import altair as alt

from core.intervene.size_and_effect import Point
from core.measure.weights import ModuleChange, WeightChanges
from core.pair.gates import PROJECTIONS
from core.present.charts import PART_COLOURS, Rows
from core.present.figures import Figure
from core.present.provenance import Source
from core.present.weight_words import ON_DATA, PART_WORDS, WEIGHT_MEASURES, projection_word

LIMIT = "It shows how large a change is, not what it does and not whether it is right."
SCALE_NOTE = "The scale runs from 0 to this adapter's largest value, rounded up."
_ROUND = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)
# From the page itself, whatever its theme, to full colour.
_NONE, _FULL = "rgba(194,82,31,0)", "rgba(194,82,31,1)"
NOISE_NOTES = ("Computed in float64 from the weights.", "From one run of the fine-tuned model; no noise is computed.")
_LABELLED = 3  # points with their layer beside them, of each part


def weight_rows(modules: Iterable[ModuleChange]) -> Rows:
    """One row a projection, with every size; singular values are left to the JSON and to `spectrum_rows`."""
    return [
        {name: value for name, value in vars(module).items() if name not in ("projection", "singular_values")}
        | {"projection": module.projection}
        for module in modules
    ]


def weights_chart(rows: Rows, measure: str) -> Any:
    """Layer × projection, layer 0 at the bottom. A click selects a `cell`, with its `layer` and `projection`."""
    described = WEIGHT_MEASURES[measure]
    cells = [{**row, "value": row[measure], "shown": projection_word(row["projection"])} for row in rows]
    shown = [cell for cell in cells if cell["value"] is not None]
    end = rounded_up(max((cell["value"] for cell in shown), default=0.0))
    layers = sorted({row["layer"] for row in rows}, reverse=True)
    cell = alt.selection_point(name="cell", fields=["layer", "projection"], empty=False)
    return (
        alt.Chart(alt.Data(values=shown))
        .mark_rect(strokeWidth=0.6, cursor="pointer")
        .encode(
            x=alt.X(
                "shown:N",
                title="projection (attention q to o, MLP gate to down)",
                scale=alt.Scale(domain=[projection_word(name) for name in PROJECTIONS]),
                axis=alt.Axis(labelAngle=0, ticks=False),
            ),
            y=alt.Y("layer:O", title="layer", scale=alt.Scale(domain=layers), axis=alt.Axis(ticks=False)),
            color=alt.Color(
                "value:Q",
                scale=alt.Scale(domain=[0, end], range=[_NONE, _FULL], interpolate="rgb"),
                legend=alt.Legend(
                    title=described.label,
                    orient="top",
                    values=[0, end / 2, end],
                    format=".2~g",
                    gradientLength=200,
                    titleLimit=300,
                    gradientStrokeColor="#7B8490",
                    gradientStrokeWidth=0.5,
                ),
            ),
            stroke=alt.condition(cell, alt.value("#7B4FA3"), alt.value("#7B849055")),
            tooltip=[
                "layer:O",
                "projection:N",
                alt.Tooltip("value:Q", format=".3g", title=described.label),
                alt.Tooltip("relative_frobenius:Q", format=".3g", title="‖ΔW‖_F / ‖W‖_F"),
            ],
        )
        .add_params(cell)
        .properties(width=380, height=14 * len(layers))
    )


def weights_figure(changes: WeightChanges, measure: str, source: Source) -> Figure:
    """The cells of one measure as something to keep; the table has all of them."""
    described = WEIGHT_MEASURES[measure]
    return Figure(
        f"Weight changes: {described.label}",
        source,
        f"{described.label}: {described.plain}, by layer and projection. {SCALE_NOTE}",
        NOISE_NOTES[measure == ON_DATA],
        f"weights-{measure.replace('_', '-')}",
        tuple(weight_rows(changes.modules)),
        partial(weights_chart, measure=measure),
        LIMIT,
    )


def spectrum_rows(module: ModuleChange) -> Rows:
    """Singular values of one change, with their shares of its squared size."""
    total = module.frobenius**2
    return [
        {"layer": module.layer, "projection": module.projection, "direction": number, "singular_value": value,
         "share": value**2 / total if total else None}
        for number, value in enumerate(module.singular_values, start=1)
    ]  # fmt: skip


def spectrum_chart(rows: Rows) -> Any:
    """Singular values as bars, largest first."""
    bars = alt.Chart(alt.Data(values=list(rows))).mark_bar(color=_FULL)
    return bars.encode(
        x=alt.X("direction:O", title="direction, largest first", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("singular_value:Q", title="singular value of ΔW"),
        tooltip=[
            "direction:O",
            alt.Tooltip("singular_value:Q", format=".3g"),
            alt.Tooltip("share:Q", format=".1%", title="share of ‖ΔW‖_F²"),
        ],
    ).properties(width=360, height=260)


def effect_rows(found: Iterable[Point]) -> Rows:
    """Each layer's attention and MLP as rows: size of the change, and recovery grafted alone."""
    return [
        {"layer": point.layer, "part": PART_WORDS[point.part], "size": point.size, "recovery": point.recovery}
        for point in found
    ]


def effects_chart(rows: Rows, measure: str) -> Any:
    """Size against effect, one point a layer's attention or MLP; the largest and most effective with their layers."""
    named = {id(row) for row in _standing_out(rows)}
    values = [{**row, "label": str(row["layer"]) if id(row) in named else ""} for row in rows]
    parts = list(PART_COLOURS)
    base = alt.Chart(alt.Data(values=values)).encode(
        x=alt.X(
            "size:Q", title=f"{WEIGHT_MEASURES[measure].label}, of the part", scale=alt.Scale(zero=False, padding=18)
        ),
        y=alt.Y("recovery:Q", title="recovery of this part alone (0 base, 1 fine-tuned)"),
        color=alt.Color(
            "part:N",
            scale=alt.Scale(domain=parts, range=list(PART_COLOURS.values())),
            legend=alt.Legend(orient="top", title=None),
        ),
        tooltip=[
            "layer:O",
            "part:N",
            alt.Tooltip("size:Q", format=".3g", title=WEIGHT_MEASURES[measure].label),
            alt.Tooltip("recovery:Q", format=".3f"),
        ],
    )
    shape = alt.Shape("part:N", scale=alt.Scale(domain=parts, range=["circle", "triangle-up"]), legend=None)
    labels = base.mark_text(align="left", dx=8, fontSize=11).encode(text="label:N")
    return alt.layer(base.mark_point(filled=True, size=70, opacity=0.85).encode(shape=shape), labels).properties(
        width=560, height=340
    )


def rounded_up(value: float) -> float:
    """The next number of one digit, or 1.5 or 2.5 of them, times a power of ten; 1 for nothing."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next((step * power for step in _ROUND if value <= step * power), 10.0 * power)


def _standing_out(rows: Rows) -> list[dict[str, Any]]:
    """Of each part the rows with the largest sizes and recoveries."""
    found = []
    for part in PART_COLOURS:
        own = [row for row in rows if row["part"] == part]
        for by in ("size", "recovery"):
            found += sorted(own, key=lambda row: float(row[by]), reverse=True)[:_LABELLED]
    return found
