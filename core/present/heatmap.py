"""A token heatmap as something to keep: one value object, drawn as picture, page or table.

Every form carries the same data, legend, direction, unit, noise and provenance line, and the same hash. Knows scored
units; scores nothing.
"""

import hashlib
import html
import json
from dataclasses import asdict, dataclass
from typing import Any

import altair as alt

from core.measure.diff import Diff
from core.measure.metrics import METRICS
from core.measure.tokens import TokenScore
from core.measure.units import Unit, units
from core.pair.parts import MASKS
from core.present.charts import FONT
from core.present.colour import BACKGROUND, colour_of, stops, text_on
from core.present.drawing import SANS, drawn
from core.present.figures import LIMIT, table
from core.present.provenance import Source
from core.present.strip import display_texts
from core.present.texts import two_digits

MONO = "'DejaVu Sans Mono', 'Noto Sans Mono', ui-monospace, monospace"
_CHAR, _LINE, _WIDTH, _TOP = 7.83, 22, 92, 104  # of the picture: pixels a character and a line, characters a line


@dataclass(frozen=True)
class HeatUnit:
    """One stretch of text with its value; null where it has none or lies outside the mask."""

    text: str
    part: str
    value: float | None


@dataclass(frozen=True)
class Heatmap:
    """A text coloured by one metric.

    Attributes:
        title: whose text it is.
        source: models and question.
        metric: name in the metrics table.
        mask, granularity: what is coloured, by what.
        noise: values below it are no difference.
        units: the text.
    """

    title: str
    source: Source
    metric: str
    mask: str
    granularity: str
    noise: float
    units: tuple[HeatUnit, ...]

    @property
    def data_hash(self) -> str:
        """SHA-256 of everything the figure shows, the same for every form of it."""
        shown = [
            self.title, asdict(self.source), self.metric, self.mask, self.granularity, self.noise,
            [[unit.text, unit.part, unit.value] for unit in self.units],
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(shown, ensure_ascii=False).encode()).hexdigest()

    @property
    def file_name(self) -> str:
        """Pair, metric with its direction, granularity; without an ending."""
        metric = {"kl_tuned_base": "kl-tuned-from-base", "kl_base_tuned": "kl-base-from-tuned"}.get(
            self.metric, self.metric.replace("_", "-")
        )
        return f"graft-{self.source.pair}-{metric}-{self.granularity}".replace(" ", "-")

    @property
    def legend(self) -> str:
        """What the colours mean, in a line."""
        metric = METRICS[self.metric]
        unit = "" if metric.unit == "1" else f" {metric.unit}"
        low, high = (two_digits(end) for end in metric.domain)
        if metric.steps:
            classes = ", ".join(f"{k} {step}" for k, step in enumerate(metric.steps))
            return f"{metric.label}: {classes}{'; mean over each sentence' * (self.granularity == 'sentence')}."
        how = {"word": "; a word's divergence is the sum over its tokens", "sentence": "; mean over each sentence"}
        return f"{metric.label}, {low} to {high}{unit}, fixed scale{how.get(self.granularity, '')}."

    @property
    def noise_note(self) -> str:
        """What the dotted line means."""
        unit = "" if METRICS[self.metric].unit == "1" else f" {METRICS[self.metric].unit}"
        return f"Dotted or plain: below numerical noise ({two_digits(self.noise)}{unit}) or without a value."

    def as_file(self, kind: str, theme: str = "light") -> bytes:
        """The figure as a file's content.

        Args:
            kind: `png` (at twice the size), `svg`, `pdf`, `html`, `csv` or `json`.
            theme: `light` or `dark`, of pictures and pages.
        """
        if kind == "csv":
            rows = tuple({"text": unit.text, "part": unit.part, self.metric: unit.value} for unit in self.units)
            return table(rows, f"{self.title}; {self.legend} {self.noise_note} {self.source.line}", self.data_hash)
        if kind == "json":
            whole = {**asdict(self), "data_sha256": self.data_hash}
            return json.dumps(whole, ensure_ascii=False, indent=1).encode()
        return page(self, theme).encode() if kind == "html" else drawn(picture(self, theme), kind)


def shown_tokens(found: Diff) -> tuple[TokenScore, ...]:
    """The tokens a heatmap shows: the answer's, and the prompt's where the mask asks for it."""
    with_prompt = "prompt" in MASKS[found.mask]
    return tuple(t for t in found.tokens if with_prompt or t.part not in ("prompt", "template"))


def shown_units(found: Diff, granularity: str) -> tuple[Unit, ...]:
    """The same cut into tokens, words or sentences, as they are displayed."""
    tokens = shown_tokens(found)
    return units(tokens, display_texts([bytes.fromhex(token.bytes) for token in tokens]), granularity)


def noise_of_metric(found: Diff, metric: str) -> float:
    """Values of a metric below this are no difference; 0 for classes, which have no noise."""
    summary = found.summary.get(metric)
    return (summary.noise_token or 0.0) if summary else 0.0


def heatmap(found: Diff, title: str, metric: str, granularity: str, source: Source) -> Heatmap:
    """A scored text as a heatmap; headings keep their values, whatever the mask."""
    coloured = (*MASKS[found.mask], "format")
    rows = tuple(
        HeatUnit(unit.text, unit.part, unit.values[metric] if unit.part in coloured else None)
        for unit in shown_units(found, granularity)
    )
    return Heatmap(title, source, metric, found.mask, granularity, noise_of_metric(found, metric), rows)


_STYLE = """
body {{ background: {background}; color: {ink}; font-family: {font}; max-width: 52rem; margin: 2rem auto;
  padding: 0 1rem; line-height: 1.5; }}
h1 {{ font-size: 1.2rem; }}
.text {{ white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.9; }}
.text span {{ border-radius: 3px; padding: 0.1em 0; }}
.quiet {{ text-decoration: underline dotted; text-underline-offset: 3px; }}
.format {{ background-image: repeating-linear-gradient(135deg, transparent 0 4px, #88888888 4px 5px); }}
.bar {{ display: inline-block; width: 12rem; height: 0.8rem; vertical-align: middle; border: 1px solid #88888888;
  background: linear-gradient(to right, {bar}); }}
small {{ opacity: 0.75; overflow-wrap: anywhere; }}
"""


def page(figure: Heatmap, theme: str = "light") -> str:
    """A self-contained page: no script, no address, readable offline."""
    metric = METRICS[figure.metric]
    background = getattr(BACKGROUND, theme)
    bar = ", ".join(stops(metric, theme))
    style = _STYLE.format(background=background, ink=text_on(background), font=FONT, bar=bar)
    low, high = (two_digits(end) for end in metric.domain)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{html.escape(figure.title)} – {html.escape(metric.label)}</title>
<style>{style}</style></head><body>
<h1>{html.escape(figure.title)}</h1>
<p>Asked: “{html.escape(figure.source.question)}”</p>
<p>{low} <span class="bar"></span> {high} · {html.escape(figure.legend)} {html.escape(figure.noise_note)}</p>
<div class="text">{"".join(_span(unit, figure, theme) for unit in figure.units)}</div>
<p><small>{LIMIT}
{html.escape(figure.source.line)} · data SHA-256 {figure.data_hash}</small></p>
</body></html>
"""


def _span(unit: HeatUnit, figure: Heatmap, theme: str) -> str:
    text = html.escape(unit.text.replace("\n", "↵\n"))
    classes = ["format"] if unit.part == "format" else []
    if unit.value is None or abs(unit.value) < figure.noise:
        classes += ["quiet"] if unit.value is not None else []
        return f'<span class="{" ".join(classes)}">{text}</span>'
    colour = colour_of(unit.value, figure.metric, theme)
    style = f"background-color:{colour};color:{text_on(colour)}"
    return f'<span class="{" ".join(classes)}" style="{style}" title="{unit.value:.3g}">{text}</span>'


def picture(figure: Heatmap, theme: str = "light") -> Any:
    """The figure as a chart: the text in lines of fixed width, legend above, provenance below."""
    rows, n_lines = _laid_out(figure, theme)
    background = getattr(BACKGROUND, theme)
    ink = text_on(background)
    width, height = round(_WIDTH * _CHAR) + 20, _TOP + n_lines * _LINE + 60
    metric = METRICS[figure.metric]
    low, high = metric.domain
    steps = [
        {"x": 10 + k * 3, "x2": 13 + k * 3, "y": 62, "y2": 74, "fill": colour_of(value, figure.metric, theme)}
        for k, value in enumerate(low + (high - low) * k / 59 for k in range(60))
    ]
    lines = [
        {"x": 10, "y": 16, "text": figure.title, "size": 15, "weight": 600},
        {"x": 10, "y": 38, "text": f"Asked: “{_cut(figure.source.question, 108)}”", "size": 12, "weight": 400},
        {"x": 200, "y": 62, "text": _cut(figure.legend, 110), "size": 10, "weight": 400},
        {"x": 200, "y": 76, "text": figure.noise_note, "size": 10, "weight": 400},
        {"x": 10, "y": height - 34, "text": _cut(figure.source.line, 150), "size": 8.5, "weight": 400},
        {"x": 10, "y": height - 18, "text": f"data SHA-256 {figure.data_hash}", "size": 8.5, "weight": 400},
    ]
    x = alt.X("x:Q", scale=alt.Scale(domain=[0, width], nice=False), axis=None)
    down = alt.Scale(domain=[height, 0], nice=False)
    y, y_middle = (alt.Y(f"{name}:Q", scale=down, axis=None) for name in ("y", "ym"))
    fill = alt.Color("fill:N", scale=None)
    boxes = alt.Chart(alt.Data(values=[*steps, *[row for row in rows if row["fill"]]]))
    words = alt.Chart(alt.Data(values=rows))
    layers = [
        boxes.mark_rect(opacity=1).encode(x=x, x2="x2:Q", y=y, y2="y2:Q", fill=fill),
        words.mark_text(align="left", baseline="middle", font=MONO, fontSize=13).encode(
            x=x, y=y_middle, text="text:N", color=alt.Color("ink:N", scale=None)
        ),
        *(
            alt.Chart(alt.Data(values=[line]))
            .mark_text(align="left", baseline="middle", fontSize=line["size"], fontWeight=line["weight"], color=ink)
            .encode(x=x, y=y, text="text:N")
            for line in lines
        ),
    ]
    chart = alt.layer(*layers).properties(width=width, height=height)
    return chart.configure(background=background, font=SANS).configure_view(stroke=None)


def _cut(text: str, length: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"


def _laid_out(figure: Heatmap, theme: str) -> tuple[list[dict[str, Any]], int]:
    """Boxes and words at their places; a unit that does not fit begins a new line, or is cut where it is longer."""
    rows: list[dict[str, Any]] = []
    line = column = 0
    plain = text_on(getattr(BACKGROUND, theme))
    for unit in figure.units:
        quiet = unit.value is None or abs(unit.value) < figure.noise
        fill = None if quiet or unit.value is None else colour_of(unit.value, figure.metric, theme)
        for piece in unit.text.replace("\n", "↵\n").splitlines(keepends=True):
            shown = piece.rstrip("\n")
            if column and column + len(shown.rstrip()) > _WIDTH:
                line, column = line + 1, 0
                shown = shown.lstrip()
            while shown:
                here, shown = shown[: _WIDTH - column], shown[_WIDTH - column :]
                top, ink = _TOP + line * _LINE, here.strip(" ")
                if ink:  # spaces are left uncoloured, as on the page
                    left = 10 + (column + len(here) - len(here.lstrip(" "))) * _CHAR
                    box = {"x": left, "x2": left + len(ink) * _CHAR, "y": top, "y2": top + _LINE - 3}
                    word = {"ym": top + _LINE / 2 - 1, "text": ink.replace(" ", "\u00a0")}
                    rows.append({**box, **word, "ink": text_on(fill) if fill else plain, "fill": fill})
                column += len(here)
                if shown:
                    line, column = line + 1, 0
            if piece.endswith("\n"):
                line, column = line + 1, 0
    return rows, line + 1
