"""Tokens, words and sentences of a text."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.measure.tokens import TokenScore
from core.measure.units import GRANULARITIES, units

TEXTS = [" The", " heart", "burn", " hurts", ".", " It", "’s", " acid", "!", "\n\n", "Rest", "."]


def scored(texts: list[str], values: list[float], part: str = "answer") -> list[TokenScore]:
    token = TokenScore(0, 0, "", "", part)  # type: ignore[arg-type]
    return [replace(token, kl_tuned_base=value, tv=value) for _, value in zip(texts, values, strict=True)]


def test_words_begin_after_white_space_and_sum_their_divergence() -> None:
    found = units(scored(TEXTS, [float(k) for k in range(len(TEXTS))]), TEXTS, "word")
    assert [unit.text for unit in found] == [" The", " heartburn", " hurts.", " It’s", " acid!", "\n\n", "Rest."]
    heartburn = found[1]
    assert (heartburn.first, heartburn.last) == (1, 2)
    assert heartburn.values["kl_tuned_base"] == 1 + 2
    assert heartburn.values["tv"] == pytest.approx(1.5)
    assert heartburn.values["js"] is None


def test_sentences_end_with_their_mark_and_average() -> None:
    found = units(scored(TEXTS, [1.0] * len(TEXTS)), TEXTS, "sentence")
    assert [unit.text.strip() for unit in found] == ["The heartburn hurts.", "It’s acid!", "", "Rest."]
    assert all(unit.values["kl_tuned_base"] == 1.0 for unit in found)


def test_a_change_of_part_ends_a_word() -> None:
    tokens = [*scored(["re", "flux"], [1, 1], "reasoning"), *scored(["es"], [1], "answer")]
    assert [unit.text for unit in units(tokens, ["re", "flux", "es"], "word")] == ["reflux", "es"]


@given(
    texts=st.lists(st.text(st.sampled_from("ab .!\n"), max_size=4), max_size=30),
    granularity=st.sampled_from(GRANULARITIES),
)
def test_units_joined_are_the_text_and_cover_every_token_once(texts: list[str], granularity: str) -> None:
    found = units(scored(texts, [0.5] * len(texts)), texts, granularity)
    assert "".join(unit.text for unit in found) == "".join(texts)
    assert [k for unit in found for k in range(unit.first, unit.last + 1)] == list(range(len(texts)))


def test_rank_classes_follow_the_rank_and_a_word_has_the_highest() -> None:
    token = TokenScore(0, 0, "", "", "answer")
    ranked = [replace(token, rank_base=rank) for rank in (1, 2, 3, 4, 900)]
    assert [one.rank_class for one in ranked] == [0, 1, 1, 2, 2]
    assert token.rank_class is None
    (word,) = units(ranked[:3], [" re", "flu", "x"], "word")
    assert word.values["rank_class"] == 1
    (sentence,) = units(ranked, [" a", " b", " c", " d", " e"], "sentence")
    assert sentence.values["rank_class"] == pytest.approx(6 / 5)
