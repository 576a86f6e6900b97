"""Each answer under each model as a heat table: one cell a pair, the model that wrote the answer framed.

Zero, a certain token, is the page's own background, as everywhere; the scale never changes. Knows scores; computes
none.
"""

from typing import Any

import altair as alt

from core.measure.cross import CrossScores
from core.present.charts import Rows
from core.present.colour import BACKGROUND, SEQUENTIAL, colour_on, text_on
from core.present.cross_words import Names

DOMAIN = (0.0, 4.0)  # nats a token
_CELL = (128, 46)
_FAINT = "#7B849066"
_BAND = alt.Scale(paddingInner=0.05, paddingOuter=0.03)  # room for the frames


def cross_rows(found: CrossScores, names: Names) -> Rows:
    """One row a cell: answer, model, −log p a token with its noise, and whether that model wrote the answer."""
    return [
        {
            "answer": names.called[row.answer],
            "model": names.called[score.model],
            "nats_a_token": score.nats,
            "noise": score.noise,
            "tokens": row.n,
            "own": names.own.get(row.answer) == score.model,
        }
        for row in found.answers
        for score in row.models
    ]


def cross_chart(rows: Rows, theme: str = "light") -> Any:
    """The heat table; `theme` decides which colours fill it."""
    colours = SEQUENTIAL[theme]
    values = [{**row, **_shown(row, theme)} for row in rows]
    answers, models = (list(dict.fromkeys(row[name] for row in rows)) for name in ("answer", "model"))
    base = alt.Chart(alt.Data(values=values)).encode(
        x=alt.X(
            "model:N",
            title="under the model",
            sort=models,
            scale=_BAND,
            axis=alt.Axis(orient="top", labelAngle=0, labelLimit=124),
        ),
        y=alt.Y("answer:N", title="answer of", sort=answers, scale=_BAND, axis=alt.Axis(labelLimit=160)),
    )
    low, high = DOMAIN
    step = (high - low) / (len(colours) - 1)
    fill = alt.Color(
        "nats_a_token:Q",
        scale=alt.Scale(
            domain=[low + k * step for k in range(len(colours))], range=list(colours), clamp=True, interpolate="rgb"
        ),
        legend=alt.Legend(
            title="nats a token", values=[0, 1, 2, 3, 4], labelExpr="datum.value < 4 ? datum.label : '≥ 4'"
        ),
    )
    tooltip = [
        alt.Tooltip("answer:N", title="answer of"),
        alt.Tooltip("model:N", title="under"),
        alt.Tooltip("nats_a_token:Q", title="−log p, nats a token", format=".4f"),
        alt.Tooltip("noise:Q", title="± noise", format=".1e"),
        alt.Tooltip("tokens:Q", title="tokens"),
    ]
    known, own = alt.datum.nats_a_token != None, alt.datum.own  # noqa: E711  (written for the browser)
    ink = alt.condition(alt.datum.ink == "#000000", alt.value("#000000"), alt.value("#FFFFFF"))
    cells = base.mark_rect(stroke=_FAINT, strokeWidth=1).transform_filter(known).encode(color=fill, tooltip=tooltip)
    frames = base.mark_rect(fillOpacity=0, stroke=text_on(getattr(BACKGROUND, theme)), strokeWidth=2.5)
    numbers = base.mark_text(fontSize=14, fontWeight=600, dy=-6).encode(text="shown:N", color=ink)
    noises = base.mark_text(fontSize=10, dy=11).encode(text="moved:N", color=ink)
    width, height = _CELL
    # A step a row: with a height for the whole, a page that fits charts to its width takes axis and title out of it.
    return alt.layer(cells, frames.transform_filter(own), numbers, noises).properties(
        width=width * len(models), height=alt.Step(height)
    )


def _shown(row: dict[str, Any], theme: str) -> dict[str, str]:
    """A cell's words, and a colour they can be read in."""
    nats, noise = row["nats_a_token"], row["noise"]
    if nats is None:
        return {"shown": "–", "moved": "nothing to score", "ink": text_on(getattr(BACKGROUND, theme))}
    ink = text_on(colour_on(nats, DOMAIN, SEQUENTIAL[theme]))
    moved = f"{noise:.0e}".replace("e-0", "e-") if noise else "0"
    return {"shown": f"{nats:#.3g}", "moved": f"± {moved}", "ink": ink}
