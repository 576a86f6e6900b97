"""A heatmap as files: the same data in each, and nothing that is not theirs."""

import csv
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from core.present.colour import colour_of
from core.present.figures import FORMS
from core.present.heatmap import Heatmap, HeatUnit
from core.present.provenance import Source

HOSTILE = " <img src=x onerror=alert(1)>&"


def figure(scale: float = 1.0, metric: str = "kl_tuned_base") -> Heatmap:
    values = [0.5, 3.0, 1e-9, 2.0, None]
    texts = [" Heartburn", " is\n", " common", HOSTILE, "?"]
    parts = ["answer", "answer", "answer", "format", "prompt"]
    found = tuple(
        HeatUnit(text, part, None if value is None else value * scale)
        for text, part, value in zip(texts, parts, values, strict=True)
    )
    source = Source("demo", "base x, fine-tune y", "What is <b>reflux</b>?")
    return Heatmap("The answer of Base", source, metric, "response", "word", 1e-6, found)


def test_every_form_carries_the_same_hash() -> None:
    made = figure()
    for kind in set(FORMS) - {"png", "pdf"}:
        assert made.data_hash in made.as_file(kind).decode(), kind
    assert replace(made, noise=2e-6).data_hash != made.data_hash
    assert figure(0.99).data_hash != made.data_hash


@pytest.mark.parametrize(("kind", "begins"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_pictures_are_pictures(kind: str, begins: bytes) -> None:
    assert figure().as_file(kind).startswith(begins)


def test_the_page_loads_nothing_and_shows_hostile_text_as_text() -> None:
    page = figure().as_file("html").decode()
    assert "default-src 'none'" in page
    assert not re.search(r"<(script|img|link|iframe)", page)
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "http" not in page.replace("http-equiv", "")


def test_legend_direction_noise_and_provenance_are_inside_the_picture() -> None:
    root = ElementTree.fromstring(figure().as_file("svg").decode())
    shown = " ".join(element.text or "" for element in root.iter() if element.tag.endswith("text")).replace("\xa0", " ")
    for words in ("KL(tuned‖base)", "nats", "fixed scale", "1.0e-06", "base x, fine-tune y", "The answer of Base"):
        assert words in shown, words


def test_the_same_value_has_the_same_colour_whatever_the_others_are() -> None:
    small, large = (made.as_file("html").decode() for made in (figure(1.0), figure(100.0)))
    assert f"background-color:{colour_of(3.0, 'kl_tuned_base')}" in small
    assert f"background-color:{colour_of(3.0, 'kl_tuned_base')}" not in large
    assert figure(6.0).as_file("html").decode().count(colour_of(3.0, "kl_tuned_base")) == 1  # 0.5 × 6


def test_the_table_gives_back_text_and_values() -> None:
    lines = figure().as_file("csv").decode().split("\n", 1)[1]
    rows = list(csv.DictReader(io.StringIO(lines)))
    assert "".join(row["text"] for row in rows) == " Heartburn is\n common" + HOSTILE + "?"
    assert [row["kl_tuned_base"] for row in rows] == ["0.5", "3.0", "1e-09", "2.0", ""]
    assert json.loads(figure().as_file("json"))["units"][1]["value"] == 3.0


def test_file_names_say_pair_metric_and_direction() -> None:
    assert figure().file_name == "graft-demo-kl-tuned-from-base-word"
    assert figure(metric="kl_base_tuned").file_name == "graft-demo-kl-base-from-tuned-word"
