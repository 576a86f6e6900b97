import math
from decimal import Context

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.present.texts import two_digits

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
