"""Hybrids as lines of text."""

import pytest

from core.errors import ArgumentError
from core.present.hybrids import Hybrid, hybrid_from, hybrids_from, lane_title


@pytest.mark.parametrize(
    ("text", "hybrid"),
    [
        ("20-29", Hybrid("Hybrid", "20-29")),
        (" Upper :20-29/ mlp /0.5/base-into-tuned ", Hybrid("Upper", "20-29", "mlp", 0.5, "base-into-tuned")),
        ("a: all / base-into-tuned", Hybrid("a", "all", direction="base-into-tuned")),
        ("a: 3,7 / 2", Hybrid("a", "3,7", strength=2.0)),
    ],
)
def test_a_line_is_read(text: str, hybrid: Hybrid) -> None:
    assert hybrid_from(text) == hybrid


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a:",
        ": 20-29",
        "a: 1 / 5",
        "a: 1 / mlp / attn",
        "a: 1 / sideways",
        "x" * 25 + ": 1",
        "a: 1 / 1 / 1",
        "a/b: 1",
    ],
)
def test_a_broken_line_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError):
        hybrid_from(text)


def test_each_hybrid_needs_its_own_name() -> None:
    with pytest.raises(ArgumentError, match="its own name"):
        hybrids_from("a: 1\na: 2")


def test_a_title_says_what_a_hybrid_is_made_of() -> None:
    hybrids = (Hybrid("Upper", "20-29"), Hybrid("Odd", "1,3", "mlp", 0.5, "base-into-tuned"))
    assert lane_title("hybrid-2", hybrids) == "Odd (base layers 1,3, mlp only, strength 0.5)"
    assert lane_title("tuned", hybrids) == "Fine-tuned"
