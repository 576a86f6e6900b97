"""The two corpora in assets/corpora: that they pair one to one in form, repeat no template and keep medicine apart."""

import json
import re
from collections import Counter
from itertools import combinations
from typing import NamedTuple

import pytest

from core.measure.medical import medical_terms
from core.measure.wordforms import words
from core.pair.home import ASSETS

FIELDS = ("id", "twin", "field", "style", "question", "answer", "source")
# Words that tie a reason or a contrast; what an explanation is full of and a plain statement of facts lacks.
CONNECTIVE = re.compile(
    r"\b(because|since|so|therefore|thus|hence|consequently|as a result|(?:which|that) is why|due to|owing to|but"
    r"|although|though|whereas|while|however|yet|unless|instead|rather than|if)\b",
    re.IGNORECASE,
)


class Row(NamedTuple):
    """One question with its reference answer, as a line of the file holds it."""

    id: str
    twin: str
    field: str
    style: str
    question: str
    answer: str
    source: str


def read(name: str) -> list[Row]:
    lines = (ASSETS / "corpora" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert all(tuple(row) == FIELDS for row in rows)
    return [Row(**row) for row in rows]


CORPORA = {name: read(name) for name in ("medical", "general")}
PAIRS = list(zip(CORPORA["medical"], CORPORA["general"], strict=True))
both = pytest.mark.parametrize("rows", CORPORA.values(), ids=CORPORA.keys())


def length(text: str) -> int:
    return len(text.split())


def plain(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def connectives(row: Row) -> float:
    """Per hundred words of the answer."""
    return 100 * len(CONNECTIVE.findall(row.answer)) / length(row.answer)


def medical_share(row: Row) -> float:
    """The share of words that the project's tagger calls medical, question and answer together."""
    text = f"{row.question} {row.answer}"
    spans, found = medical_terms().tag(text), words(text)
    return sum(any(span.start < word.end and word.start < span.end for span in spans) for word in found) / len(found)


@both
def test_there_are_enough_rows_over_enough_fields(rows: list[Row]) -> None:
    fields = Counter(row.field for row in rows)
    assert len(rows) >= 124
    assert len(fields) >= 20
    assert max(fields.values()) <= 10
    assert min(fields.values()) >= 3


@both
def test_every_row_is_complete_and_tidy(rows: list[Row]) -> None:
    for row in rows:
        assert all(value and value == " ".join(value.split()) for value in row), row.id
        assert row.question[-1] == "?" or row.question.split()[0] in {"Compare", "Explain", "List"}, row.id
        assert row.answer[-1] in ".?", row.id
        assert not re.search(r"https?:|www\.|doi|\bpp?\. ?\d", row.source), row.id


def test_twins_name_each_other_and_ids_are_unique() -> None:
    everyone = [row.id for rows in CORPORA.values() for row in rows]
    assert len(set(everyone)) == len(everyone)
    for medical, general in PAIRS:
        assert (medical.twin, general.twin) == (general.id, medical.id)
        assert (medical.id[0], general.id[0]) == ("m", "g")


@pytest.mark.parametrize(("medical", "general"), PAIRS, ids=[medical.id for medical, _ in PAIRS])
def test_twins_agree_in_length_and_style(medical: Row, general: Row) -> None:
    assert medical.style == general.style
    assert abs(length(general.question) - length(medical.question)) <= 0.25 * length(medical.question)
    assert abs(length(general.answer) - length(medical.answer)) <= 0.2 * length(medical.answer)


@both
def test_answers_are_of_the_length_asked_for(rows: list[Row]) -> None:
    lengths = [length(row.answer) for row in rows]
    assert min(lengths) >= 45
    assert max(lengths) <= 110
    assert 70 <= sum(lengths) / len(lengths) <= 85


def test_mean_lengths_of_the_corpora_agree() -> None:
    medical, general = ([length(row.answer) for row in rows] for rows in CORPORA.values())
    assert sum(general) == pytest.approx(sum(medical), rel=0.05)


@both
def test_styles_are_half_and_half_and_show_in_the_connectives(rows: list[Row]) -> None:
    facts = [connectives(row) for row in rows if row.style == "fact"]
    explanations = [connectives(row) for row in rows if row.style == "explanation"]
    assert len(facts) + len(explanations) == len(rows)
    assert len(facts) == pytest.approx(len(rows) / 2, rel=0.1)
    assert max(facts) < min(explanations)


@both
def test_questions_do_not_share_openings(rows: list[Row]) -> None:
    openings = Counter(tuple(plain(row.question)[:4]) for row in rows)
    assert openings.most_common(1)[0][1] <= 4


@both
def test_answers_do_not_share_openings_or_stock_phrases(rows: list[Row]) -> None:
    openings = Counter(tuple(plain(row.answer)[:3]) for row in rows)
    assert openings.most_common(1)[0][1] <= 2
    sixes = Counter(six for row in rows for six in _sixes(row.answer))
    assert sixes.most_common(1)[0][1] <= 2


def _sixes(text: str) -> set[tuple[str, ...]]:
    found = plain(text)
    return {tuple(found[start : start + 6]) for start in range(len(found) - 5)}


@both
def test_no_two_questions_are_nearly_the_same(rows: list[Row]) -> None:
    bags = {row.id: set(plain(row.question)) for row in rows}
    for one, other in combinations(bags, 2):
        shared, union = len(bags[one] & bags[other]), len(bags[one] | bags[other])
        assert shared / union < 0.7, (one, other)


def test_medicine_stays_in_the_medical_corpus() -> None:
    shares = {name: [medical_share(row) for row in rows] for name, rows in CORPORA.items()}
    assert sum(shares["medical"]) / len(shares["medical"]) >= 0.12
    assert sum(shares["general"]) / len(shares["general"]) <= 0.002
    assert max(shares["general"]) <= 0.03
