"""What studies say of every prompt's own sets, of patches by place and of every text under every model, by hand."""

import pandas as pd
import pytest

from core.study.described_cross import cross_means
from core.study.described_sets import LAST, RANDOM, SIZE, layers_in_sets, patches_by_place, smallest_sizes

PROMPTS = pd.DataFrame({"document": ["a", "b", "c"], "corpus": ["medical", "medical", "general"]})


def smallest() -> pd.DataFrame:
    rows = [
        ("a", "greedy-forward", 0.8, 2, "0, 3", 0.5),
        ("b", "greedy-forward", 0.8, 3, "1-3", 0.7),
        ("c", "greedy-forward", 0.8, 1, "2", None),
        ("a", "greedy-backward", 0.8, 4, "0-3", 0.9),
        ("a", "greedy-forward", 0.9, 3, "0, 2-3", 0.6),
    ]
    names = ["document", "method", "reach", "size", "units", "random_mean"]
    return pd.DataFrame(rows, columns=names).assign(recovery=0.85)


def test_sizes_are_means_over_prompts() -> None:
    found = {(one.corpus, one.group, one.what): one.estimate for one in smallest_sizes(smallest(), PROMPTS)}
    assert found["medical", "from below, 80 %", SIZE].value == pytest.approx(2.5)
    assert found["medical", "from below, 80 %", SIZE].n == 2
    assert found["medical", "from below, 80 %", RANDOM].value == pytest.approx(0.6)
    assert found["medical", "from above, 80 %", SIZE].value == 4
    assert found["medical", "from below, 90 %", SIZE].value == 3
    assert found["general", "from below, 80 %", SIZE].value == 1
    assert ("general", "from below, 80 %", RANDOM) not in found


def test_layers_in_sets_are_shares_of_prompts() -> None:
    curves = {(one.corpus, one.part): one for one in layers_in_sets(smallest(), PROMPTS, 4, 0.8)}
    assert [one.value for one in curves["medical", "from below"].layers] == [0.5, 0.5, 0.5, 1.0]
    assert [one.value for one in curves["medical", "from above"].layers] == [1, 1, 1, 1]
    assert [one.value for one in curves["general", "from below"].layers] == [0, 0, 1, 0]
    assert ("general", "from above") not in curves
    in_both = curves["medical", "from below"].layers[3]
    assert in_both.low == pytest.approx(0.025**0.5)  # exact: two of two
    assert in_both.high == 1


def test_patches_are_added_up_over_a_place_and_pooled_by_divergence() -> None:
    cells = {
        "a": (4.0, (("template", 3.0), ("prompt", 3.5), ("prompt", 3.8), ("template", 2.0), ("answer", 1.0))),
        "b": (1.0, (("prompt", 1.0), ("template", 0.5), ("answer", 0.9), ("answer", 0.8))),
    }
    patches = pd.DataFrame(
        [
            {"document": document, "layer": 7, "position": k, "part": part, "kl_base_sum": base, "kl_sum": kl}
            for document, (base, rows) in cells.items()
            for k, (part, kl) in enumerate(rows)
        ]
    )
    found = {one.place: one for one in patches_by_place(patches, PROMPTS)}
    assert list(found) == ["question", "chat template", LAST, "answer"]
    assert found["question"].estimate.value == pytest.approx((0.5 + 0.2 + 0) / 5)
    assert found["chat template"].estimate.value == pytest.approx(1 / 5)
    assert found[LAST].estimate.value == pytest.approx((2 + 0.5) / 5)
    assert found["answer"].estimate.value == pytest.approx((3 + 0.1 + 0.2) / 5)
    assert {(one.corpus, one.layer, one.estimate.n) for one in found.values()} == {("medical", 7, 2)}


def test_texts_are_pooled_by_their_tokens_and_those_without_any_are_left_out() -> None:
    rows = [("a", "base", "hybrid", 10, 30.0), ("b", "base", "hybrid", 30, 30.0), ("c", "base", "hybrid", 0, None)]
    cross = pd.DataFrame(rows, columns=["document", "whose", "model", "tokens", "nll_sum"])
    (only,) = cross_means(cross, PROMPTS)
    assert (only.corpus, only.group, only.what) == ("medical", "base", "hybrid")
    assert only.estimate.value == pytest.approx(60 / 40)
    assert only.estimate.n == 2
