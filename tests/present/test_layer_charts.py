"""Sweeps as rows of charts: which layer a plan stands at, and what increments add up to."""

import pytest

from core.intervene.plans import sweep_plans
from core.intervene.recovery import PlanResult, Sweep
from core.present.layer_charts import (
    increment_rows,
    increments_chart,
    parts_chart,
    recovery_chart,
    sweep_rows,
)

N = 5


def swept(kind: str, part: str = "both", width: int = 3) -> Sweep:
    plans = sweep_plans(kind, N, part, width=width)
    results = [
        PlanResult(plan.name, plan.layers, plan.part, 1 - k / 10, k / 10, 0.01, None, 1, -1.0, None, (1.0,))
        for k, plan in enumerate(plans)
    ]
    return Sweep(1.0, 0.01, tuple(results), 1, 1.0, -2.0, -1.0, (1.0,), True)


@pytest.mark.parametrize(
    ("kind", "places"),
    [
        ("single", [0, 1, 2, 3, 4]),
        ("leave-one-out", [0, 1, 2, 3, 4]),
        ("prefix", [0, 1, 2, 3, 4]),
        ("suffix", [0, 1, 2, 3, 4]),
        ("window", [1, 2, 3]),
    ],
)
def test_a_plan_stands_at_its_layer(kind: str, places: list[float]) -> None:
    rows = sweep_rows({"x": swept(kind)})
    assert [row["layer"] for row in rows] == places
    assert {row["grafted"] for row in rows} == {"x"}


def test_increments_add_up_to_the_whole_curve() -> None:
    found = swept("prefix")
    rows = increment_rows(found)
    assert sum(row["increment"] for row in rows) == pytest.approx(found.results[-1].recovery)
    assert [row["layer"] for row in rows] == list(range(N))


def test_charts_say_what_they_draw() -> None:
    parts = sweep_rows({"attention": swept("single", "attn"), "MLP": swept("single", "mlp"), "both": swept("single")})
    for chart in (recovery_chart(parts), parts_chart(parts), increments_chart(increment_rows(swept("prefix")))):
        drawn = chart.to_json()
        assert "recovery" in drawn
        assert '"title": "layer"' in drawn
