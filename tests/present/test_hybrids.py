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
        ("a: 20 / mlp_out / base-into-tuned", Hybrid("a", "20", direction="base-into-tuned", site="mlp_out")),
        ("a: all / alpha=-0.5", Hybrid("a", "all", alpha=-0.5)),
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
        "a: 1 / alpha=1",
        "a: all / alpha=4",
        "a: all / alpha=nan",
        "a: 1 / mlp_out / 0.5",
        "a: 1 / mlp_out / resid_post",
    ],
)
def test_a_broken_line_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError):
        hybrid_from(text)


def test_each_hybrid_needs_its_own_name() -> None:
    with pytest.raises(ArgumentError, match="More than one hybrid is called 'a'"):
        hybrids_from("a: 1\nb: 3; a: 2")


def test_a_title_says_what_a_hybrid_is_made_of() -> None:
    hybrids = (Hybrid("Upper", "20-29"), Hybrid("Odd", "1,3", "mlp", 0.5, "base-into-tuned"))
    assert lane_title("hybrid-2", hybrids) == "Odd (base layers 1,3, mlp only, strength 0.5)"
    assert lane_title("tuned", hybrids) == "Fine-tuned"


@pytest.mark.parametrize(
    ("hybrid", "words"),
    [
        (Hybrid(layers="20", site="mlp_out"), "what the MLP adds in layer 20, patched from fine-tuned into base"),
        (
            Hybrid(layers="3,7", site="resid_pre", direction="base-into-tuned"),
            "residual before layers 3,7, patched from base into fine-tuned",
        ),
        (Hybrid(layers="all", alpha=1.5), "amplified difference, α 1.5"),
        (Hybrid(layers="all", alpha=-0.5), "amplified difference, α −0.5"),
    ],
)
def test_a_title_says_what_is_patched_or_amplified(hybrid: Hybrid, words: str) -> None:
    assert lane_title("hybrid", [hybrid]) == f"Hybrid ({words})"


@pytest.mark.parametrize(
    ("hybrid", "words"),
    [
        (Hybrid(layers="4"), "Layer 4 does not exist"),
        (Hybrid(layers="4", site="mlp_out"), "Layer 4 does not exist"),
        (Hybrid(layers="none", site="mlp_out"), "patches no layer"),
        (Hybrid(layers="1", site="nowhere"), "no site"),
        (Hybrid(layers="all", alpha=3.1), "Amplification"),
        (Hybrid(layers="1", strength=5.0), "5"),
    ],
)
def test_what_a_model_of_four_layers_cannot_be(hybrid: Hybrid, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        hybrid.check(4)


def test_what_it_can_be() -> None:
    for hybrid in (Hybrid(), Hybrid(layers="3", site="resid_mid"), Hybrid(layers="all", alpha=-1.0)):
        hybrid.check(4)
