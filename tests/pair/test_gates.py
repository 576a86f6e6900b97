import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ArgumentError, ShapeError
from core.pair.gates import PROJECTIONS, Gates, format_layers, hybrid_gates, parse_layers, thirds


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("none", ()),
        ("all", tuple(range(30))),
        ("20-29", tuple(range(20, 30))),
        ("3,7,20-22", (3, 7, 20, 21, 22)),
        ("7, 3 ,3", (3, 7)),
        ("20–22", (20, 21, 22)),
    ],
)
def test_layer_grammar(text: str, layers: tuple[int, ...]) -> None:
    assert parse_layers(text, 30) == layers


@pytest.mark.parametrize(
    ("text", "named"),
    [("30", "Layer 30"), ("5-2", "backwards"), ("a", "'a'"), ("1-", "'1-'"), ("-1", "'-1'"), ("1,,2", "''")],
)
def test_bad_layers_are_named(text: str, named: str) -> None:
    with pytest.raises(ArgumentError, match=named):
        parse_layers(text, 30)


@given(st.sets(st.integers(0, 29)))
def test_layers_survive_writing_and_reading(layers: set[int]) -> None:
    assert parse_layers(format_layers(layers, 30), 30) == tuple(sorted(layers))


def test_thirds_cover_every_layer_once() -> None:
    for n_layers in (28, 30, 31):
        joined = [layer for third in thirds(n_layers).values() for layer in third]
        assert joined == list(range(n_layers))


def test_graft_touches_only_its_part() -> None:
    values = Gates.graft(4, [1, 3], "mlp", 0.5).values
    assert values.shape == (1, 4, len(PROJECTIONS))
    assert values[0, [1, 3]][:, 4:].eq(0.5).all()
    assert values.sum() == 2 * 3 * 0.5


def test_the_two_directions_are_complements() -> None:
    into_base = hybrid_gates(6, "2-3", "attn", 1.0, "tuned-into-base").values
    into_tuned = hybrid_gates(6, "2-3", "attn", 1.0, "base-into-tuned").values
    assert (into_base + into_tuned).eq(1).all()


@pytest.mark.parametrize("strength", [-0.1, 4.1, float("nan")])
def test_strength_has_bounds(strength: float) -> None:
    with pytest.raises(ArgumentError, match="Strength"):
        Gates.graft(4, [0], "both", strength)


def test_amplifying_towards_base_is_refused() -> None:
    with pytest.raises(ArgumentError, match="tuned to base"):
        hybrid_gates(4, "1", "both", 1.5, "base-into-tuned")


def test_wrong_shape_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(2, 4, 3\)"):
        Gates(torch.zeros(2, 4, 3))


def test_switches_name_exactly_the_rows_that_leave_base() -> None:
    gates = Gates.stack([Gates.uniform(2, 0.0), Gates.graft(2, [1], "attn"), Gates.uniform(2, 1.0)])
    assert set(gates.switches) == {(layer, p) for layer in range(2) for p in range(len(PROJECTIONS))}
    assert gates.switches[0, 0].rows == slice(2, 3)
    assert gates.switches[1, 0].rows == slice(1, 3)
    assert gates.switches[1, 4].rows == slice(2, 3)
    assert not gates.switches[1, 0].every


def test_rows_that_are_apart_are_indexed() -> None:
    gates = Gates.stack([Gates.uniform(1, 1.0), Gates.uniform(1, 0.0, 5), Gates.uniform(1, 1.0)])
    rows = gates.switches[0, 0].rows
    assert isinstance(rows, torch.Tensor)
    assert rows.tolist() == [0, 6]


def test_equal_rows_are_found_wherever_they_stand() -> None:
    gates = Gates.stack([Gates.uniform(4, 0.0), Gates.graft(4, [1]), Gates.uniform(4, 0.0), Gates.uniform(4, 1.0)])
    assert gates.distinct() == ([0, 1, 3], [0, 1, 0, 2])
    firsts, which = gates.distinct()
    assert torch.equal(gates.take(firsts).take(which).values, gates.values)
