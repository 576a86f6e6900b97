"""Charts as pictures."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from core.present.charts import loss_chart, write_svg
from core.train.settings import CurvePoint


def test_the_loss_chart_is_an_svg_that_names_its_sets_and_loads_nothing(tmp_path: Path) -> None:
    curve = [
        CurvePoint(0, heldout={"a.jsonl": 2.5, "b.jsonl": 2.0}),
        CurvePoint(10, loss=2.4, learning_rate=1e-4, tokens_per_second=100.0),
        CurvePoint(20, heldout={"a.jsonl": 2.1, "b.jsonl": 1.9}),
    ]
    path = tmp_path / "curve.svg"
    write_svg(loss_chart(curve), path)
    root = ElementTree.parse(path).getroot()
    texts = " ".join(element.text or "" for element in root.iter() if element.tag.endswith("text"))
    assert "a.jsonl" in texts
    assert "b.jsonl" in texts
    assert "nats a token" in texts
    assert "href" not in path.read_text()


def test_a_run_without_heldout_sets_has_a_chart_too(tmp_path: Path) -> None:
    write_svg(loss_chart([CurvePoint(10, loss=2.4)]), tmp_path / "curve.svg")
    assert (tmp_path / "curve.svg").stat().st_size > 1000
