"""What stands beside the claims: losses, words and accuracies by hand, and agreement with the claims."""

import numpy as np
import pandas as pd
import pytest

from core.study.described import (
    WITH_HEADINGS,
    WITHOUT_HEADINGS,
    accuracies,
    frequent_words,
    kl_by_part,
    kl_by_text,
    loss_changes,
    loss_changes_by_part,
    shares_in_top,
    term_ratios,
)
from core.study.findings import Settings, findings
from tests.study.simulated import FLOORS, tables_of

PROMPTS = pd.DataFrame(
    {
        "document": ["m1", "m2", "m3", "g1"],
        "corpus": ["medical", "medical", "medical", "general"],
        "field": ["lungs", "lungs", "lungs", "art"],
    }
)


def answers(**columns: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"document": list(PROMPTS["document"]), "whose": "reference", **columns})


def test_the_loss_changes_by_corpus_and_by_fields_that_have_enough_documents() -> None:
    own = answers(tokens=[10, 20, 10, 10], nll_base_sum=[20, 40, 20, 20], nll_tuned_sum=[18, 32, 20, 25])
    medical, general = loss_changes(own, PROMPTS, by_field=False)
    assert medical.estimate.value == pytest.approx(-10 / 40)
    assert (general.estimate.value, general.estimate.low) == (0.5, None)
    assert [(one.group, one.estimate.n) for one in loss_changes(own, PROMPTS, by_field=True)] == [("lungs", 3)]


def test_the_loss_on_reasoning_and_on_final_answers_is_of_texts_that_have_both() -> None:
    own = answers(
        reasoning_tokens=[20, 0, 10, 0], answer_tokens=[5, 9, 5, 9],
        nll_base_reasoning_sum=[40, np.nan, 20, np.nan], nll_tuned_reasoning_sum=[34, np.nan, 23, np.nan],
        nll_base_answer_sum=[10, 99, 10, 99], nll_tuned_answer_sum=[8, 1, 10, 1],
    )  # fmt: skip
    found = loss_changes_by_part(own, PROMPTS)
    assert [(one.corpus, one.what, one.estimate.n) for one in found] == [
        ("medical", "reasoning", 2), ("medical", "answer", 2),
    ]  # fmt: skip
    assert [one.estimate.value for one in found] == pytest.approx([-3 / 30, -2 / 10])
    assert loss_changes_by_part(answers(reasoning_tokens=[0] * 4, answer_tokens=[9] * 4), PROMPTS) == ()


def test_headings_are_shown_apart_where_there_are_any() -> None:
    own = answers(
        tokens=[10, 10, 10, 10], kl_sum=[1, 1, 1, 2], kl_sum_with_format=[4, 4, 4, 2],
        tokens_with_format=[12, 12, 12, 10],
    )  # fmt: skip
    found = {(one.corpus, one.what): one.estimate.value for one in kl_by_text(own, PROMPTS)}
    assert found == pytest.approx(
        {("medical", WITHOUT_HEADINGS): 0.1, ("medical", WITH_HEADINGS): 12 / 36, ("general", WITHOUT_HEADINGS): 0.2}
    )


def test_texts_without_divergence_have_no_concentration() -> None:
    shares = answers(top_1pct=[0.2, 0.4, None, None], top_5pct=[1.0] * 4, top_10pct=[1.0] * 4)
    found = [(one.corpus, one.what, one.estimate.n) for one in shares_in_top(shares, PROMPTS)]
    assert ("medical", "top 1 % of tokens", 2) in found
    assert ("general", "top 1 % of tokens", 0) not in found
    assert not [one for one in found if one[:2] == ("general", "top 1 % of tokens")]


def test_shares_with_headings_are_those_of_all_tokens() -> None:
    own = answers(top_1pct=[0.5] * 4, top_5pct=[0.5] * 4, top_10pct=[0.5] * 4)
    parts = ["format", *["answer"] * 9, "end"]
    tokens = pd.DataFrame(
        {"document": "m1", "whose": "reference", "part": parts, "kl": [6.0, *[1.0] * 6, *[0.0] * 3, 9.0]}
    )
    found = {(one.corpus, one.what): one.estimate for one in shares_in_top(own, PROMPTS, tokens=tokens)}
    assert found["medical", "top 10 % of tokens"].value == 0.5
    assert (
        found["medical", "top 10 % of tokens, with headings"].value,
        found["medical", "top 10 % of tokens, with headings"].n,
    ) == (0.5, 1)
    assert ("general", "top 10 % of tokens, with headings") not in found
    more = pd.concat(
        [tokens, tokens.assign(document="m2", part="format")]
    )  # nothing but headings: no text of `answers`
    scored = own[own["document"] != "m2"]
    again = {one.what: one.estimate for one in shares_in_top(scored, PROMPTS, tokens=more) if one.corpus == "medical"}
    assert again["top 10 % of tokens, with headings"].n == 1
    without = shares_in_top(own, PROMPTS, tokens=tokens[tokens["part"] != "format"])
    assert not [one for one in without if "headings" in one.what]


def words(*rows: tuple[str, str, str, bool, float, str]) -> pd.DataFrame:
    columns = ["document", "form", "category", "medical", "score", "part"]
    return pd.DataFrame(rows, columns=columns).assign(whose="reference", format=False, tokens=2)


def test_words_are_listed_from_three_occurrences_on_highest_first() -> None:
    rows = [("m1", "fever", "symptom", True, 1.0, "answer")] * 3 + [
        ("m2", "asthma", "disease", True, 2.0, "answer")
    ] * 4
    rows += [("m1", "pus", "symptom", True, 9.0, "answer")] * 2 + [("g1", "heart", "anatomy", True, 9.0, "answer")] * 5
    rows += [("m1", "the", None, False, 9.0, "answer")] * 5  # type: ignore[list-item]
    found = frequent_words(words(*rows), PROMPTS)
    assert found[["form", "count", "mean_score"]].to_numpy().tolist() == [["asthma", 4, 2.0], ["fever", 3, 1.0]]


def test_reasoning_and_answer_are_compared_in_texts_that_have_both() -> None:
    rows = [("m1", "a", "", False, 4.0, "reasoning"), ("m1", "b", "", False, 1.0, "answer")]
    rows += [("m2", "c", "", False, 9.0, "answer")]
    found = {one.what: one.estimate.value for one in kl_by_part(words(*rows), PROMPTS)}
    assert found == {"reasoning": 2.0, "answer": 0.5}


def test_headings_count_to_the_part_they_stand_before() -> None:
    rows = [("m1", "h", "", False, 8.0, "format"), ("m1", "a", "", False, 4.0, "reasoning")]
    rows += [("m1", "h", "", False, 6.0, "format"), ("m1", "b", "", False, 2.0, "answer")]
    own = words(*rows).assign(word=range(4))
    own["format"] = own["part"] == "format"
    found = {one.what: one.estimate.value for one in kl_by_part(own, PROMPTS)}
    assert found == {
        "reasoning": 2.0, "answer": 1.0, "reasoning, with headings": 3.0, "answer, with headings": 2.0,
    }  # fmt: skip


def test_words_in_headings_are_counted_apart() -> None:
    own = words(*[("m1", "fever", "symptom", True, 1.0, "answer")] * 3, ("m1", "fever", "symptom", True, 5.0, "format"))
    own["format"] = own["part"] == "format"
    (row,) = frequent_words(own, PROMPTS).to_dict("records")
    assert (row["count"], row["mean_score"]) == (3, 1.0)
    assert (row["count_with_headings"], row["mean_score_with_headings"]) == (4, 2.0)


def test_accuracies_count_flips() -> None:
    choices = pd.DataFrame(
        {"corpus": "medical", "right": list("AAAB"), "base": list("ABBB"), "tuned": list("BAAB"), "options": 4}
    )
    (one,) = accuracies(choices)
    assert (one.base.value, one.tuned.value, one.flips.gained, one.flips.lost, one.chance) == (0.5, 0.75, 2, 1, 0.25)


def test_ratios_are_those_of_the_claim() -> None:
    tables = tables_of(medical=0.5)
    (finding,) = [
        one
        for one in findings({name: tables[name] for name in ("prompts", "words")}, FLOORS, Settings(n_permutations=9))
        if one.number == "2a"
    ]
    found = {one.what: one.estimate for one in term_ratios(tables["words"], tables["prompts"], FLOORS)}
    adjusted = found["matched and adjusted"]
    assert (adjusted.value, (adjusted.low, adjusted.high)) == (finding.effect, finding.interval)
    assert found["unmatched"].low is None
