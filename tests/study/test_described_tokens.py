"""Figures of single tokens, from tables small enough to count by hand."""

import pandas as pd
import pytest

from core.study.claims_layers import texts_in_words
from core.study.curves import attribution_curves
from core.study.described_tokens import (
    PARTED,
    TOTAL_VARIATION,
    change_by_place,
    kl_along_text,
    kl_by_entropy,
    looked_at,
    partings,
    words_moved,
)

PROMPTS = pd.DataFrame({"document": ["a", "b", "c"], "corpus": ["medical", "medical", "general"]})


def tokens_of(document: str, kl: list[float], whose: str = "reference", **more: object) -> pd.DataFrame:
    return pd.DataFrame(
        {"document": document, "whose": whose, "token": range(len(kl)), "part": "answer", "kl": kl,
         "entropy_base": kl, "gained": " a", "gained_term": 0.5, "lost": " b", "lost_term": -0.25, **more}
    )  # fmt: skip


def test_fifths_of_every_text() -> None:
    tokens = pd.concat(
        [
            tokens_of("a", [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]),
            tokens_of("b", [3, 4, 5, 6, 7]),
            tokens_of("b", [99.0] * 5, whose="tuned"),
            tokens_of("a", [99.0] * 4, part="format", token=range(10, 14)),
            tokens_of("c", [1.0] * 4),  # too short for fifths
        ]
    )
    found = kl_along_text(tokens.sample(frac=1, random_state=0), PROMPTS)
    assert {one.corpus for one in found} == {"medical"}
    # two tokens of a and one of b in each fifth
    assert [one.estimate.value for one in found] == pytest.approx([5 / 3, 8 / 3, 11 / 3, 14 / 3, 17 / 3])
    assert [one.estimate.n for one in found] == [2] * 5


def test_fifths_by_how_sure_base_was() -> None:
    tokens = pd.concat([tokens_of("a", [5, 1, 4, 2, 3]), tokens_of("c", [2.0] * 5)])
    found = kl_by_entropy(tokens, PROMPTS)
    assert [one.estimate.value for one in found if one.corpus == "medical"] == [1, 2, 3, 4, 5]
    assert [one.estimate.value for one in found if one.corpus == "general"] == [2] * 5


def test_partings_stand_beside_the_total_variation() -> None:
    tokens = pd.concat(
        [
            tokens_of("a", [1.0] * 4, parted=[True, False, False, False], tv=[0.5, 0.1, 0.1, 0.1]),
            tokens_of("b", [1.0] * 2, parted=[True, True], tv=[0.2, 0.2]),
            tokens_of("b", [1.0], part="end", parted=True, tv=9.0),
            tokens_of("c", [1.0] * 2, "tuned", parted=[False, False], tv=[0.1, 0.3]),
        ]
    )
    found = {(one.corpus, one.group, one.what): one.estimate for one in partings(tokens, PROMPTS)}
    assert found["medical", "reference", PARTED].value == 0.5
    assert found["medical", "reference", TOTAL_VARIATION].value == pytest.approx(0.2)
    assert found["general", "tuned", PARTED].value == 0.0
    assert len(found) == 4
    assert found["medical", "reference", PARTED].n == 2
    assert partings(tokens.drop(columns="parted"), PROMPTS) == ()


def test_words_that_gained_and_lost() -> None:
    tokens = pd.concat(
        [
            tokens_of("a", [1.0] * 3),
            tokens_of("b", [1.0], gained=" c", gained_term=3.0, lost=" d", lost_term=-0.75),
            tokens_of("c", [1.0], gained=" general", gained_term=9.0),
        ]
    )
    found = words_moved(tokens, PROMPTS, "medical")
    assert list(found.itertuples(index=False, name=None)) == [
        (" c", "gained", 1, 0.75),
        (" a", "gained", 3, 0.375),
        (" b", "lost", 3, -0.1875),
        (" d", "lost", 1, -0.1875),
    ]


def test_without_a_difference_no_word_gained_or_lost() -> None:
    tokens = tokens_of("a", [0.0] * 3, gained=None, gained_term=0.0, lost=None, lost_term=0.0)
    assert len(words_moved(tokens, PROMPTS, "medical")) == 0


def test_every_corpus_is_looked_at_where_it_has_texts() -> None:
    tokens = pd.concat(
        [tokens_of("a", [1.0] * 5, whose="tuned"), tokens_of("c", [2.0] * 5), tokens_of("c", [9.0] * 5, whose="tuned")]
    )
    assert set(looked_at(tokens, PROMPTS, "medical")["whose"]) == {"tuned"}
    assert set(looked_at(tokens, PROMPTS, "general")["whose"]) == {"reference"}
    assert {one.corpus: one.estimate.value for one in kl_along_text(tokens, PROMPTS)} == {"medical": 1, "general": 2}
    assert texts_in_words(tokens[tokens["kl"] < 9], PROMPTS) == (
        "1 general reference answers and 1 medical answers of the fine-tuned model"
    )


def test_attributions_are_pooled_by_divergence() -> None:
    attribution = pd.DataFrame(
        [
            {"document": document, "layer": layer, "projection": name, "attribution": share, "kl_base_sum": weight}
            for document, weight, shares in (("a", 3.0, (0.5, 0.25)), ("b", 1.0, (0.1, 0.05)))
            for layer in range(2)
            for name, share in zip(("q_proj", "down_proj"), shares, strict=True)
        ]
    )
    found = {curve.part: curve for curve in attribution_curves(attribution, PROMPTS, n_resamples=50)}
    assert found["attention"].layers[1].value == pytest.approx((3 * 0.5 + 0.1) / 4)
    assert found["MLP"].layers[0].value == pytest.approx((3 * 0.25 + 0.05) / 4)


def test_positions_are_pooled_by_divergence_and_sum_to_the_whole() -> None:
    attribution = pd.DataFrame([{"document": "a", "kl_base_sum": 3.0}, {"document": "b", "kl_base_sum": 1.0}])
    positions = pd.DataFrame(
        [
            {"document": document, "position": k, "part": part, "attn": attn, "mlp": mlp, "whose": "reference"}
            for document, rows in {
                "a": (("template", 0.1, 0.0), ("prompt", 0.2, 0.1), ("answer", 0.2, 0.1), ("answer", 0.2, 0.1)),
                "b": (("prompt", 0.5, 0.0), ("reasoning", 0.5, 0.0)),
            }.items()
            for k, (part, attn, mlp) in enumerate(rows)
        ]
    )
    found = {(one.what, one.group): one.estimate for one in change_by_place(positions, attribution, PROMPTS)}
    assert found["question", "attn"].value == pytest.approx((3 * 0.2 + 0.5) / 4)
    assert found["answer", "attn"].value == pytest.approx(3 * 0.4 / 4)
    assert found["reasoning", "attn"].value == pytest.approx(0.5 / 4)
    assert sum(one.value for one in found.values()) == pytest.approx(1)
    assert all(one.n == 2 for one in found.values())
