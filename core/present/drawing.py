"""Charts as files, drawn on this machine without a browser.

Knows charts and a renderer; computes nothing.
"""

import re
from typing import Any

import altair as alt
import vl_convert

SANS = "'DejaVu Sans', 'Noto Sans', sans-serif"
"""Fonts that have every sign: a minus must not fall out of its line."""
_VERSION = "_".join(alt.SCHEMA_VERSION.split(".")[:2])
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def drawn(chart: Any, kind: str) -> bytes:
    """A chart as PNG (at twice the size), SVG or PDF.

    Characters that XML does not allow are drawn as U+FFFD: the renderer aborts the whole process on them, and a person
    may type them, a model write them.
    """
    if kind == "svg":
        return vl_convert.vegalite_to_svg(_drawable(chart.to_dict()), _VERSION).encode()
    chart = chart.copy(deep=["config"])
    chart.config.font = SANS
    spec = _drawable(chart.to_dict())
    if kind == "pdf":
        return vl_convert.vegalite_to_pdf(spec, _VERSION)
    return vl_convert.vegalite_to_png(spec, _VERSION, scale=2)


def _drawable(value: Any) -> Any:
    """A value of JSON with nothing in its texts that a picture cannot hold."""
    if isinstance(value, str):
        return _NOT_XML.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_drawable(key): _drawable(own) for key, own in value.items()}
    if isinstance(value, list):
        return [_drawable(own) for own in value]
    return value
