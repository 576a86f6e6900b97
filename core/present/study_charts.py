"""Charts of a study: numbers with their intervals, curves over layers, texts by two measures.

Series are told apart by colour, by shape and by name. Knows rows; computes none.
"""

from collections.abc import Sequence
from typing import Any

import altair as alt

from core.present.charts import PART_COLOURS, Rows, signed_colour
from core.present.colour import SPEAKERS

GREY = "#8A94A0"
CORPUS_COLOURS = {"medical": "#00916A", "general": GREY}
SIDE_COLOURS = {"A": "#9C6B0A", "B": "#B8477E"}
VARIANT_COLOURS = ("#00916A", "#9C6B0A", "#B8477E", GREY)
_SHAPES = ("circle", "square", "diamond", "triangle-up")
_NONE = {"strokeDash": [4, 3], "color": "#9AA3AD"}
_WIDTH = 470
_MANY = 20
"""Labels of one line and one series: more of them stand closer together."""
_ROUNDING = 1e-9
"""Of the largest end: less is the rounding of equal numbers, and no width to draw."""


def colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each series: what speaks, a corpus and a part have theirs."""
    known = {
        **CORPUS_COLOURS,
        **SIDE_COLOURS,
        **PART_COLOURS,
        "Base": SPEAKERS["base"].light,
        "Hybrid": SPEAKERS["hybrid"].light,
        "Fine-tuned": SPEAKERS["tuned"].light,
    }
    free = iter(VARIANT_COLOURS)
    return {name: known[name] if name in known else next(free, GREY) for name in names}


def _series(rows: Rows, key: str, named: bool = True) -> tuple[alt.Color, alt.Shape, list[str]]:
    names = list(dict.fromkeys(row[key] for row in rows))
    legend = alt.Legend(orient="top", title=None, symbolOpacity=1, labelLimit=300) if named and len(names) > 1 else None
    found = colours(names)
    colour = alt.Color(f"{key}:N", scale=alt.Scale(domain=names, range=list(found.values())), legend=legend)
    shapes = [_SHAPES[k % len(_SHAPES)] for k in range(len(names))]
    return colour, alt.Shape(f"{key}:N", scale=alt.Scale(domain=names, range=shapes), legend=legend), names


def interval_chart(
    rows: Rows,
    x_title: str,
    none: float | None = None,
    percent: bool = False,
    whole: tuple[float, float] | None = None,
    legend: bool = True,
) -> Any:
    """Numbers with intervals, one line a label and series.

    Args:
        rows: with `label`, `series`, `value`, `low`, `high` and `words`, which stands beside the mark.
        x_title: with the unit.
        none: where nothing would be; a dashed line.
        percent: the axis counts shares.
        whole: where the axis begins and ends, where that is fixed.
        legend: whether series are named above the chart.
    """
    colour, shape, names = _series(rows, "series", legend)
    own = [row for row in rows if row["value"] is not None]
    ends = [row["high"] if row["high"] is not None else row["value"] for row in own]
    starts = [row["low"] if row["low"] is not None else row["value"] for row in own]
    base = alt.Chart(alt.Data(values=[{**row, "end": end} for row, end in zip(own, ends, strict=True)]))
    labels = list(dict.fromkeys(row["label"] for row in rows))
    lines = "split(datum.label, '\\n')"
    y = alt.Y(
        "label:N", title=None, sort=labels, axis=alt.Axis(labelExpr=lines, labelLimit=270, domain=False, ticks=False)
    )
    lines_a_label = len({(row["label"], row["series"]) for row in rows}) / max(1, len(labels))
    offset = alt.YOffset("series:N", sort=names) if lines_a_label > 1 else alt.YOffset()
    marks = [] if none is None else [none]
    low, high = whole or (min([*starts, *marks]), max([*ends, *marks]))
    if high - low <= _ROUNDING * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    room = 1 - (12 + 5.6 * max((len(row["words"]) for row in own), default=0)) / _WIDTH
    axis = alt.Axis(format="%") if percent else alt.Axis()
    if whole is not None:
        axis = alt.Axis(values=[low + k * (high - low) / 10 for k in range(11)], format=".1f")
    domain = alt.Scale(domain=[low - 0.03 * (high - low), low + (high - low) / max(room, 0.3)], nice=False, zero=False)
    x = alt.X("value:Q", title=x_title, axis=axis, scale=domain)
    tip = ["label:N", "series:N", *(alt.Tooltip(f"{name}:Q", format=".3g") for name in ("value", "low", "high"))]
    layers = [alt.Chart(alt.Data(values=[{"at": none}])).mark_rule(**_NONE).encode(x="at:Q")] if marks else []
    layers += [
        base.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=2.5, opacity=0.75)
        .encode(x=alt.X("low:Q", title=x_title, scale=domain), x2="high:Q", y=y, yOffset=offset, color=colour),
        base.mark_point(filled=True, size=75, opacity=1).encode(
            x=x, y=y, yOffset=offset, color=colour, shape=shape, tooltip=tip
        ),
        base.mark_text(align="left", dx=8, fontSize=10).encode(
            x=alt.X("end:Q", title=x_title, scale=domain), y=y, yOffset=offset, text="words:N"
        ),
    ]
    many = len(labels) > _MANY and lines_a_label <= 1 and not any("\n" in label for label in labels)
    step = 20.0 if many else 14 + 20 * max(1.0, lines_a_label)
    return alt.layer(*layers).properties(width=_WIDTH, height=len(labels) * step)


def _layer_axis() -> alt.Y:
    return alt.Y(
        "layer:Q", title="layer", axis=alt.Axis(tickMinStep=1, format="d"), scale=alt.Scale(padding=6, nice=False)
    )


def layer_chart(rows: Rows, x_title: str, none: float | None = 0.0) -> Any:
    """Curves over layers with bands, the lowest layer at the bottom, one panel each.

    Args:
        rows: with `panel`, `series`, `layer`, `value`, `low`, `high`.
        x_title: with the unit.
        none: where nothing would be.
    """
    colour, shape, _ = _series(rows, "series")
    panels = list(dict.fromkeys(row["panel"] for row in rows))
    base = alt.Chart()
    y = _layer_axis()
    tip = ["series:N", "layer:Q", *(alt.Tooltip(f"{name}:Q", format=".3g") for name in ("value", "low", "high"))]
    band = base.transform_filter("isValid(datum.low)").mark_area(orient="horizontal", opacity=0.22)
    line = base.mark_line(strokeWidth=1.8).encode(
        x=alt.X("value:Q", title=x_title), y=y, order="layer:Q", color=colour, detail="series:N"
    )
    layers = [
        band.encode(x=alt.X("low:Q", title=x_title), x2="high:Q", y=y, color=colour),
        line,
        base.mark_point(filled=True, size=24, opacity=1).encode(
            x="value:Q", y=y, color=colour, shape=shape, tooltip=tip
        ),
    ]
    if none is not None:
        layers.insert(0, base.mark_rule(**_NONE).encode(x=alt.datum(none)))
    chart = alt.layer(*layers, data=alt.Data(values=list(rows))).properties(width=230, height=300)
    return chart.facet(column=_panels(panels), spacing=18)


def _panels(names: Sequence[str]) -> alt.Column:
    return alt.Column(
        "panel:N", title=None, sort=list(names), header=alt.Header(labelFontSize=11, labelFontWeight="bold")
    )


def layer_bars(rows: Rows, x_title: str) -> Any:
    """Bars by layer with intervals, one panel each; parts of a layer one above the other.

    Args:
        rows: with `panel`, `series`, `layer`, `value`, `low`, `high`.
        x_title: with the unit.
    """
    colour, _, names = _series(rows, "series")
    panels = list(dict.fromkeys(row["panel"] for row in rows))
    n_layers = len({row["layer"] for row in rows})
    own = {row["series"] for row in rows if row["panel"] == panels[0]}
    y = alt.Y("layer:O", title="layer", sort="descending", axis=alt.Axis(labelOverlap=True, ticks=False))
    offset = alt.YOffset("series:N", sort=names[::-1]) if len(own) > 1 else alt.YOffset()
    base = alt.Chart()
    tip = ["series:N", "layer:O", *(alt.Tooltip(f"{name}:Q", format=".3g") for name in ("value", "low", "high"))]
    bars = base.mark_bar(opacity=0.85).encode(
        x=alt.X("value:Q", title=x_title), y=y, yOffset=offset, color=colour, tooltip=tip
    )
    ends = base.transform_filter("isValid(datum.low)").mark_rule(color="#7B8490", strokeWidth=1)
    layers = [bars, ends.encode(x=alt.X("low:Q", title=x_title), x2="high:Q", y=y, yOffset=offset)]
    chart = alt.layer(*layers, data=alt.Data(values=list(rows)))
    height = n_layers * (15 if len(own) > 1 else 11)
    return chart.properties(width=230, height=height).facet(column=_panels(panels), spacing=18)


def places_chart(rows: Rows) -> Any:
    """Layer by place of a text, the lowest layer at the bottom, one panel each; every cell with its number.

    Args:
        rows: with `panel`, `place`, `layer`, `value`, `low`, `high`, places in the order of the text.
    """
    panels, places = (list(dict.fromkeys(row[name] for row in rows)) for name in ("panel", "place"))
    layers = sorted({row["layer"] for row in rows}, reverse=True)
    base = alt.Chart().encode(
        x=alt.X("place:N", title=None, sort=places, axis=alt.Axis(labelAngle=-35, labelLimit=140, ticks=False)),
        y=alt.Y("layer:O", title="layer", sort=layers, axis=alt.Axis(ticks=False)),
    )
    tip = ["place:N", "layer:O", *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("value", "low", "high"))]
    cells = base.mark_rect().encode(color=signed_colour("value", "recovery", 1.0), tooltip=tip)
    number = alt.Text("value:Q", format=".2f")
    # Not quite white, which a dark page takes for paper.
    faint, full = (f"abs(datum.value) {sign} 0.55" for sign in ("<=", ">"))
    numbers = [
        base.mark_text(fontSize=9).transform_filter(faint).encode(text=number),
        base.mark_text(fontSize=9, color="#FDFDFD").transform_filter(full).encode(text=number),
    ]
    chart = alt.layer(cells, *numbers, data=alt.Data(values=list(rows)))
    return chart.properties(width=50 * len(places), height=14 * len(layers)).facet(column=_panels(panels), spacing=18)


def beside_random(rows: Rows, x_title: str, whos: tuple[str, str], whole: tuple[float, float] | None = None) -> Any:
    """One value beside many random ones, one line a label.

    Args:
        rows: with `label`, `who`, `value`, `low`, `high`, `jitter`.
        x_title: with the unit.
        whos: what the one is called, and what the many are called.
        whole: where the axis begins and ends, where that is fixed.
    """
    labels = list(dict.fromkeys(row["label"] for row in rows))
    legend = alt.Legend(orient="top", title=None, symbolOpacity=1)
    colour = alt.Color("who:N", scale=alt.Scale(domain=whos, range=[SPEAKERS["tuned"].light, GREY]), legend=legend)
    shape = alt.Shape("who:N", scale=alt.Scale(domain=whos, range=["diamond", "circle"]), legend=legend)
    side = alt.Axis(labelExpr="split(datum.label, '\\n')", labelLimit=260, domain=False, ticks=False)
    y = alt.Y("label:N", title=None, sort=labels, axis=side)
    offset = alt.YOffset("jitter:Q", scale=alt.Scale(domain=[-6, 6]))
    scale = alt.Scale(domain=list(whole)) if whole else alt.Scale(zero=True)
    x = alt.X("value:Q", title=x_title, scale=scale)
    base = alt.Chart(alt.Data(values=list(rows)))
    one, many = (f"datum.who {sign} '{whos[0]}'" for sign in ("==", "!="))
    tip = ["label:N", "who:N", alt.Tooltip("value:Q", format=".3f")]
    return alt.layer(
        base.transform_filter(many)
        .mark_point(filled=True, size=40, opacity=0.6)
        .encode(x=x, y=y, yOffset=offset, color=colour, shape=shape, tooltip=tip),
        base.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=2.5, opacity=0.75)
        .encode(x=alt.X("low:Q", title=x_title, scale=scale), x2="high:Q", y=y, yOffset=offset, color=colour),
        base.transform_filter(one)
        .mark_point(filled=True, size=120, opacity=1)
        .encode(x=x, y=y, yOffset=offset, color=colour, shape=shape, tooltip=tip),
    ).properties(width=_WIDTH, height=54 * len(labels))


def scatter_chart(rows: Rows, x_title: str, y_title: str) -> Any:
    """Texts by two measures, with lines through their means.

    Args:
        rows: with `panel`, `mark` ("text", "line" or "bound"), `line`, `x`, `y`.
        x_title, y_title: with units.
    """
    panels = list(dict.fromkeys(row["panel"] for row in rows))
    base = alt.Chart()
    x, y = alt.X("x:Q", title=x_title), alt.Y("y:Q", title=y_title, scale=alt.Scale(zero=True))
    lines = base.transform_filter("datum.mark != 'text'").mark_line(color="#B8477E")
    layers = [
        base.transform_filter("datum.mark == 'text'")
        .mark_point(filled=True, size=32, opacity=0.7, color="#00916A")
        .encode(x=x, y=y, tooltip=["document:N", "x:Q", alt.Tooltip("y:Q", format=".3g")]),
        lines.encode(
            x=x,
            y=y,
            detail="line:N",
            strokeDash=alt.StrokeDash(
                "mark:N", scale=alt.Scale(domain=["line", "bound"], range=[[1, 0], [3, 3]]), legend=None
            ),
        ),
    ]
    chart = alt.layer(*layers, data=alt.Data(values=list(rows))).properties(width=225, height=170)
    facet = alt.Facet("panel:N", title=None, sort=panels, header=alt.Header(labelFontSize=11, labelFontWeight="bold"))
    return chart.facet(facet=facet, columns=2, spacing=18)


def words_chart(rows: Rows, shown: int = 24) -> Any:
    """Words by their mean score, highest at the top, marked and named by category.

    Args:
        rows: with `form`, `category`, `count`, `mean_score`, highest first.
        shown: at most so many.
    """
    own = [{**row, "words": f"{row['category']}, seen {row['count']} times"} for row in rows[:shown]]
    colour, shape, _ = _series(own, "category")
    base = alt.Chart(alt.Data(values=own))
    y = alt.Y("form:N", title=None, sort=[row["form"] for row in own], axis=alt.Axis(labelLimit=220, ticks=False))
    high = max(row["mean_score"] for row in own) or 1.0
    x = alt.X("mean_score:Q", title="mean ΣKL(tuned‖base) of the word, nats", scale=alt.Scale(domain=[0, 1.45 * high]))
    return alt.layer(
        base.mark_point(filled=True, size=70, opacity=1).encode(x=x, y=y, color=colour, shape=shape),
        base.mark_text(align="left", dx=9, fontSize=10).encode(x=x, y=y, text="words:N"),
    ).properties(width=_WIDTH, height=17 * len(own))
