"""Words by category, parts of texts, concentration and centres of curves, by hand."""

import numpy as np
import pandas as pd
import pytest

from core.measure.summary import concentration
from core.study.centres import centres
from core.study.concentrated import text_concentration, word_concentration
from core.study.depth import centre_of_mass, layer_curve
from core.study.top_words import by_part, top_words
from tests.study.simulated import tables_of

WORDS = pd.DataFrame(
    [
        ("a", "lung", "anatomy", "answer", False, 1, 4.0),
        ("b", "lung", "anatomy", "answer", False, 2, 2.0),
        ("a", "heart", "anatomy", "reasoning", False, 1, 5.0),
        ("a", "the", "", "reasoning", False, 1, 0.5),
        ("b", "the", "", "answer", False, 1, 1.5),
        ("b", "thinking", "", "format", True, 1, 7.0),
        ("b", "", "", "answer", False, 1, 0.0),
    ],
    columns=["document", "form", "category", "part", "format", "tokens", "score"],
)


def test_words_are_ranked_by_their_mean_where_they_are_frequent_enough() -> None:
    anatomy, other = top_words(WORDS, least_count=2, least_documents=2, n_resamples=50)
    assert (anatomy.category, anatomy.words, anatomy.tokens, anatomy.documents) == ("anatomy", 3, 4, 2)
    assert anatomy.kl_sum == 11.0
    assert anatomy.share == pytest.approx(11 / 13)
    assert anatomy.per_token.value == pytest.approx(11 / 4)
    (lung,) = anatomy.top  # the heart occurs once
    assert (lung.form, lung.count, lung.documents, lung.kl_mean, lung.kl_sum) == ("lung", 2, 2, 3.0, 6.0)
    assert lung.share == pytest.approx(6 / 13)
    assert [one.form for one in other.top] == ["the"]
    every = top_words(WORDS, least_count=1, least_documents=1, n_resamples=50)
    assert [one.form for one in every[0].top] == ["heart", "lung"]
    assert [len(one.top) for one in top_words(WORDS, n=1, least_count=1, least_documents=1, n_resamples=50)] == [1, 1]


def test_headings_count_only_where_they_are_asked_for() -> None:
    with_format = {one.category: one for one in top_words(WORDS, with_format=True, least_count=1, least_documents=1)}
    assert with_format[""].top[0].form == "thinking"
    assert with_format["anatomy"].share == pytest.approx(11 / 20)


def test_parts_and_reasoning_against_answer_by_hand() -> None:
    found = by_part(WORDS, n_resamples=50)
    assert [(one.part, one.kl_sum, one.tokens) for one in found.parts] == [
        ("format", 7.0, 1),
        ("reasoning", 5.5, 2),
        ("answer", 7.5, 5),
    ]
    assert found.parts[1].per_token.value == pytest.approx(2.75)
    assert found.difference is not None
    assert (found.difference.value, found.difference.n) == (pytest.approx(5.5 / 2 - 4.0), 1)  # only a has both
    assert found.p == 1.0
    alone = by_part(WORDS[WORDS["part"] == "answer"], n_resamples=50)
    assert (alone.difference, alone.p) == (None, None)


def test_concentration_of_words_with_and_without_headings() -> None:
    without = word_concentration(WORDS, 1e-6, n_resamples=50)
    assert without.all == concentration([4.0, 2.0, 5.0, 0.5, 1.5, 0.0])
    assert without.all.top_10pct == pytest.approx(5 / 13)
    assert word_concentration(WORDS, 1e-6, with_format=True, n_resamples=50).all.top_10pct == pytest.approx(7 / 20)
    assert word_concentration(WORDS, 100.0, n_resamples=50).top_10pct is None


def test_concentration_of_texts_and_what_headings_hold() -> None:
    answers = pd.DataFrame(
        {
            "document": ["b", "a"],
            "kl_sum": [6.0, 2.0],
            "kl_sum_with_format": [8.0, 2.0],
            "top_1pct": [0.2, 0.4],
            "top_5pct": [0.3, np.nan],
            "top_10pct": [np.nan, np.nan],
            "tokens_for_50pct": [0.1, 0.2],
            "tokens_for_80pct": [0.5, 0.5],
        }
    )
    found = text_concentration(answers, n_resamples=50)
    values = {name: None if share is None else share.value for name, share in found.shares.items()}
    assert values == pytest.approx(
        {"top_1pct": 0.3, "top_5pct": 0.3, "top_10pct": None, "tokens_for_50pct": 0.15, "tokens_for_80pct": 0.5}
    )
    assert found.format_share is not None
    assert found.format_share.value == pytest.approx(2 / 10)


def test_centres_are_those_of_pooled_curves_and_of_pooled_shares() -> None:
    rows = [
        (document, corpus, adapter, "single", layer, base - gain, base)
        for document, corpus, base, gains in (("a", "medical", 10.0, (0, 0, 5)), ("b", "general", 30.0, (6, 0, 3)))
        for layer, gain in enumerate(gains)
        for adapter in (0, 1)
    ]
    layers = pd.DataFrame(rows, columns=["document", "corpus", "adapter", "kind", "layer", "kl_sum", "kl_base_sum"])
    shares = [("a", 0, "attn", 0.2), ("a", 2, "mlp", 0.8), ("b", 0, "mlp", 0.5), ("b", 2, "mlp", 0.5)]
    shapley = pd.DataFrame(
        [*shares, ("a", 1, "mlp", 0.0), ("b", 1, "mlp", 0.0)], columns=["document", "layer", "part", "share"]
    )
    found = {(one.kind, one.corpus): one for one in centres(layers, shapley, n_resamples=200)}
    assert set(found) == {(kind, corpus) for kind in ("single", "shapley") for corpus in ("all", "medical", "general")}
    both = found["single", "all"]
    assert [one.value for one in both.curve] == pytest.approx([6 / 40, 0.0, 8 / 40])
    assert both.centre is not None
    assert (both.centre.value, both.documents) == (pytest.approx(8 / 14), 2)
    assert found["single", "general"].centre is not None
    assert found["single", "general"].centre.value == pytest.approx(3 / 9)  # type: ignore[union-attr]
    weighted = found["shapley", "all"]
    assert [one.value for one in weighted.curve] == pytest.approx([(2 + 15) / 40, 0.0, (8 + 15) / 40])
    assert weighted.centre is not None
    assert weighted.centre.value == pytest.approx(23 / 40)


def test_centres_without_shares_and_with_an_interval_over_documents() -> None:
    layers = tables_of(shift=0.2)["layers"].assign(corpus="medical")
    nothing = pd.DataFrame(columns=["document", "layer", "part", "share"])
    (both, medical) = centres(layers, nothing, n_resamples=400)
    own = layers[layers["adapter"] == 0].pivot(index="document", columns="layer", values="kl_sum")
    base = layers[layers["adapter"] == 0].groupby("document")["kl_base_sum"].first()
    draw = np.random.default_rng(5)
    again = []
    for _ in range(400):
        rows = draw.integers(0, len(own), len(own))
        again.append(centre_of_mass(layer_curve(own.to_numpy()[rows].sum(0), base.to_numpy()[rows].sum(), "single")))
    assert both.centre is not None
    assert both.centre == medical.centre
    assert both.centre.low == pytest.approx(np.percentile(again, 2.5), abs=0.002)
    assert both.centre.high == pytest.approx(np.percentile(again, 97.5), abs=0.002)
