import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.measure.answers import first_divergence, parted_at, repetition

answers = st.lists(st.integers(0, 3), max_size=12)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([1, 2, 3], [1, 2, 3], None),
        ([], [], None),
        ([1, 2, 3], [1, 9, 3], 1),
        ([7, 2], [8, 2], 0),
        ([1, 2], [1, 2, 3], 2),
        ([1, 2, 3], [1, 2], 2),
        ([], [4], 0),
    ],
)
def test_first_divergence(a: list[int], b: list[int], expected: int | None) -> None:
    assert first_divergence(a, b) == expected


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [([1, 2, 3], [1, 9], 1), ([1, 2], [1, 2, 3], None), ([1, 2, 3], [1, 2], None), ([], [4], None), ([7], [8], 0)],
)
def test_what_was_not_written_does_not_differ(a: list[int], b: list[int], expected: int | None) -> None:
    assert parted_at(a, b) == expected


@given(answers, answers)
@settings(deadline=None)
def test_answers_agree_up_to_their_divergence_and_not_on_it(a: list[int], b: list[int]) -> None:
    index = first_divergence(a, b)
    assert index == first_divergence(b, a)
    if index is None:
        assert a == b
    else:
        assert a[:index] == b[:index]
        assert a[index : index + 1] != b[index : index + 1]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([1, 2, 3], None),
        ([], None),
        ([1, 2, 3, 4], 0.0),
        ([1, 2, 3, 4, 5, 6, 7], 0.0),
        # 1234 2341 3412 4123 1234
        ([1, 2, 3, 4, 1, 2, 3, 4], 1 / 5),
        # 5555 three times: two of them are repeats
        ([5, 5, 5, 5, 5, 5], 2 / 3),
    ],
)
def test_repetition_of_four_grams(ids: list[int], expected: float | None) -> None:
    assert repetition(ids) == (None if expected is None else pytest.approx(expected))


def test_repetition_of_other_lengths() -> None:
    assert repetition([1, 2, 1, 2], n=2) == pytest.approx(1 / 3)
    assert repetition([1, 1, 2], n=1) == pytest.approx(1 / 3)
    assert repetition([1], n=2) is None
