"""A table of answers under models in words and as a picture."""

import json
from functools import partial

import pytest

from core.measure.cross import CrossRow, CrossScore, CrossScores
from core.present.colour import SEQUENTIAL, colour_on, contrast
from core.present.cross_chart import DOMAIN, cross_chart, cross_rows
from core.present.cross_words import LIMITS, Names, cross_words
from core.present.figures import FORMS, Figure
from core.present.provenance import Source

MODELS = ("base", "hybrid", "tuned")
CALLED = {"base": "Base", "hybrid": "Upper", "tuned": "Fine-tuned", "fork-1": "Fork 1"}
NAMES = Names(CALLED, {"base": "base", "hybrid": "hybrid", "tuned": "tuned"})
NOISE = 1e-6


def row(answer: str, *nats: float | None) -> CrossRow:
    scores = (CrossScore(m, value, None if value is None else NOISE) for m, value in zip(MODELS, nats, strict=True))
    return CrossRow(answer, 0 if nats[0] is None else 10, tuple(scores))


def table(*rows: CrossRow) -> CrossScores:
    return CrossScores("response", rows)


OWN_FIRST = table(row("base", 0.3, 0.8, 1.0), row("hybrid", 0.9, 0.4, 0.6), row("tuned", 2.3, 1.1, 0.5))


def test_every_answer_likeliest_under_its_own_model() -> None:
    said = cross_words(OWN_FIRST, NAMES)
    assert said.startswith("Each answer is likeliest under the model that wrote it. ")
    assert "likeliest (0.30 nats), one of Fine-tuned's the least likely (2.3)." in said
    # e^(2.3 − 0.5) and e^(1.0 − 0.3)
    assert "Fine-tuned's answer is 6.0 times less likely a token under Base than under Fine-tuned." in said
    assert "Base's answer is 2.0 times less likely a token under Fine-tuned than under Base." in said


def test_an_answer_likelier_under_another_model_is_named() -> None:
    found = table(row("base", 0.9, 0.8, 0.6), row("tuned", 2.3, 1.1, 0.5))
    said = cross_words(found, NAMES)
    assert "likelier under Fine-tuned than under the model that wrote it (0.60 against 0.90 nats a token)." in said
    assert "Base's answer is 1.3 times more likely a token under Fine-tuned than under Base." in said
    assert "Each answer" not in said


def test_figures_a_sentence_compares_are_told_apart() -> None:
    said = cross_words(table(row("base", 0.6312, 0.6311, 0.6304)), NAMES)
    assert "wrote it (0.630 against 0.631 nats a token)" in said
    assert "slightly more likely a token under Fine-tuned than under Base (0.630 against 0.631 nats)" in said


def test_what_lies_within_noise_is_no_difference() -> None:
    same = 0.5 + NOISE
    said = cross_words(table(row("base", same, 1.0, 0.5), row("tuned", 0.5, 1.0, same)), NAMES)
    assert "equally likely under both models" in said
    assert "finds all answers equally likely" in said
    assert "times" not in said
    assert "likelier under" not in said


def test_what_no_single_model_wrote_is_not_said_to_be_a_models_own() -> None:
    names = Names(CALLED, {"base": "base", "tuned": "tuned"})
    said = cross_words(OWN_FIRST, names)
    assert said.startswith("Each answer that a single model wrote is likeliest")


def test_answers_without_tokens_are_left_out() -> None:
    said = cross_words(table(row("base", 0.3, 0.8, 1.0), row("tuned", None, None, None)), NAMES)
    assert said.startswith("Base's answer is likeliest under the model that wrote it.")
    assert "Fine-tuned's answer" not in said
    assert cross_words(table(row("base", None, None, None)), NAMES) == "There is no answer with a token to score."


def test_sentences_do_not_judge() -> None:
    said = (LIMITS + cross_words(OWN_FIRST, NAMES)).lower()
    assert not {"better", "worse", "knows", "correct"} & set(said.split())


def test_one_cell_a_pair_and_the_writers_own_is_marked() -> None:
    found = table(*OWN_FIRST.answers, row("fork-1", 1.0, 1.0, 1.0))
    cells = cross_rows(found, Names(CALLED, {**NAMES.own, "fork-1": "tuned"}))
    assert len(cells) == 12
    assert [(cell["answer"], cell["model"]) for cell in cells if cell["own"]] == [
        ("Base", "Base"),
        ("Upper", "Upper"),
        ("Fine-tuned", "Fine-tuned"),
        ("Fork 1", "Fine-tuned"),
    ]
    assert cells[2]["nats_a_token"] == 1.0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_table_is_drawn_in_every_form(theme: str) -> None:
    rows = cross_rows(table(*OWN_FIRST.answers, row("fork-1", None, None, None)), NAMES)
    draw = partial(cross_chart, theme=theme)
    figure = Figure("x", Source("demo", "line", "What?"), "Nats a token.", "± 1e-6.", "x", tuple(rows), draw)
    assert all(figure.as_file(kind, theme) for kind in FORMS)
    picture = figure.as_file("svg", theme).decode()
    assert "nothing to score" in picture
    assert "answer of" in picture


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_numbers_can_be_read_on_every_cell(theme: str) -> None:
    values = [0.1 * k for k in range(50)]
    cells = cross_rows(table(*(row(name, *([v] * 3)) for name, v in zip(["base"] * 50, values, strict=True))), NAMES)
    drawn = json.loads(cross_chart(cells, theme).to_json())
    for cell in drawn["layer"][0]["data"]["values"] if "data" in drawn["layer"][0] else drawn["data"]["values"]:
        assert contrast(cell["ink"], colour_on(cell["nats_a_token"], DOMAIN, SEQUENTIAL[theme])) >= 4.5
