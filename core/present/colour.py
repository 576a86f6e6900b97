"""The one visual language: who is speaking, and how far apart the models are.

Fixed colours and fixed scales, the same on every page, in every export. Knows numbers; draws nothing.
"""

from dataclasses import dataclass

from core.measure.metrics import Metric, metric_of


@dataclass(frozen=True)
class Themed:
    """A colour in the light and in the dark theme, as #rrggbb."""

    light: str
    dark: str


SPEAKERS: dict[str, Themed] = {
    "base": Themed("#0072B2", "#56B4E9"),
    "tuned": Themed("#BF5000", "#F28E4B"),
    "hybrid": Themed("#7B4FA3", "#B48CD9"),
}
SPEAKER_WORDS = {"base": "Base", "hybrid": "Hybrid", "tuned": "Fine-tuned"}
# Several hybrids share a colour; their mark tells them apart.
MARKS = {"hybrid-2": "◆", "hybrid-3": "▲"}
FORK_MARK = "↳"


@dataclass(frozen=True)
class Line(Themed):
    """An underline: its colours, and a CSS style that tells it apart without them."""

    style: str


TERM_LINES: dict[str, Line] = {
    "disease": Line("#CC79A7", "#E3A6C7", "solid"),
    "symptom": Line("#009E73", "#4FC7A4", "solid"),
    "drug": Line("#B58900", "#E6C04D", "double"),
    "anatomy": Line("#5F6B78", "#A9B4C0", "dashed"),
    "procedure": Line("#8C6D1F", "#C9A85A", "dotted"),
}
BACKGROUND = Themed("#FFFFFF", "#0E1117")

# From "the same" (the page itself) to "as far apart as can be".
SEQUENTIAL: dict[str, tuple[str, ...]] = {
    "light": (BACKGROUND.light, "#FDD49E", "#EF6548", "#7F0000"),
    "dark": (BACKGROUND.dark, "#5A2A16", "#C2521F", "#FFD9A0"),
}
DIVERGING: dict[str, tuple[str, ...]] = {
    "light": ("#2166AC", "#92C5DE", BACKGROUND.light, "#FDB863", "#B35806"),
    "dark": ("#92C5DE", "#2A5D8F", BACKGROUND.dark, "#8A4B0B", "#FDB863"),
}


def speaker_of(lane: str) -> str:
    """Who speaks in a lane: `hybrid-2` is a hybrid, `base-fork-1` a fork that base writes."""
    return lane.partition("-")[0]


def mark_of(lane: str) -> str:
    """The mark before a lane's title."""
    return FORK_MARK if "-fork-" in lane else MARKS.get(lane, "●")


def stops(metric: Metric, theme: str) -> tuple[str, ...]:
    """The colours of a metric's scale, evenly spread over its fixed domain."""
    return (DIVERGING if metric.signed else SEQUENTIAL)[theme]


def colour_of(value: float, metric_name: str, theme: str = "light") -> str:
    """The colour of a value on its metric's fixed scale; clipped at the ends."""
    metric = metric_of(metric_name)
    return colour_on(value, metric.domain, stops(metric, theme))


def colour_on(value: float, domain: tuple[float, float], colours: tuple[str, ...]) -> str:
    """The colour of a value on a scale whose colours are evenly spread over a domain; clipped at the ends."""
    low, high = domain
    place = min(max((value - low) / (high - low), 0.0), 1.0) * (len(colours) - 1)
    index = min(int(place), len(colours) - 2)
    share = place - index
    a, b = _channels(colours[index]), _channels(colours[index + 1])
    return "#" + "".join(f"{round(x + (y - x) * share):02X}" for x, y in zip(a, b, strict=True))


def text_on(background: str) -> str:
    """Black or white, whichever stands out more on a background."""
    return "#000000" if contrast("#000000", background) >= contrast("#FFFFFF", background) else "#FFFFFF"


def contrast(a: str, b: str) -> float:
    """Contrast ratio of two colours, 1..21. Source: WCAG 2.2, "contrast ratio"."""
    light, dark = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in _channels(colour))]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
