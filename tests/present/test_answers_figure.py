"""Answers as files: every form says the same, whole texts included."""

import csv
import io
import json
import re

import pytest

from core.generate.record import LaneAnswer
from core.present.answers_figure import answers_figure
from core.present.figures import FORMS, Figure
from core.present.forks import Fork
from core.present.hybrids import Hybrid
from core.present.provenance import Source

LONG = "Asthma narrows the airways. " * 12


def answer(name: str, text: str, **more: object) -> LaneAnswer:
    values: dict[str, object] = {
        "name": name, "gates": [], "text": text, "ids": (1, 2, 3), "parts": ("answer",) * 3, "finished": "end",
        "reasoning_finished": None, "kl_to_base": 0.25, "kl_to_tuned": None, "repetition": 0.5,
        "tokens_per_second": 9.0, "kl_to_base_noise": 1e-5,
    }  # fmt: skip
    return LaneAnswer(**{**values, **more})  # type: ignore[arg-type]


@pytest.fixture
def figure() -> Figure:
    answers = [
        answer("base", "It is\n\na disease."),
        answer("hybrid", LONG, finished="length", reasoning_finished=False),
        answer("tuned", ""),
        answer("fork-1", "It was."),
    ]
    return answers_figure(
        Source("demo", "base x, fine-tune y", "What is asthma?"), answers, {"fork-1": Fork("base", 1, (7,), "tuned")},
        (Hybrid("Upper", "3"),),
    )  # fmt: skip


def test_a_lane_a_row_with_what_it_is_and_how_it_ended(figure: Figure) -> None:
    rows = {row["lane"]: row for row in figure.rows}
    assert list(rows) == [
        "Base",
        "Upper (fine-tuned layers 3)",
        "Fine-tuned",
        "Fork 1: leaves Base's answer at token 1, Fine-tuned writes on",
    ]
    assert rows["Base"]["ended"] == "finished"
    assert rows["Upper (fine-tuned layers 3)"]["ended"] == "cut at the token limit"
    assert rows["Upper (fine-tuned layers 3)"]["reasoning"] == "not finished"
    assert (rows["Base"]["kl_to_base"], rows["Base"]["kl_to_tuned"]) == (0.25, None)


def test_every_form_names_the_same_hash_and_holds_the_texts(figure: Figure) -> None:
    files = {kind: figure.as_file(kind) for kind in FORMS}
    assert all(files.values())
    for kind in ("csv", "json", "html", "svg"):
        assert figure.data_hash[:60] in re.sub(r"<[^>]*>|\s", "", files[kind].decode()), kind
    assert json.loads(files["json"])["rows"][1]["text"] == LONG
    table = list(csv.DictReader(io.StringIO(files["csv"].decode().split("\n", 1)[1])))
    assert [row["text"] for row in table] == ["It is\n\na disease.", LONG, "", "It was."]
    drawn = re.sub(r"<[^>]*>", " ", files["svg"].decode())
    assert drawn.count("narrows") == LONG.count("narrows")
    assert "reasoning not finished" in drawn
    assert "(nothing)" in drawn


def test_wide_letters_are_drawn_whole() -> None:
    text = "哮喘会使气道变窄。" * 40 + "\n" + "SHORTNESS OF BREATH " * 12
    drawn = answers_figure(Source("demo", "x", "?"), [answer("base", text)], {}, (Hybrid("Upper", "3"),))
    svg = drawn.as_file("svg").decode()
    assert "".join(text.split()) in re.sub(r"<[^>]*>|\s", "", svg)
    widths = [sum(2 if ord(c) > 0x2E80 else 1 for c in line) for line in re.findall(r">([^<]*)<", svg)]
    assert max(widths) <= 112
