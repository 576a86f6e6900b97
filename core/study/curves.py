"""Curves over layers with intervals over prompts: what layers carry, shares, and how far states moved.

Knows the tables `layers`, `shapley`, `attribution` and `representations`; gives no verdicts and compares no adapters.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.pair.gates import PARTS
from core.study.choice import KINDS
from core.study.claims_layers import in_every_adapter, layer_arrays
from core.study.depth import CURVES, Depth, centre_of_mass, depth_against_random, layer_curve
from core.study.frames import TIMES_NOISE, Floors, of_corpus
from core.study.resampling import RESAMPLES, Estimate, Floats, bootstrap_mean_interval, estimate, resampled_sums

SETS = ("prefix", "suffix", "window-3", "window-5")
"""Curves of what several layers bring back together; a centre of mass would mean nothing."""
SHAPES = (*CURVES, "increments", *SETS[1:])
"""Curves of the table `layers`: `prefix` here is recovery from below, `increments` what each layer adds to it."""


@dataclass(frozen=True)
class Curve:
    """One corpus's curve.

    Attributes:
        corpus: `medical` or `general`.
        part: `attention`, `MLP`, or empty for whole layers.
        layers: (n_layers,) the value at each, with its interval over prompts.
        centre: its centre of mass over all parts, 0 first layer to 1 last; null where it has no meaning.
        n: prompts.
    """

    corpus: str
    part: str
    layers: tuple[Estimate, ...]
    centre: Estimate | None
    n: int


def layer_sums(layers: pd.DataFrame, prompts: pd.DataFrame, corpus: str, kind: str) -> pd.DataFrame:
    """ΣKL of the fine-tune's grafts on one corpus.

    Returns:
        (documents, n_layers + 2): ΣKL by layer, then `base` and `tokens`; documents without all layers are left out.
    """
    own = of_corpus(layers[(layers["kind"] == kind) & (layers["adapter"] == 0)], prompts, corpus)
    wide = own.pivot(index="document", columns="layer", values="kl_sum")
    return wide.join(own.groupby("document")[["kl_base_sum", "tokens"]].first()).dropna()


def layer_curves(
    layers: pd.DataFrame, prompts: pd.DataFrame, shape: str, floors: Floors, seed: int = 0, n_resamples: int = RESAMPLES
) -> tuple[Curve, ...]:
    """One curve a corpus; a corpus on which the models differ by no more than 5× noise has none.

    Args:
        layers, prompts: the tables.
        shape: one of `SHAPES`.
        floors: of noise.
        seed, n_resamples: of the bootstrap over documents.
    """
    kind = "prefix" if shape == "increments" else shape
    found = []
    for corpus in KINDS:
        wide = layer_sums(layers, prompts, corpus, kind).to_numpy(dtype=np.float64)
        if not len(wide) or wide[:, -2].sum() <= TIMES_NOISE * floors.kl * wide[:, -1].sum():
            continue
        drawn = resampled_sums(wide, seed, n_resamples)
        found.append(_curve(corpus, _shaped(wide.sum(axis=0), shape), _shaped(drawn, shape), len(wide), shape))
    return tuple(found)


def _shaped(sums: Floats, shape: str) -> Floats:
    """The curve of (…, n_layers + 2) sums."""
    kind = "prefix" if shape == "increments" else "single" if shape in SETS else shape  # sets: 1 − what is left
    return layer_curve(sums[..., :-2], sums[..., -2], kind)


def _curve(corpus: str, curve: Floats, drawn: Floats, n: int, shape: str) -> Curve:
    centre = None if shape in SETS else _centre(curve, drawn, n)
    return Curve(corpus, "", tuple(estimate(v, drawn[:, k], n) for k, v in enumerate(curve)), centre, n)


def _centre(curve: Floats, drawn: Floats, n: int) -> Estimate | None:
    value = float(centre_of_mass(curve))
    return estimate(value, centre_of_mass(drawn), n) if np.isfinite(value) else None


def shapley_curves(
    shapley: pd.DataFrame, layers: pd.DataFrame, prompts: pd.DataFrame, seed: int = 0, n_resamples: int = RESAMPLES
) -> tuple[Curve, ...]:
    """Shapley shares of every layer's attention and MLP, one curve a corpus and part.

    Shares are pooled as recoveries are: Σ share × ΣKL(tuned‖base) / Σ ΣKL(tuned‖base), so a prompt counts by its
    divergence, and all shares sum to the recovery of all layers.

    Args:
        shapley, layers, prompts: the tables.
        seed, n_resamples: of the bootstrap over documents.
    """
    base = layers[layers["adapter"] == 0].groupby("document")["kl_base_sum"].first()
    found = []
    for corpus in KINDS:
        own = of_corpus(shapley, prompts, corpus)
        wide = own.pivot(index="document", columns=["part", "layer"], values="share").sort_index(axis=1).dropna()
        wide = wide[wide.index.isin(base[base > 0].index)]
        if not len(wide):
            continue
        weights = base.loc[wide.index].to_numpy(dtype=np.float64)
        sums = np.column_stack([wide.to_numpy(dtype=np.float64) * weights[:, None], weights])
        parts = wide.columns.get_level_values("part").unique()
        pooled, drawn = (
            (of[..., :-1] / of[..., -1:]).reshape(*of.shape[:-1], len(parts), -1)
            for of in (sums.sum(axis=0), resampled_sums(sums, seed, n_resamples))
        )
        centre = _centre(pooled.sum(axis=0), drawn.sum(axis=1), len(wide))
        for k, part in enumerate(parts):
            values = tuple(estimate(v, drawn[:, k, layer], len(wide)) for layer, v in enumerate(pooled[k]))
            found.append(Curve(corpus, PART_WORDS.get(part, part), values, centre, len(wide)))
    return tuple(found)


def attribution_curves(
    attribution: pd.DataFrame, prompts: pd.DataFrame, seed: int = 0, n_resamples: int = RESAMPLES
) -> tuple[Curve, ...]:
    """What gradients attribute to every layer's attention and MLP, pooled as Shapley shares are.

    Args:
        attribution, prompts: the tables.
        seed, n_resamples: of the bootstrap over documents.
    """
    part = attribution["projection"].map({name: part for part in ("attn", "mlp") for name in PARTS[part]})
    own = attribution.assign(part=part, share=attribution["attribution"], adapter=0)
    shares = own.groupby(["document", "layer", "part"], as_index=False)[["share"]].sum()
    return shapley_curves(shares, own, prompts, seed, n_resamples)


PART_WORDS = {"attn": "attention", "mlp": "MLP"}


def state_curves(
    states: pd.DataFrame, prompts: pd.DataFrame, measure: str, seed: int = 0, n_resamples: int = RESAMPLES
) -> tuple[Curve, ...]:
    """Mean drift after every layer, one curve a corpus.

    Args:
        states, prompts: the tables.
        measure: `drift_norm` or `drift_cosine`.
        seed, n_resamples: of the bootstrap over documents.
    """
    found = []
    for corpus in KINDS:
        wide = of_corpus(states, prompts, corpus).pivot(index="document", columns="layer", values=measure).dropna()
        if len(wide):
            values: Sequence[Floats] = wide.to_numpy(dtype=np.float64).T.tolist()
            layers = tuple(bootstrap_mean_interval(own, seed, n_resamples) for own in values)
            found.append(Curve(corpus, "", layers, None, len(wide)))
    return tuple(found)


def depths(
    layers: pd.DataFrame, floors: Floors, seed: int = 0, n_resamples: int = RESAMPLES
) -> dict[str, tuple[Depth, int]]:
    """The fine-tune's depth beside that of random adapters, by kind of curve, with the number of documents.

    The documents and adapters are those of the claims 3a to 3c.
    """
    found = {}
    for kind in CURVES:
        own = layers[layers["kind"] == kind]
        if not len(own) or own["adapter"].nunique() < 2:
            continue
        kl, kl_base, tokens = layer_arrays(in_every_adapter(own))
        defined = kl_base.sum(axis=1) > TIMES_NOISE * floors.kl * tokens.sum(axis=1)
        if defined[0] and defined[1:].any():
            depth = depth_against_random(kl[defined], kl_base[defined], kind, seed, n_resamples)
            if depth is not None:
                found[kind] = (depth, kl.shape[1])
    return found
