"""Axes and lines of a study's interval charts."""

import pytest

from core.present.study_charts import interval_chart


def row(value: float, label: str = "2a", series: str = "A") -> dict[str, object]:
    return {"label": label, "series": series, "value": value, "low": value, "high": value, "words": "1 (n = 2)"}


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


@pytest.mark.parametrize(("labels", "apart"), [("xy", False), ("xx", True)])
def test_marks_leave_the_line_of_their_label_only_where_they_share_it(labels: str, apart: bool) -> None:
    rows = [row(1.0, label, series) for label, series in zip(labels, "AB", strict=True)]
    drawn = interval_chart(rows, "ratio").to_dict()
    assert {"field" in layer["encoding"].get("yOffset", {}) for layer in drawn["layer"]} == {apart}
