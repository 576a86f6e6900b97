"""Charts as files: the same data in each form, and all that must stand beside them."""

import csv
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from core.intervene.recovery import PlanResult, Sweep
from core.intervene.why import LayerEffects
from core.measure.summary import Bin
from core.present.charts import bin_rows, bins_chart, effect_rows, effects_chart, slope_rows, slopes_chart
from core.present.figures import FORMS, Figure
from core.present.provenance import Source

HOSTILE = "What is <img src=x onerror=alert(1)> reflux?\x0b\x00\x1b\uffff"


def effects() -> LayerEffects:
    def swept(recoveries: list[float]) -> Sweep:
        results = [
            PlanResult(f"p {k}", str(k), "both", 1 - r, r, 0.01, None, 1, -1.0, None, (1.0,))
            for k, r in enumerate(recoveries)
        ]
        return Sweep(1.0, 0.01, tuple(results), 1, 1.0, -2.0, -1.0, (1.0,), True)

    return LayerEffects(swept([0.1, 0.7, -0.2]), swept([0.9, 0.2, 1.1]))


CHARTS: dict[str, tuple[Any, Any]] = {
    "slopes": (slope_rows([(0.5, -1.0), (0.25, 2.0)]), slopes_chart),
    "effects": (effect_rows(effects()), effects_chart),
    "bins": (bin_rows([Bin(0, 0.5, 0.2, 3), Bin(0.5, 1.0, 0.4, 3)]), partial(bins_chart, along="place")),
}


def figure(name: str) -> Figure:
    rows, draw = CHARTS[name]
    source = Source("demo", "base x, fine-tune y", HOSTILE)
    return Figure("Layers", source, "KL(tuned‖base) in nats.", "± 1e-6.", name, tuple(rows), draw)


@pytest.mark.parametrize("name", CHARTS)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_form_is_drawn_and_names_the_same_data(name: str, theme: str) -> None:
    made = figure(name)
    files = {kind: made.as_file(kind, theme) for kind in FORMS}
    assert files["png"].startswith(b"\x89PNG")
    assert files["pdf"].startswith(b"%PDF")
    for kind in ("html", "csv", "json"):
        assert made.data_hash in files[kind].decode(), kind
    shown = _texts(files["svg"].decode())
    assert made.data_hash in shown.replace(" ", "")
    for words in ("KL(tuned‖base) in nats", "± 1e-6", "base x, fine-tune y", "Layers", "not which is right"):
        assert words in shown, words


def _texts(svg: str) -> str:
    """Everything an SVG writes; a line's end is a space."""
    root = ElementTree.fromstring(svg)
    return " ".join(e.text or "" for e in root.iter() if e.tag.endswith(("text", "tspan"))).replace("\xa0", " ")


@pytest.mark.parametrize("name", CHARTS)
def test_table_and_json_hold_every_row(name: str) -> None:
    made = figure(name)
    rows = list(csv.DictReader(io.StringIO(made.as_file("csv").decode().split("\n", 1)[1])))
    assert len(rows) == len(made.rows)
    for written, row in zip(rows, made.rows, strict=True):
        numbers = {key: float(written[key]) for key, value in row.items() if isinstance(value, float)}
        assert numbers == {key: value for key, value in row.items() if isinstance(value, float)}
    assert json.loads(made.as_file("json"))["rows"] == [*made.rows]


def test_the_page_loads_nothing_and_shows_hostile_text_as_text() -> None:
    page = figure("slopes").as_file("html").decode()
    assert "default-src 'none'" in page
    assert not re.search(r"<(script|img|link|iframe)", page)
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    addresses = set(re.findall(r"https?://[^\s\"'<]+", page))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # names of SVG, not addresses


def test_another_value_question_or_noise_is_another_hash() -> None:
    made = figure("slopes")
    others = [
        replace(made, noise_note="± 2e-6."),
        replace(made, source=replace(made.source, question="Why?")),
        replace(made, rows=(made.rows[0] | {"slope": 0.6}, *made.rows[1:])),
    ]
    assert len({made.data_hash, *(other.data_hash for other in others)}) == 4
