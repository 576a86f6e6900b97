"""Findings: the rules of verdicts case by case, and whole made-up studies that must come out as planted."""

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from core.errors import ArgumentError, DataError
from core.present.study_cards import cards_of
from core.study.findings import Finding, Settings, findings
from core.study.resampling import Estimate
from core.study.tables import KEYS, TABLES, checked, empty_table
from core.study.verdicts import Measured, settle
from tests.study.simulated import FLOORS, tables_of

QUICK = Settings(n_permutations=999, n_resamples=500)
STUDIES = 200
PRIMARY = ("1a", "1b", "1c", "2a", "2e", "3a", "4a")


def found(**planted: float) -> dict[str, Finding]:
    return {finding.number: finding for finding in findings(tables_of(**planted), FLOORS, QUICK)}


@pytest.fixture(scope="module")
def planted() -> dict[str, Finding]:
    """A study in which every claim is true."""
    return found(medical=np.log(1.6), loss=-0.1, forgot=0.1, right=0.3, slope=0.1, shift=0.3, drift=0.5)


def measured(low: float, high: float, p: float = 0.001, **changed: object) -> Measured:
    effect = Estimate((low + high) / 2, low, high, 50)
    one = Measured("1a", "It does", True, effect, "units", 0.0, 0.1, p, 50, False, "it did", "something else")
    return replace(one, **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "verdict"),
    [
        (measured(0.05, 0.5), "supported"),
        (measured(0.05, 0.5, p=0.06), "inconclusive"),
        (measured(-0.05, 0.5), "inconclusive"),
        (measured(0.01, 0.09), "not supported"),  # surely not zero, surely too small
        (measured(-0.05, 0.05, p=0.9), "not supported"),
        (measured(-0.5, -0.3), "not supported"),
        (measured(-0.5, -0.3, least=-0.1), "supported"),
        (measured(-0.5, 0.1, least=-0.1), "inconclusive"),
        (measured(-0.09, 0.5, least=-0.1), "not supported"),
        (measured(1.05, 1.5, none=1.0, least=1.1), "supported"),
        (measured(0.9, 1.05, none=1.0, least=1.1), "not supported"),
        (
            measured(0.02, 0.15, effect=Estimate(0.09, 0.02, 0.15, 50)),
            "inconclusive",
        ),  # there, perhaps too small
        (measured(0.02, 0.15, effect=Estimate(0.1, 0.02, 0.15, 50)), "supported"),
        (measured(0.05, 0.5, n=9), "inconclusive"),
        (measured(0.05, 0.5, effect=None, p=None), "inconclusive"),
        (measured(0.05, 0.5, effect=Estimate(0.3, None, None, 50)), "inconclusive"),
        (measured(0.05, 0.5, noise_only=True), "no difference to explain"),
    ],
)
def test_the_rules_case_by_case(one: Measured, verdict: str) -> None:
    (finding,) = settle([one])
    assert finding.verdict == verdict
    assert finding.sentence.startswith(f"It does: {verdict}; ")
    assert finding.sentence.endswith("; it did.")
    assert finding.would_change_it


def test_an_interval_of_few_documents_is_said_to_be_too_short_wherever_it_stands() -> None:
    for n, said in ((9, True), (10, False)):
        (finding,) = settle([measured(0.05, 0.5, n=n)])
        (card,) = cards_of([finding])
        assert ["too short" in words for words in (finding.sentence, card.interval)] == [said, said]


def test_primary_claims_are_corrected_within_their_question_and_others_together() -> None:
    claims = [
        measured(0.2, 0.5, p=0.03, number="1a"),
        measured(0.2, 0.5, p=0.04, number="1b"),
        measured(0.2, 0.5, p=0.04, number="2a"),
        measured(0.2, 0.5, p=0.03, number="2b", primary=False),
        measured(0.2, 0.5, p=0.04, number="3b", primary=False),
        measured(0.2, 0.5, p=None, number="3c", primary=False),
    ]
    assert [finding.p_corrected for finding in settle(claims)] == pytest.approx([0.06, 0.06, 0.04, 0.04, 0.04, None])


def test_claims_that_their_p_does_not_settle_are_not_counted_in_corrections() -> None:
    claims = [
        measured(0.2, 0.5, p=0.04, number="1a"),
        measured(0.2, 0.5, p=0.001, number="1b", noise_only=True),
        measured(0.2, 0.5, p=0.001, number="1c", n=9),
        measured(0.2, 0.5, p=0.001, number="1d", effect=Estimate(0.3, None, None, 50)),
    ]
    found = settle(claims)
    assert [one.p_corrected for one in found] == [pytest.approx(0.04), None, None, None]
    assert [one.verdict for one in found] == [
        "supported", "no difference to explain", "inconclusive", "inconclusive",
    ]  # fmt: skip
    assert found[2].would_change_it == "At least 10 documents; there are 9."


def test_more_documents_are_asked_for_where_they_would_decide() -> None:
    (finding,) = settle([measured(-0.2, 0.4, p=0.5)])
    # Half width 0.3, and 0.1 to go: (0.3/0.1)² as many documents.
    assert "about 450 documents" in finding.would_change_it


def test_planted_effects_are_supported_with_their_sizes(planted: dict[str, Finding]) -> None:
    assert {number: planted[number].verdict for number in PRIMARY} == dict.fromkeys(PRIMARY, "supported")
    effects = {number: planted[number].effect for number in PRIMARY}
    assert effects["1a"] == pytest.approx(-0.1, abs=0.02)
    assert effects["1b"] == pytest.approx(0.1, abs=0.02)
    assert effects["2a"] == pytest.approx(1.6, rel=0.2)
    assert effects["2e"] == pytest.approx(0.01, rel=0.4)
    assert effects["3a"] == pytest.approx(0.3, abs=0.1)
    assert effects["4a"] == pytest.approx(np.exp(0.5), rel=0.15)
    for finding in planted.values():
        assert finding.interval is not None
        assert finding.interval[0] <= finding.effect <= finding.interval[1]


@pytest.mark.parametrize("twins", [True, False])
def test_what_is_gained_on_both_corpora_is_no_gain_in_medicine(twins: bool) -> None:
    for forgot, effect, verdict in ((0.1, -0.2, "supported"), (-0.12, 0.02, "not supported")):
        tables = tables_of(loss=-0.1, forgot=forgot, drift=0.5)
        if not twins:
            tables["prompts"] = tables["prompts"].assign(twin="")
        told = {finding.number: finding for finding in findings(tables, FLOORS, QUICK)}
        assert told["1f"].effect == pytest.approx(effect, abs=0.02)
        assert told["1f"].verdict == verdict
        assert told["4a"].effect == pytest.approx(np.exp(0.5), rel=0.2)
        assert told["4a"].verdict == "supported"
        assert ("pairs of twins" in told["4a"].words) == twins


def test_effects_in_the_other_direction_are_not_supported() -> None:
    other = found(medical=-1.0, loss=0.1, forgot=-0.1, slope=-0.05, shift=-0.3, drift=-0.5)
    for number in ("1a", "1b", "2a", "2e", "3a", "4a"):
        assert other[number].verdict == "not supported", other[number].sentence


def test_a_fine_tune_that_changes_nothing_has_nothing_to_explain() -> None:
    nothing = found(change=0.0)
    assert set(PRIMARY) <= set(nothing)
    assert {finding.verdict for finding in nothing.values()} == {"no difference to explain"}


@pytest.mark.slow
def test_claims_that_are_not_true_are_supported_no_more_often_than_they_say() -> None:
    settings = Settings(n_permutations=199, n_resamples=100)
    supported: Counter[str] = Counter()
    primary: Counter[str] = Counter()
    for seed in range(STUDIES):
        every = findings(tables_of(seed, n=16, words=50), FLOORS, settings)
        wrong = {one.number for one in every if one.verdict == "supported"}
        supported.update(wrong)
        primary.update({number[0] for number in wrong & set(PRIMARY)})
    # At 5 % a claim, and one side of two. More than these happens to one right claim, or question, in a thousand.
    most = binom.ppf(0.999, STUDIES, 0.05)
    assert {number: n for number, n in supported.items() if n > most} == {}
    assert {question: n for question, n in primary.items() if n > most} == {}


def test_findings_are_the_same_in_any_order_of_rows(planted: dict[str, Finding]) -> None:
    tables = tables_of(medical=np.log(1.6), loss=-0.1, forgot=0.1, right=0.3, slope=0.1, shift=0.3, drift=0.5)
    tables = {name: table.sample(frac=1, random_state=3) for name, table in tables.items()}
    for finding in findings(tables, FLOORS, QUICK):
        assert finding.effect == pytest.approx(planted[finding.number].effect)
        assert finding.verdict == planted[finding.number].verdict


def test_headings_are_left_out_of_the_words() -> None:
    tables = tables_of(medical=np.log(1.6))
    words = tables["words"]
    heading = words.assign(score=50.0, medical=True, format=True, word=words["word"] + 1_000)
    with_headings = {**tables, "words": pd.concat([words, heading])}
    one, other = ({f.number: f.effect for f in findings(some, FLOORS, QUICK)}["2a"] for some in (tables, with_headings))
    assert one == other


def test_few_random_adapters_leave_depth_open_and_say_how_many_are_needed() -> None:
    tables = tables_of(shift=0.3)
    layers = tables["layers"]
    few = findings({**tables, "layers": layers[layers["adapter"] <= 10]}, FLOORS, QUICK)
    (depth,) = (finding for finding in few if finding.number == "3a")
    assert depth.verdict == "inconclusive"
    assert depth.p == pytest.approx(1 / 11)
    assert depth.p_corrected is None
    assert depth.would_change_it == "At least 20 random adapters; there are 10."


def test_few_random_adapters_allow_no_verdict_in_the_other_direction_either() -> None:
    tables = tables_of(shift=-0.3)
    layers = tables["layers"]
    verdicts = {
        n: {f.number: f.verdict for f in findings({**tables, "layers": layers[layers["adapter"] <= n]}, FLOORS, QUICK)}
        for n in (19, 20)
    }
    assert (verdicts[19]["3a"], verdicts[20]["3a"]) == ("inconclusive", "not supported")


def test_claims_without_rows_are_left_out() -> None:
    tables = tables_of()
    assert findings({}, FLOORS, QUICK) == ()
    only = findings({name: tables[name] for name in ("prompts", "choices")}, FLOORS, QUICK)
    assert [finding.number for finding in only] == ["1c"]


def test_a_grid_of_layers_with_holes_is_refused() -> None:
    tables = tables_of()
    with pytest.raises(DataError, match=r"7199 rows for adapters, documents and layers \(40, 15, 12\)"):
        findings({**tables, "layers": tables["layers"].iloc[1:]}, FLOORS, QUICK)


# Tables


@pytest.mark.parametrize("name", list(TABLES))
def test_every_table_has_an_empty_one_that_is_right(name: str) -> None:
    assert list(checked(empty_table(name), name)) == list(TABLES[name])
    assert set(KEYS[name]) <= set(TABLES[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns=["right", "base"]), "lacks right, base"),
        (lambda t: t.assign(options="4"), "choices.options holds .*, not integer"),
        (lambda t: t.assign(base=t["base"].where(t["document"] != "q1")), "choices.base has 1 gaps"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "two rows for document q0"),
    ],
)
def test_a_table_of_the_wrong_form_is_refused(change: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        checked(change(tables_of()["choices"]), "choices")  # type: ignore[operator]


def test_an_unknown_table_is_refused_by_name() -> None:
    with pytest.raises(ArgumentError, match="'word'"):
        findings({"word": pd.DataFrame()}, FLOORS)


def test_sentences_hold_their_numbers(planted: dict[str, Finding]) -> None:
    for finding in planted.values():
        assert finding.interval is not None
        assert re.search(r"95 % interval \S+ to \S+; n = \d+; p (= |under )", finding.sentence), finding.sentence
    assert "39 random adapters" in planted["3a"].sentence
