"""Words matched to their like: cells of one document in which base entropy, frequency, position and length agree.

Inside a cell medical and other words differ in nothing that was matched but the label. Knows numbers per word; knows
no scores and no model.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import ShapeError
from core.study.resampling import Floats

Integers = NDArray[np.int64]
# Quantile bins of each matched property. A document has 60 to 200 words, so finer cells would leave most words alone.
BINS = {"base_entropy": 4, "frequency": 3, "position": 2, "tokens": 2}


@dataclass(frozen=True)
class Cells:
    """Words that have their like.

    Attributes:
        words: (kept,) indices of the words in cells with both kinds, sorted by cell.
        cell: (kept,) which cell each is in, 0 … n_cells − 1.
        document: (n_cells,) the document of each cell.
        medical, size: (n_cells,) how many of its words are medical, and how many words it has.
        dropped_medical, dropped_other: words of cells that hold one kind only.
        dropped_cells: how many such cells.
    """

    words: Integers
    cell: Integers
    document: Integers
    medical: Integers
    size: Integers
    dropped_medical: int
    dropped_other: int
    dropped_cells: int


def quantile_bins(values: Floats, bins: int) -> Integers:
    """The equally full bin each value falls in, 0 … bins − 1; equal values share a bin, so some may stay empty."""
    edges = np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1])
    return np.searchsorted(edges, values, side="left")


def matched_cells(
    document: Integers, medical: NDArray[np.bool_], covariates: Mapping[str, Floats], bins: Mapping[str, int] = BINS
) -> Cells:
    """Words by document and stratum; cells with one kind of word only are dropped and counted.

    Args:
        document: (words,) number of the document of each.
        medical: (words,) the label.
        covariates: property → (words,) numbers.
        bins: property → quantile bins over all words; every property is matched.

    Raises:
        ShapeError: the lengths or the properties differ.
    """
    lengths = {len(document), len(medical), *(len(values) for values in covariates.values())}
    if len(lengths) > 1 or set(covariates) != set(bins):
        raise ShapeError(
            f"Words to be matched come with {sorted(lengths)} entries and the properties {sorted(covariates)}.",
            f"Give as many of each, and the properties {sorted(bins)}.",
        )
    keys = np.stack([document, *(quantile_bins(covariates[name], bins[name]) for name in bins)])
    which = np.unique(keys, axis=1, return_inverse=True)[1].reshape(-1)
    size = np.bincount(which)
    count = np.bincount(which, weights=medical).astype(np.int64)
    good = (count > 0) & (count < size)
    order = np.argsort(which, kind="stable")
    words = order[good[which[order]]]
    _, first, cell = np.unique(which[words], return_index=True, return_inverse=True)
    return Cells(
        words=words,
        cell=cell.reshape(-1),
        document=document[words][first],
        medical=count[good],
        size=size[good],
        dropped_medical=int(count[~good].sum()),
        dropped_other=int((size - count)[~good].sum()),
        dropped_cells=int((~good).sum()),
    )
