"""Axes of a study's interval charts."""

import pytest

from core.present.study_charts import interval_chart


def row(value: float) -> dict[str, object]:
    return {"label": "2a", "series": "A", "value": value, "low": value, "high": value, "words": "1 (n = 2)"}


@pytest.mark.parametrize(("value", "none"), [(1 + 4e-15, 1.0), (0.0, 0.0), (3.0, None)])
def test_equal_numbers_stand_in_the_middle_of_an_axis_and_not_in_their_rounding(
    value: float, none: float | None
) -> None:
    drawn = interval_chart([row(value)], "ratio", none).to_dict()
    domains = [
        layer["encoding"]["x"]["scale"]["domain"] for layer in drawn["layer"] if "scale" in layer["encoding"]["x"]
    ]
    assert domains
    for low, high in domains:
        assert low < value - 0.4 < value + 0.4 < high
