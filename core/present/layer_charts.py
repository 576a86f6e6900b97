"""Charts of layers: recovery by layer, curves with increments, windows, layer × part.

The lowest layer, which reads the words, stands at the bottom. Knows results of sweeps; computes none.
"""

from collections.abc import Iterable
from typing import Any

import altair as alt

from core.intervene.recovery import PlanResult, Sweep
from core.present.charts import Rows, signed_colour

ORDERED = ("#7B4FA3", "#009E73", "#C58B00", "#0B7A75", "#CC79A7", "#444444")


def sweep_rows(sweeps: dict[str, Sweep]) -> Rows:
    """Sweeps by what they graft, as rows.

    Plans are named after what they graft, "single 20 mlp"; the layer is the highest grafted one, of windows the middle.
    """
    return [row for what, swept in sweeps.items() for row in sweep_report_rows(what, swept.results)]


def sweep_report_rows(what: str, plans: Iterable[PlanResult]) -> Rows:
    """Plans of one sweep as rows; `what` they graft."""
    return [
        {
            "grafted": what,
            "layers": plan.layers,
            "layer": _place(plan.name),
            "part": plan.part,
            "recovery": plan.recovery,
            "noise": plan.recovery_noise,
            "logit_difference_recovery": plan.logit_difference_recovery,
            "logp_recovery": plan.logp_recovery,
            "k": plan.k,
            "logp": plan.logp,
        }
        for plan in plans
    ]


def _place(name: str) -> float:
    kind, label = name.split(" ")[:2]
    first, _, last = label.partition("-")
    if kind == "window":
        return (int(first) + int(last or first)) / 2
    return float(first if kind == "suffix" else last or first)


def recovery_chart(rows: Rows, height: int = 440) -> Any:
    """Recovery over layers, one line for each way of grafting."""
    names = list(dict.fromkeys(row["grafted"] for row in rows))
    colour = alt.Color(
        "grafted:N",
        scale=alt.Scale(domain=names, range=list(ORDERED[: len(names)])),
        legend=alt.Legend(orient="top", title=None, labelLimit=320, columns=2),
    )
    y = alt.Y(
        "layer:Q", title="layer", axis=alt.Axis(tickMinStep=1, format="d"), scale=alt.Scale(padding=6, nice=False)
    )
    points = alt.Chart(alt.Data(values=list(rows))).encode(
        x=alt.X("recovery:Q", title="recovery (0 base, 1 fine-tuned)"),
        y=y,
        order="layer:Q",
        color=colour,
        tooltip=[
            "layers:N",
            "grafted:N",
            alt.Tooltip("recovery:Q", format=".3f"),
            alt.Tooltip("noise:Q", format=".1g"),
        ],
    )
    marks = alt.Chart(alt.Data(values=[{"at": 0}, {"at": 1}])).mark_rule(strokeDash=[4, 3], color="#9AA3AD")
    return alt.layer(marks.encode(x="at:Q"), points.mark_line(point=True)).properties(width=560, height=height)


def increment_rows(swept: Sweep) -> Rows:
    """What each layer adds to the curve from below, as rows: C_m − C_{m−1}, with C of no layer 0."""
    curve = [0.0, *(result.recovery or 0.0 for result in swept.results)]
    return [{"layer": m, "increment": curve[m + 1] - curve[m]} for m in range(len(curve) - 1)]


def increments_chart(rows: Rows) -> Any:
    """Increments of the curve from below."""
    bars = alt.Chart(alt.Data(values=list(rows))).mark_bar(color="#7B4FA3")
    return bars.encode(
        x=alt.X("increment:Q", title="increment of recovery"),
        y=alt.Y("layer:O", title="layer", sort="descending"),
        tooltip=["layer:O", alt.Tooltip("increment:Q", format=".3f")],
    ).properties(width=300, height=440)


def parts_chart(rows: Rows) -> Any:
    """Recovery of each layer's attention, MLP and both, on a fixed scale from −1 to 1."""
    shown = {"attn": "attention", "mlp": "MLP", "both": "both"}
    values = [{**row, "shown": shown[row["part"]]} for row in rows if row["recovery"] is not None]
    return (
        alt.Chart(alt.Data(values=values))
        .mark_rect(stroke="#7B8490", strokeWidth=0.3, strokeOpacity=0.5)
        .encode(
            x=alt.X("shown:N", title=None, sort=list(shown.values()), axis=alt.Axis(labelAngle=0)),
            y=alt.Y("layer:O", title="layer", sort="descending"),
            color=signed_colour("recovery", "recovery", 1),
            tooltip=["layer:O", "shown:N", alt.Tooltip("recovery:Q", format=".3f")],
        )
        .properties(width=220, height=440)
    )
