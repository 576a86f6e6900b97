"""Charts of a search: how recovery grows with the set, shares of every unit, a patch grid.

Knows what was found; searches nothing.
"""

from collections.abc import Sequence
from typing import Any

import altair as alt

from core.intervene.grid import Cell
from core.intervene.search import FoundSet
from core.intervene.sets import set_name
from core.intervene.shapley import Share
from core.intervene.smallest import Step
from core.present.charts import PART_COLOURS, Rows, signed_colour

_PARTS = {"attn": "attention", "mlp": "MLP"}
MAX_LABELS = 40


def curve_rows(curve: Sequence[Step], sets: Sequence[FoundSet], n_layers: int) -> Rows:
    """Steps of a search, and the controls of its sets, as rows."""
    steps = [
        {"units": step.size, "what": "found set", "recovery": step.recovery, "low": None, "high": None,
         "set": set_name(step.units, n_layers)}
        for step in curve
    ]  # fmt: skip
    controls = [
        {"units": len(found.units), "what": what, "recovery": control.mean,
         "low": None if control.sd is None else control.mean - control.sd,
         "high": None if control.sd is None else control.mean + control.sd, "set": found.name}
        for found in sets
        for what, control in (("random sets", found.random), ("same set, random adapters", found.random_adapter))
        if control.mean is not None
    ]  # fmt: skip
    return [*steps, *controls]


def curve_chart(rows: Rows) -> Any:
    """Recovery by the number of units, with controls as mean ± standard deviation."""
    names = ["found set", "random sets", "same set, random adapters"]
    colour = alt.Color(
        "what:N",
        scale=alt.Scale(domain=names, range=["#7B4FA3", "#E69F00", "#444444"]),
        legend=alt.Legend(orient="top", title=None, labelLimit=260),
    )
    x = alt.X("units:Q", title="units in the set", axis=alt.Axis(tickMinStep=1, format="d"))
    y = alt.Y("recovery:Q", title="recovery (0 base, 1 fine-tuned)")
    tooltip = ["units:Q", "what:N", alt.Tooltip("recovery:Q", format=".3f"), "set:N"]
    found = alt.Chart(alt.Data(values=[row for row in rows if row["what"] == names[0]]))
    controls = alt.Chart(alt.Data(values=[row for row in rows if row["what"] != names[0]]))
    return alt.layer(
        found.mark_line(point=True).encode(x=x, y=y, color=colour, tooltip=tooltip),
        controls.mark_rule(strokeWidth=2).encode(x=x, y="low:Q", y2="high:Q", color=colour),
        controls.mark_point(filled=True, size=70).encode(x=x, y=y, color=colour, tooltip=tooltip),
    ).properties(width=560, height=320)


def share_rows(shares: Sequence[Share]) -> Rows:
    """Shapley shares with their standard errors as rows."""
    return [
        {"layer": s.layer, "part": _PARTS.get(s.part, s.part), "share": s.share, "se": s.se,
         "low": s.share - (s.se or 0.0), "high": s.share + (s.se or 0.0)}
        for s in shares
    ]  # fmt: skip


def shares_chart(rows: Rows) -> Any:
    """Shares by layer and part, ± one standard error, lowest layer at the bottom."""
    parts = list(dict.fromkeys(row["part"] for row in rows))
    colours = [PART_COLOURS.get(part, "#7B4FA3") for part in parts]
    y = alt.Y("layer:O", title="layer", sort="descending")
    offset = alt.YOffset("part:N", sort=parts[::-1])
    base = alt.Chart(alt.Data(values=list(rows)))
    bars = base.mark_bar(height={"band": 0.9}).encode(
        x=alt.X("share:Q", title="share of recovery"),
        y=y,
        yOffset=offset,
        color=alt.Color(
            "part:N", scale=alt.Scale(domain=parts, range=colours), legend=alt.Legend(orient="top", title=None)
        ),
        tooltip=["layer:O", "part:N", *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("share", "se"))],
    )
    errors = base.mark_rule(color="#7B8490").encode(x="low:Q", x2="high:Q", y=y, yOffset=offset)
    layers = len({row["layer"] for row in rows})
    return alt.layer(bars, errors).properties(width=560, height=14 * layers)


def cell_rows(cells: Sequence[Cell], tokens: dict[int, str], value: str) -> Rows:
    """Cells of a patch grid as rows; those outside the causal cone have no value.

    Args:
        cells: exact or quick ones.
        tokens: position → its text.
        value: `kl_recovery`, `logit_difference_recovery` or `attribution`.
    """
    return [
        {"layer": cell.layer, "pos": cell.pos, "token": tokens[cell.pos], "value": getattr(cell, value)}
        for cell in cells
    ]


def grid_end(n_predictions: int) -> float:
    """Where the colour scale of a grid ends: one position can carry a prediction, but hardly a whole answer."""
    return 1.0 if n_predictions == 1 else 0.1


def grid_scale(n_predictions: int) -> str:
    """The same in words."""
    end = grid_end(n_predictions)
    return f"fixed scale from −{end:g} to {end:g} for {'one prediction' if n_predictions == 1 else 'a whole answer'}"


def grid_chart(rows: Rows, value: str, layers: Sequence[int], positions: Sequence[int], end: float) -> Any:
    """A patch grid: one row a layer, layer 0 at the bottom, one column a patched token; blank where undefined."""
    texts = {row["pos"]: row["token"] for row in rows}
    labelled = [pos for k, pos in enumerate(positions) if k % max(1, -(-len(positions) // MAX_LABELS)) == 0]
    named = " : ".join(f"datum.value == {pos} ? {_quoted(texts.get(pos, ''))}" for pos in labelled) or "''"
    axis = alt.Axis(labelAngle=-60, values=labelled, labelExpr=f"{named} : ''", ticks=False, labelOverlap=False)
    cells = [row for row in rows if row["value"] is not None]
    across = alt.Scale(domain=list(positions))
    return (
        alt.Chart(alt.Data(values=cells))
        .mark_rect(stroke="#7B8490", strokeWidth=0.3, strokeOpacity=0.5)
        .encode(
            x=alt.X("pos:O", title="token whose activation is replaced", scale=across, axis=axis),
            y=alt.Y("layer:O", title="layer", scale=alt.Scale(domain=sorted(layers, reverse=True))),
            color=signed_colour("value", value.replace("_", " "), end),
            tooltip=["layer:O", "pos:O", "token:N", alt.Tooltip("value:Q", format=".3f")],
        )
        .properties(width=max(240, min(900, 16 * len(positions))), height=14 * len(layers))
    )


def _quoted(text: str) -> str:
    """A token's text as a string of the chart's expression language."""
    shown = text.strip()[:14] or "␣"
    escaped = shown.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "↵")
    return f"'{escaped}'"
