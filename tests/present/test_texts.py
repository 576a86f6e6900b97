import math
from dataclasses import replace
from decimal import Context

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.present.answer_sections import NO_ANSWER
from core.present.forks import Fork
from core.present.provenance import provenance_of
from core.present.reports import AskReport, ForkAnswer
from core.present.runs import LaneRun
from core.present.texts import ask_text, two_digits
from tests.present.lanes import lane
from tests.tokens import token

TWO_DIGITS = Context(prec=2)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "–"),
        (0.0, "0"),
        (-0.0, "0"),
        (0.5, "0.50"),
        (-0.5, "-0.50"),
        (1, "1.0"),
        (0.0123, "0.012"),
        (0.001, "0.0010"),
        (3.14159, "3.1"),
        (9.96, "10"),
        (10.0, "10"),
        (47.3, "47"),
        (99.4, "99"),
        (100.0, "100"),
        (0.00034, "3.4e-04"),
        (3.1e-9, "3.1e-09"),
        (-3.1e-9, "-3.1e-09"),
    ],
)
def test_two_digits(value: float | None, expected: str) -> None:
    assert two_digits(value) == expected


@pytest.mark.parametrize(("value", "expected"), [(99.5, "100"), (99.7, "100"), (-99.9, "-100")])
def test_just_below_a_hundred(value: float, expected: str) -> None:
    assert two_digits(value) == expected


@given(st.floats(0.001, 99.49), st.sampled_from([-1, 1]))
@settings(deadline=None)
def test_usual_numbers_are_rounded_and_written_plainly(size: float, sign: int) -> None:
    text = two_digits(sign * size)
    assert "e" not in text
    assert not text.endswith(".")
    assert float(text) == float(TWO_DIGITS.create_decimal_from_float(sign * size))


@given(st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: abs(x) > 1e-300))
@settings(deadline=None)
def test_the_text_is_the_number_to_two_digits(value: float) -> None:
    assert math.isclose(float(two_digits(value)), value, rel_tol=0.05)


def asked(base: LaneRun, tuned: LaneRun, fork: LaneRun | None = None) -> str:
    """What `ask` prints of two answers, and of a fork."""
    forks = (ForkAnswer(Fork("base", 0, (1,), "base"), fork.answer),) if fork else ()
    report = AskReport(
        1, "", provenance_of(None), (1,), (), (base.answer, tuned.answer), None, forks, None, None, warnings=()
    )
    return ask_text(report, {"base": "Base", "tuned": "Fine-tuned", "fork-1": "Fork 1: Base from token 0 with “x”"})


def test_a_reasoning_that_was_not_finished_is_no_answer() -> None:
    open_ended = [token("Let me think", "reasoning")]
    whole = lane("tuned", [token("So", "reasoning"), token("Yes.")], reasoning=True)
    text = asked(lane("base", open_ended, reasoning=False), whole, lane("fork-1", open_ended, reasoning=False))
    assert f"Let me think\n   {NO_ANSWER}\n   KL" in text
    assert text.count(NO_ANSWER) == 2
    assert NO_ANSWER not in asked(whole, lane("tuned", [token("Yes.")]))


def test_shared_noise_is_told_with_what_bounds_it() -> None:
    base, tuned = (lane(name, [token("Yes.")]) for name in ("base", "tuned"))
    drawn = replace(base, answer=replace(base.answer, parting_rate=0.25, mean_tv=0.13))
    assert "would part at 25 % of tokens, mean TV 0.13" in asked(drawn, tuned)
    assert "would part" not in asked(base, tuned)


def test_answers_that_were_cut_are_alike_as_far_as_they_go() -> None:
    ends = [lane(name, [token("Yes.")], finished="end") for name in ("base", "tuned")]
    assert "answer alike.\n" in f"{asked(*ends)}\n"
    assert "answer alike, as far as both were written." in asked(ends[0], lane("tuned", [token("Yes.")]))
