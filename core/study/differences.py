"""Numbers that two studies both have, as differences with an interval: document by document, or drawn apart.

Knows results and resampling; knows no claims.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.study.choice import KINDS
from core.study.curves import layer_sums
from core.study.depth import centre_of_mass, layer_curve
from core.study.frames import TIMES_NOISE, Floors, of_corpus
from core.study.resampling import Estimate, Floats, estimate, resampled_sums
from core.study.results import Results
from core.study.verdicts import FEWEST_DOCUMENTS

FEWEST = 2


@dataclass(frozen=True)
class Difference:
    """One number of two studies.

    Attributes:
        what: which number.
        corpus: `medical` or `general`.
        unit: of all three.
        a, b: in each study.
        difference: b − a with its interval. Over shared documents the same ones are drawn from both studies; else
            each study's own are drawn apart, and `n` is the smaller number of them.
        n_a, n_b: documents of each study in it; the shared ones where they are compared one by one.
    """

    what: str
    corpus: str
    unit: str
    a: float
    b: float
    difference: Estimate
    n_a: int
    n_b: int


@dataclass(frozen=True)
class _Quantity:
    """A function of sums over documents; `sums` gives one row a document, by document.

    `noisy`: whether some documents' models differ by no more than noise, so that it means nothing there.
    """

    what: str
    unit: str
    sums: Callable[[Results, str], pd.DataFrame]
    value: Callable[[Floats], Floats]
    noisy: Callable[[pd.DataFrame, Floors], bool] = lambda own, floors: False


def differences(
    a: Results, b: Results, shared: pd.DataFrame, seed: int, n_resamples: int
) -> tuple[tuple[Difference, ...], tuple[Difference, ...]]:
    """What both studies measured.

    Args:
        a, b: the studies.
        shared: rows `document` and `corpus` that are the same in both.
        seed, n_resamples: of the bootstrap.

    Returns:
        Differences over shared documents, of which there are at least 10, or as many as the smaller study has; and
        where fewer are shared, differences of all documents, drawn apart.
    """
    paired: list[Difference] = []
    apart: list[Difference] = []
    for corpus in KINDS:
        documents = shared.loc[shared["corpus"] == corpus, "document"]
        for quantity in _QUANTITIES:
            own, other = (quantity.sums(one, corpus).dropna() for one in (a, b))
            common = own.index.intersection(other.index).intersection(documents).sort_values()
            together = len(common) >= max(FEWEST, min(FEWEST_DOCUMENTS, len(own), len(other)))
            if together:
                own, other = own.loc[common], other.loc[common]
            if min(len(own), len(other)) < FEWEST:
                continue
            if not (quantity.noisy(own, a.floors) or quantity.noisy(other, b.floors)):
                found = _difference(quantity, corpus, (own, other), together, seed, n_resamples)
                (paired if together else apart).extend(found)
    return tuple(paired), tuple(apart)


def _difference(
    quantity: _Quantity, corpus: str, sides: Sequence[pd.DataFrame], together: bool, seed: int, n_resamples: int
) -> list[Difference]:
    sums = [side.to_numpy(dtype=np.float64) for side in sides]
    with np.errstate(divide="ignore", invalid="ignore"):
        values = [float(quantity.value(own.sum(axis=0))) for own in sums]
        # The same seed and number of documents draw the same documents in both.
        seeds = (seed, seed if together else seed + 1)
        drawn = [quantity.value(resampled_sums(own, k, n_resamples)) for own, k in zip(sums, seeds, strict=True)]
    if not np.isfinite(values).all():
        return []
    change = estimate(values[1] - values[0], drawn[1] - drawn[0], min(map(len, sums)))
    n_a, n_b = map(len, sums)
    return [Difference(quantity.what, corpus, quantity.unit, values[0], values[1], change, n_a, n_b)]


def _ratio(sums: Floats) -> Floats:
    found: Floats = sums[..., 0] / sums[..., 1]
    return found


def _centre(sums: Floats) -> Floats:
    return centre_of_mass(layer_curve(sums[..., :-2], sums[..., -2], "single"))


_NONE = pd.DataFrame({"above": [], "below": []}, index=pd.Index([], dtype=object))


def _loss(results: Results, corpus: str) -> pd.DataFrame:
    return _of_answers(results, corpus, "reference", lambda own: own["nll_tuned_sum"] - own["nll_base_sum"])


def _kl(whose: str) -> Callable[[Results, str], pd.DataFrame]:
    return lambda results, corpus: _of_answers(results, corpus, whose, lambda own: own["kl_sum"])


def _of_answers(results: Results, corpus: str, whose: str, above: Callable[[pd.DataFrame], pd.Series]) -> pd.DataFrame:
    if "answers" not in results.tables:
        return _NONE
    own = of_corpus(results.tables["answers"], results.tables["prompts"], corpus, whose).set_index("document")
    return pd.DataFrame({"above": above(own), "below": own["tokens"]})


def _gain(results: Results, corpus: str) -> pd.DataFrame:
    if "choices" not in results.tables:
        return _NONE
    choices = results.tables["choices"]
    own = choices[choices["corpus"] == corpus].set_index("document")
    right = [(own[model] == own["right"]).astype(float) for model in ("base", "tuned")]
    return pd.DataFrame({"above": right[1] - right[0], "below": 1.0})


def _drift(results: Results, corpus: str) -> pd.DataFrame:
    if "representations" not in results.tables:
        return _NONE
    own = of_corpus(results.tables["representations"], results.tables["prompts"], corpus, "reference")
    return pd.DataFrame({"above": own.groupby("document")["drift_norm"].mean(), "below": 1.0})


def _layers(results: Results, corpus: str) -> pd.DataFrame:
    if "layers" not in results.tables:
        return _NONE
    layers = results.tables["layers"]
    references = layers[layers["whose"] == "reference"]
    return layer_sums(references, results.tables["prompts"], corpus, "single")


def _alike(own: pd.DataFrame, floors: Floors) -> bool:
    return bool(own["kl_base_sum"].sum() <= TIMES_NOISE * floors.kl * own["tokens"].sum())


_QUANTITIES = (
    _Quantity("change of the loss on reference answers", "nats per token", _loss, _ratio),
    _Quantity("KL(tuned‖base) on reference answers", "nats per token", _kl("reference"), _ratio),
    _Quantity("KL(tuned‖base) on the fine-tuned model's own answers", "nats per token", _kl("tuned"), _ratio),
    _Quantity("questions more right than before", "of the questions", _gain, _ratio),
    _Quantity("drift of the states, over all layers", "ratio", _drift, _ratio),
    _Quantity("centre of recovery by single layers", "of the depth", _layers, _centre, _alike),
)
