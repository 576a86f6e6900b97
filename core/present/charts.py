"""Charts, in the colours and words of the pages. Everything is drawn on this machine; nothing loads from a network.

Knows figures; computes none.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt

from core.intervene.why import LayerEffects
from core.measure.summary import Bin
from core.present.colour import BACKGROUND
from core.present.drawing import drawn
from core.train.settings import CurvePoint

FONT = "system-ui, 'Segoe UI', 'Noto Sans', 'DejaVu Sans', sans-serif"
# After Okabe and Ito's palette, safe for the colour-blind; without the blues, reds and purples that mean a speaker.
CATEGORIES = ("#009E73", "#CC79A7", "#E69F00", "#444444", "#8C6D1F", "#6BBFA3")


def themed(chart: Any, theme: str = "light") -> Any:
    """A chart to keep: with the pages' fonts, faint gridlines and background."""
    ink = "#1B1F24" if theme == "light" else "#E9ECEF"
    faint = "#E3E6EA" if theme == "light" else "#2A313A"
    return _dressed(chart, ink, faint, getattr(BACKGROUND, theme))


def clear(chart: Any) -> Any:
    """A chart for a page of either theme: no background of its own, ink that reads on both."""
    return _dressed(chart, "#7B8490", "#7B849040", "transparent")


def _dressed(chart: Any, ink: str, faint: str, background: str) -> Any:
    return chart.configure(
        background=background,
        font=FONT,
        axis={"gridColor": faint, "domainColor": faint, "tickColor": faint, "labelColor": ink, "titleColor": ink},
        title={"color": ink, "anchor": "start", "fontWeight": 600},
        text={"color": ink},
        legend={"labelColor": ink, "titleColor": ink},
        header={"labelColor": ink, "titleColor": ink},
    ).configure_view(stroke=None)


def loss_chart(curve: Sequence[CurvePoint]) -> Any:
    """Training and held-out loss over the updates of a run."""
    training = [{"step": p.step, "loss": p.loss} for p in curve if p.loss is not None]
    sets: dict[str, list[dict[str, Any]]] = {}
    saved = [{"step": p.step, "loss": v, "set": k} for p in curve if p.final for k, v in (p.heldout or {}).items()]
    for point in curve:
        for name, loss in (point.heldout or {}).items():
            if not point.final:
                sets.setdefault(name, []).append({"step": point.step, "loss": loss, "set": name})
    x = alt.X("step:Q", title="updates")
    y = alt.Y("loss:Q", title="loss, nats a token", scale=alt.Scale(zero=False))
    layers = [alt.Chart(alt.Data(values=training)).mark_line(color="#9AA3AD", strokeWidth=1).encode(x=x, y=y)]
    if sets:
        names = list(sets)
        scale = alt.Scale(domain=names, range=[CATEGORIES[k % len(CATEGORIES)] for k in range(len(names))])
        colour = alt.Color("set:N", scale=scale, legend=None)
        lines = alt.Chart(alt.Data(values=[point for points in sets.values() for point in points]))
        last = {name: points[-1] for name, points in sets.items()} | {point["set"]: point for point in saved}
        ends = alt.Chart(alt.Data(values=list(last.values())))
        layers += [
            lines.mark_line(strokeWidth=2).encode(x=x, y=y, color=colour),
            lines.mark_point(filled=True, size=30).encode(x=x, y=y, color=colour),
            alt.Chart(alt.Data(values=saved))
            .mark_point(shape="diamond", size=70, filled=False)
            .encode(x=x, y=y, color=colour),
            ends.mark_text(align="left", dx=9).encode(x=x, y=y, text="set:N", color=colour),
        ]
    title = alt.Title(
        "Held-out loss in colour, training loss in grey",
        subtitle="held-out loss without headings and end of turn, training loss with them; diamonds: as saved",
    )
    room = {"left": 5, "right": 190, "top": 5, "bottom": 5}
    return themed(alt.layer(*layers).properties(width=560, height=320, title=title, padding=room))


_AWAY, _NEITHER, _TOWARDS = "rgba(0,114,178,1)", "rgba(62,96,170,0)", "rgba(123,79,163,1)"


def signed_colour(field: str, title: str, end: float) -> Any:
    """Colour of a cell that may move towards the donor (above 0) or away from it, on a fixed scale from −end to end.

    What is 0 is the page itself, whatever its theme.
    """
    return alt.Color(
        f"{field}:Q",
        scale=alt.Scale(domain=[-end, 0, end], range=[_AWAY, _NEITHER, _TOWARDS], clamp=True, interpolate="rgb"),
        legend=alt.Legend(title=title, values=[-end, 0, end], format="~g", gradientLength=160),
    )


PART_COLOURS = {"attention": "#0B7A75", "MLP": "#C58B00"}
Rows = Sequence[dict[str, Any]]


def slope_rows(attribution: Sequence[tuple[float, float]]) -> Rows:
    """First-order effects of layers by part, (n_layers × [attn, mlp]), as rows."""
    return [
        {"layer": layer, "part": part, "slope": value}
        for layer, pair in enumerate(attribution)
        for part, value in zip(PART_COLOURS, pair, strict=True)
    ]


def slopes_chart(rows: Rows) -> Any:
    """First-order effects of layers by part, lowest layer at the bottom."""
    chart = alt.Chart(alt.Data(values=list(rows))).mark_bar(height={"band": 0.9})
    encoded = chart.encode(
        x=alt.X("slope:Q", title="slope of the contrast, logits per unit of gate"),
        y=alt.Y("layer:O", title="layer", sort="descending"),
        yOffset=alt.YOffset("part:N", sort=list(PART_COLOURS)[::-1]),
        color=alt.Color(
            "part:N",
            scale=alt.Scale(domain=list(PART_COLOURS), range=list(PART_COLOURS.values())),
            legend=alt.Legend(orient="top", title=None),
        ),
        tooltip=["layer:O", "part:N", alt.Tooltip("slope:Q", format=".2g")],
    )
    return encoded.properties(width=620, height=7 * len(rows))


ALONE, WITHOUT = "this layer alone", "all layers but this one"


def effect_rows(effects: LayerEffects) -> Rows:
    """Recovery of one prediction: each layer alone, and all but each, as rows."""
    return [
        {"layer": layer, "grafted": what, "recovery": result.recovery}
        for what, swept in ((ALONE, effects.alone), (WITHOUT, effects.without))
        for layer, result in enumerate(swept.results)
    ]


def effects_chart(rows: Rows) -> Any:
    """Recovery by layer: each alone, and all but each."""
    points = (
        alt.Chart(alt.Data(values=list(rows)))
        .mark_line(point=True)
        .encode(
            x=alt.X("recovery:Q", title="recovery (0 base, 1 fine-tuned)"),
            y=alt.Y("layer:O", title="layer", sort="descending"),
            order="layer:Q",
            color=alt.Color(
                "grafted:N",
                scale=alt.Scale(domain=[ALONE, WITHOUT], range=["#7B4FA3", "#009E73"]),
                legend=alt.Legend(orient="top", title=None),
            ),
            tooltip=["layer:O", "grafted:N", alt.Tooltip("recovery:Q", format=".2f")],
        )
    )
    marks = alt.Chart(alt.Data(values=[{"at": 0}, {"at": 1}])).mark_rule(strokeDash=[4, 3], color="#9AA3AD")
    return alt.layer(marks.encode(x="at:Q"), points).properties(width=620, height=7 * len(rows))


def bin_rows(bins: Sequence[Bin]) -> Rows:
    """Mean KL by bins of another quantity, as rows."""
    return [{"from": b.low, "to": b.high, "mean_kl": b.mean_kl, "tokens": b.n} for b in bins]


def bins_chart(rows: Rows, along: str) -> Any:
    """Mean KL(tuned‖base) over bins of another quantity, each as wide as what it covers."""
    bars = alt.Chart(alt.Data(values=list(rows))).mark_rect(fill="#C2521F", stroke="#FFFFFF", strokeWidth=1)
    return bars.encode(
        x=alt.X("from:Q", title=along),
        x2="to:Q",
        y=alt.Y("mean_kl:Q", title="mean KL(tuned‖base), nats", scale=alt.Scale(zero=True)),
        y2=alt.datum(0),
        tooltip=[alt.Tooltip(f"{name}:Q", format=".3g") for name in ("from", "to", "mean_kl", "tokens")],
    ).properties(width=300, height=180)


def write_svg(chart: Any, path: Path) -> None:
    """Writes a chart as SVG."""
    path.write_bytes(drawn(chart, "svg"))
