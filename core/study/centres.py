"""At what depth the change sits: the centre of every curve over layers, with its interval over documents.

A curve is pooled over documents, as ratios of sums; its centre is the mean depth weighted by it, 0 for the first layer
and 1 for the last. By itself a centre shows nothing, since any change acts at some depth; core/study/depth holds it
against random adapters. Knows the tables `layers` and `shapley`; knows no model.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.study.depth import CURVES, centre_of_mass, layer_curve
from core.study.resampling import RESAMPLES, Estimate, Floats, estimate, resampled_sums

SHAPLEY = "shapley"


@dataclass(frozen=True)
class Centre:
    """One curve over the layers of the fine-tune.

    Attributes:
        kind: `single`, `without`, `prefix` (its increments) or `shapley`.
        corpus: `medical`, `general`, or `all` for both.
        centre: its depth, 0 first layer to 1 last; null where nothing of the curve is above 0.
        curve: what each layer carries, as a share of the whole change; lowest layer first.
        documents: over how many.
    """

    kind: str
    corpus: str
    centre: Estimate | None
    curve: tuple[Estimate, ...]
    documents: int


def centres(
    layers: pd.DataFrame, shapley: pd.DataFrame, seed: int = 0, n_resamples: int = RESAMPLES
) -> tuple[Centre, ...]:
    """The centre of every curve that was measured, over both kinds of prompts and over each.

    Args:
        layers: the table, with its column `corpus`; rows of random adapters are left out.
        shapley: the table.
        seed, n_resamples: of the bootstrap over documents.
    """
    own = layers[layers["adapter"] == 0]
    found = []
    for corpus in ("all", *sorted(own["corpus"].unique())):
        of_corpus = own if corpus == "all" else own[own["corpus"] == corpus]
        for kind in CURVES:
            sums = _sums(of_corpus[of_corpus["kind"] == kind])
            found.append(_centre(kind, str(corpus), sums, seed, n_resamples))
        found.append(_centre(SHAPLEY, str(corpus), _shapley_sums(of_corpus, shapley), seed, n_resamples))
    return tuple(one for one in found if one is not None)


def _sums(rows: pd.DataFrame) -> Floats:
    """(documents, n_layers + 1): ΣKL(tuned‖hybrid) layer by layer, then ΣKL(tuned‖base)."""
    kl = rows.pivot(index="document", columns="layer", values="kl_sum")
    base = rows.groupby("document")["kl_base_sum"].first()
    return np.column_stack([kl.to_numpy(dtype=np.float64), base.loc[kl.index].to_numpy(dtype=np.float64)])


def _shapley_sums(layers: pd.DataFrame, shapley: pd.DataFrame) -> Floats:
    """The same of shares: Σ share × ΣKL(tuned‖base), attention and MLP together."""
    base = layers.groupby("document")["kl_base_sum"].first()
    shares = shapley.groupby(["document", "layer"])["share"].sum().unstack("layer")
    shares = shares[shares.index.isin(base.index)]
    own = base.loc[shares.index].to_numpy(dtype=np.float64)
    return np.column_stack([shares.to_numpy(dtype=np.float64) * own[:, None], own])


def _centre(kind: str, corpus: str, sums: Floats, seed: int, n_resamples: int) -> Centre | None:
    n = len(sums)
    if not n or not sums[:, -1].sum() > 0:
        return None

    def curve(of: Floats) -> Floats:
        if kind != SHAPLEY:
            return layer_curve(of[..., :-1], of[..., -1], kind)
        with np.errstate(divide="ignore", invalid="ignore"):  # a resample may draw only documents without a difference
            found: Floats = of[..., :-1] / of[..., -1:]
        return found

    whole, drawn = curve(sums.sum(axis=0)), curve(resampled_sums(sums, seed, n_resamples))
    depth = float(centre_of_mass(whole))
    return Centre(
        kind=kind,
        corpus=corpus,
        centre=estimate(depth, centre_of_mass(drawn), n) if np.isfinite(depth) else None,
        curve=tuple(estimate(value, drawn[:, layer], n) for layer, value in enumerate(whole)),
        documents=n,
    )
