"""Answers as files: every form says the same, whole texts included."""

import csv
import io
import json
import re

import pytest

from core.generate.record import LaneAnswer
from core.generate.sampling import Sampling
from core.present.answers_figure import answers_figure, asked_words
from core.present.figures import FORMS, Figure
from core.present.forks import Fork, fork_said
from core.present.hybrids import Hybrid, lane_title
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
    hybrids = (Hybrid("Upper", "3"),)
    titles = {one.name: lane_title(one.name, hybrids) for one in answers}
    titles["fork-1"] = fork_said("fork-1", Fork("base", 1, (7,), "tuned"), " was", hybrids)
    how = asked_words(Sampling(0.8, 0.9, 5, coupled=True), 64, "Be brief.", raw=False)
    return answers_figure(Source("demo", "base x, fine-tune y", "What is asthma?"), answers, titles, how)


def test_a_lane_a_row_with_what_it_is_and_how_it_ended(figure: Figure) -> None:
    rows = {row["lane"]: row for row in figure.rows}
    assert list(rows) == [
        "Base",
        "Upper (fine-tuned layer 3)",
        "Fine-tuned",
        "Fork 1: Base's answer from token 1 with “ was”, Fine-tuned writes on",
    ]
    assert rows["Base"]["ended"] == "finished"
    assert rows["Upper (fine-tuned layer 3)"]["ended"] == "cut at the token limit"
    assert rows["Upper (fine-tuned layer 3)"]["reasoning"] == "not finished"
    assert (rows["Base"]["kl_to_base"], rows["Base"]["kl_to_tuned"]) == (0.25, None)


def test_how_the_answers_were_asked_for_stands_in_every_form(figure: Figure) -> None:
    said = "Sampled at temperature 0.8, top-p 0.9, seed 5, noise shared by the lanes; at most 64 tokens a lane."
    for kind in ("json", "html", "csv"):
        assert said in figure.as_file(kind).decode().replace("\n# ", " "), kind
    assert "System prompt: “Be brief.”." in figure.as_file("html").decode()
    assert asked_words(Sampling(), 160, None, raw=True) == (
        "Greedy; at most 160 tokens a lane. Asked as raw text, without the chat template."
    )


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
    drawn = answers_figure(Source("demo", "x", "?"), [answer("base", text)], {"base": "Base"}, "")
    svg = drawn.as_file("svg").decode()
    assert "".join(text.split()) in re.sub(r"<[^>]*>|\s", "", svg)
    widths = [sum(2 if ord(c) > 0x2E80 else 1 for c in line) for line in re.findall(r">([^<]*)<", svg)]
    assert max(widths) <= 112
