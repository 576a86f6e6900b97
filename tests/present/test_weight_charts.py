"""Weight changes drawn and said: what is blank, where the scale ends, and sentences that can say no."""

from typing import Any

import pytest

from core.intervene.recovery import PlanResult
from core.intervene.size_and_effect import MEASURES, Agreement, Point, agreements, points
from core.measure.weights import ModuleChange, PartChange, WeightChanges
from core.present.figures import FORMS
from core.present.provenance import Source
from core.present.weight_charts import (
    effect_rows,
    effects_chart,
    rounded_up,
    spectrum_chart,
    spectrum_rows,
    weight_rows,
    weights_chart,
    weights_figure,
)
from core.present.weight_words import (
    WEIGHT_MEASURES,
    agreement_words,
    largest,
    sizes_words,
    spectrum_words,
    within_words,
)


def module(layer: int, projection: str, *values: float, base: float = 10.0) -> ModuleChange:
    size = sum(value**2 for value in values) ** 0.5
    rank = (size / values[0]) ** 2 if values else None
    part = "attn" if projection in ("q_proj", "o_proj") else "mlp"
    return ModuleChange(
        layer, part, size, base, size / base, max(values, default=0.0), rank, None, projection, tuple(values)
    )


MODULES = (module(0, "q_proj", 4.0, 3.0), module(0, "up_proj"), module(1, "q_proj", 1.0), module(1, "up_proj", 6.0))


def part(layer: int, name: str, size: float | None) -> PartChange:
    return PartChange(layer, name, 1.0, 1.0, size, 1.0, size, None)


def plan(layer: int, name: str, recovery: float | None) -> PlanResult:
    return PlanResult(f"single {layer} {name}", str(layer), name, 1.0, recovery, 0.01, None, 1, -1.0, None, (1.0,))


def spec(measure: str) -> dict[str, Any]:
    made: dict[str, Any] = weights_chart(weight_rows(MODULES), measure).to_dict()
    return made


def test_every_measure_of_the_table_is_a_field_that_is_compared() -> None:
    assert tuple(WEIGHT_MEASURES) == MEASURES
    assert all(hasattr(MODULES[0], name) for name in WEIGHT_MEASURES)


def test_what_is_not_defined_is_blank_and_no_change_is_the_page_itself() -> None:
    cells = {(cell["layer"], cell["projection"]): cell["value"] for cell in spec("stable_rank")["data"]["values"]}
    assert cells == {(0, "q_proj"): 25 / 16, (1, "q_proj"): 1.0, (1, "up_proj"): 1.0}
    cells = {(cell["layer"], cell["projection"]): cell["value"] for cell in spec("spectral")["data"]["values"]}
    assert cells[0, "up_proj"] == 0.0
    scale = spec("spectral")["encoding"]["color"]["scale"]
    assert scale["domain"] == [0, 6.0]
    assert scale["range"][0].endswith(",0)")  # clear: light and dark pages alike show through


def test_layer_0_is_at_the_bottom_and_a_click_says_which_projection() -> None:
    made = spec("spectral")
    assert made["encoding"]["y"]["scale"]["domain"] == [1, 0]
    assert made["encoding"]["x"]["scale"]["domain"] == ["q", "k", "v", "o", "gate", "up", "down"]
    (param,) = made["params"]
    assert (param["name"], param["select"]["fields"]) == ("cell", ["layer", "projection"])


@pytest.mark.parametrize(
    ("value", "end"),
    [(0.0, 1.0), (0.062, 0.07), (0.04, 0.04), (0.021, 0.025), (3.97, 4.0), (5.0, 5.0), (9.1, 10.0), (1.2, 1.5)],
)
def test_scales_end_at_a_round_number_that_is_not_exceeded(value: float, end: float) -> None:
    assert rounded_up(value) == pytest.approx(end)


def test_a_figure_has_every_form_and_no_question() -> None:
    made = weights_figure(WeightChanges(MODULES, ()), "relative_frobenius", Source("demo", "base x, fine-tune y", ""))
    files = {kind: made.as_file(kind) for kind in FORMS}
    for kind in ("svg", "html"):
        assert "not what it does" in files[kind].decode()
        assert "Asked" not in files[kind].decode()
        assert "two models disagree" not in files[kind].decode()
    assert files["csv"].decode().count("_proj") == 4
    assert made.file_name == "graft-demo-weights-relative-frobenius"


def test_shares_of_directions_add_up() -> None:
    rows = spectrum_rows(MODULES[0])
    assert [(row["direction"], row["singular_value"]) for row in rows] == [(1, 4.0), (2, 3.0)]
    assert [row["share"] for row in rows] == pytest.approx([16 / 25, 9 / 25])
    assert spectrum_chart(rows).to_dict()["mark"]["type"] == "bar"
    assert spectrum_rows(MODULES[1]) == []


def test_sizes_and_directions_in_words() -> None:
    assert largest(MODULES, "relative_frobenius") == MODULES[3]
    said = sizes_words(MODULES, "relative_frobenius")
    assert "0.60, at layer 1, up; the median is 0.30 in attention and 0.60 in MLPs" in said
    assert "1 of 4 projections did not change" in said
    assert sizes_words(MODULES[1:2], "spectral") == "No weight changed."
    assert "strongest of 2 directions holds 64% of the change's squared size: a stable rank of 1.6" in spectrum_words(
        MODULES[0]
    )
    assert spectrum_words(MODULES[1]) == "Nothing changed at layer 0, up."


def test_only_parts_with_size_and_recovery_are_compared() -> None:
    parts = [part(0, "attn", 0.1), part(0, "mlp", None), part(0, "both", 9.0), part(1, "attn", 0.3)]
    parts.append(part(1, "mlp", 0.2))
    plans = [plan(0, "attn", 0.5), plan(1, "attn", 0.1), plan(0, "mlp", 0.4), plan(1, "mlp", None)]
    found = points(parts, plans, "relative_frobenius")
    assert found == (Point(0, "attn", 0.1, 0.5), Point(1, "attn", 0.3, 0.1))
    agreed = {(one.measure, one.part): one for one in agreements(parts, plans)}
    each = agreed["relative_frobenius", "each"]
    assert (each.correlation, each.n, each.by_chance) == (-1.0, 2, 1.0)
    nothing = agreed["on_data", "mlp"]
    assert (nothing.correlation, nothing.n, nothing.by_chance) == (None, 0, None)


@pytest.mark.parametrize(
    ("correlation", "begins"),
    [(0.9, "Yes, clearly"), (0.4, "Yes, somewhat"), (0.2, "No: "), (-0.2, "No: "), (-0.5, "On the contrary")],
)
def test_the_answer_can_be_yes_no_and_the_contrary(correlation: float, begins: str) -> None:
    within = [Agreement("spectral", "attn", correlation, 30, 0.364), Agreement("spectral", "mlp", None, 0, None)]
    said = agreement_words(Agreement("spectral", "each", correlation, 60, 0.255), within)
    assert said.startswith(begins)
    assert f"{correlation:.2f}, n = 60" in said
    assert ("by chance" in said) == (begins == "No: ")


def test_without_an_order_nothing_is_claimed() -> None:
    assert "no order" in agreement_words(Agreement("spectral", "each", None, 3, 1.0), [])
    within = within_words([Agreement("spectral", "attn", None, 1, None), Agreement("spectral", "mlp", 0.25, 30, 0.4)])
    assert within == "Rank correlation among attention parts none (n = 1), among MLPs 0.25 (n = 30)."


@pytest.mark.parametrize(
    ("attn", "mlp", "begins"),
    [(0.3, 0.3, "Not from layer"), (-0.5, 0.1, "Not from layer"), (-0.5, 0.5, "Yes"), (0.4, -0.1, "Yes")],
)
def test_a_difference_between_attention_and_mlps_is_not_taken_for_one_between_layers(
    attn: float, mlp: float, begins: str
) -> None:
    within = [Agreement("spectral", "attn", attn, 30, 0.364), Agreement("spectral", "mlp", mlp, 30, 0.364)]
    assert agreement_words(Agreement("spectral", "each", 0.47, 60, 0.255), within).startswith(begins)
    turned = [Agreement("spectral", one.part, -(one.correlation or 0), 30, 0.364) for one in within]
    said = agreement_words(Agreement("spectral", "each", -0.47, 60, 0.255), turned)
    assert said.startswith("On the contrary" if begins == "Yes" else begins)


def test_points_that_stand_out_carry_their_layer() -> None:
    rows = effect_rows([Point(k, "attn", float(k), -float(k)) for k in range(10)])
    assert rows[3] == {"layer": 3, "part": "attention", "size": 3.0, "recovery": -3.0}
    drawn = effects_chart(rows, "spectral").to_dict()
    values = drawn["data"]["values"] if "data" in drawn else drawn["layer"][0]["data"]["values"]
    assert {row["label"] for row in values} == {"", "7", "8", "9", "0", "1", "2"}
    assert "spectral norm" in str(drawn)
