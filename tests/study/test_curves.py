"""Curves over layers: two prompts and two layers worked by hand, and agreement with the claims."""

import numpy as np
import pandas as pd
import pytest

from core.study.curves import depths, layer_curves, shapley_curves, state_curves
from core.study.findings import Settings, findings
from tests.study.simulated import FLOORS, tables_of

PROMPTS = pd.DataFrame({"document": ["m1", "m2", "g1"], "corpus": ["medical", "medical", "general"]})


def grafted(kind: str, *kl: tuple[float, float], base: float = 10.0) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"document": document, "adapter": 0, "kind": kind, "layer": layer, "kl_sum": value, "kl_base_sum": base,
             "tokens": 10}
            for document, values in zip(("m1", "m2"), kl, strict=True)
            for layer, value in enumerate(values)
        ]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "values", "centre"),
    [
        # ΣKL of both prompts is 15 and 5 of 20.
        ("single", (0.25, 0.75), 0.75),
        ("without", (0.75, 0.25), 0.25),
        ("prefix", (0.25, 0.75), None),
        ("increments", (0.25, 0.5), 2 / 3),
    ],
)
def test_a_curve_is_a_ratio_of_sums(shape: str, values: tuple[float, float], centre: float | None) -> None:
    kind = "prefix" if shape == "increments" else shape
    (curve,) = layer_curves(grafted(kind, (10.0, 1.0), (5.0, 4.0)), PROMPTS, shape, FLOORS, n_resamples=200)
    assert (curve.corpus, curve.n) == ("medical", 2)
    assert [one.value for one in curve.layers] == pytest.approx(values)
    assert (curve.centre.value if curve.centre else None) == (pytest.approx(centre) if centre else None)
    # Two documents are drawn as one of the two twice, or both: the interval ends at the single documents.
    if shape == "single":
        assert (curve.layers[0].low, curve.layers[0].high) == pytest.approx((0.0, 0.5))


def test_within_noise_there_is_no_curve() -> None:
    quiet = grafted("single", (1e-5, 1e-5), (1e-5, 1e-5), base=4e-3)  # 4e-4 a token, under 5 × 1e-4
    assert layer_curves(quiet, PROMPTS, "single", FLOORS, n_resamples=20) == ()


def test_a_prompt_s_shares_count_by_its_divergence_and_their_centre_takes_both_parts() -> None:
    weights = grafted("single", (0.0, 0.0), (0.0, 0.0)).assign(kl_base_sum=[10.0, 10.0, 30.0, 30.0])
    shares = {"attn": ((0.2, 0.0), (0.4, 0.0)), "mlp": ((0.0, 0.8), (0.0, 0.6))}
    rows = [
        {"document": document, "layer": layer, "part": part, "share": share}
        for part, both in shares.items()
        for document, values in zip(("m1", "m2"), both, strict=True)
        for layer, share in enumerate(values)
    ]
    attention, mlp = shapley_curves(pd.DataFrame(rows), weights, PROMPTS, n_resamples=200)
    assert (attention.part, mlp.part) == ("attention", "MLP")
    assert [one.value for one in (*attention.layers, *mlp.layers)] == pytest.approx([0.35, 0.0, 0.0, 0.65])
    assert attention.centre == mlp.centre
    assert mlp.centre is not None
    assert mlp.centre.value == pytest.approx(0.65)


def test_drift_is_a_mean_over_documents_of_each_corpus() -> None:
    states = pd.DataFrame({"document": ["m1", "m2", "g1"], "layer": 0, "drift_norm": [0.1, 0.3, 0.7]})
    medical, general = state_curves(states, PROMPTS, "drift_norm")
    assert medical.layers[0].value == pytest.approx(0.2)
    assert (general.layers[0].value, general.layers[0].low) == (0.7, None)


def test_depths_are_those_of_the_claim() -> None:
    tables = tables_of(shift=0.3)
    own = {name: tables[name] for name in ("prompts", "layers")}
    (finding,) = findings(own, FLOORS, Settings(n_permutations=9, n_resamples=50))
    depth, n = depths(tables["layers"], FLOORS, n_resamples=50)["single"]
    assert n == finding.n
    assert depth.centre.value - np.mean(depth.random) == pytest.approx(finding.effect)
