"""Is divergence higher on medical words than on other words like them: two effects, their intervals and p-values.

Labels are permuted within cells of one document, intervals are over documents. Knows scores, labels and covariates of
words; knows no text and no model.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import ArgumentError
from core.measure.ranks import average_ranks
from core.study.matching import BINS, Cells, Integers, matched_cells
from core.study.resampling import PERMUTATIONS, RESAMPLES, Estimate, Floats, estimate, permutation_p, resampled_sums

_AT_ONCE = 2_000_000  # labels permuted in one go: 16 MB


@dataclass(frozen=True)
class MatchedTest:
    """Medical words against other words of the same cells.

    Attributes:
        ratio: of geometric means of score + noise floor, medical over other; 1 is no difference.
        ratio_adjusted: the same after a linear regression of log score on the matched properties inside the cells,
            for what bins leave unmatched. Labels take no part in that regression, so it errs towards 1.
        auroc, auroc_adjusted: how often a medical word scores higher than another word of its cell, before and after
            that regression; 0.5 is no difference.
        p_ratio, p_ratio_adjusted, p_auroc, p_auroc_adjusted: two-sided, labels permuted inside cells.
        raw_ratio, raw_auroc: without any matching.
        n_medical, n_other: words compared.
        dropped_medical, dropped_other, dropped_cells: words without their like, and the cells they were in.
        balance: property → how far medical words still lie above the others of their cells, in standard deviations
            over all words; beyond ±0.1 matching was coarse.
    """

    ratio: Estimate
    ratio_adjusted: Estimate
    auroc: Estimate
    auroc_adjusted: Estimate
    p_ratio: float
    p_ratio_adjusted: float
    p_auroc: float
    p_auroc_adjusted: float
    raw_ratio: float
    raw_auroc: float
    n_medical: int
    n_other: int
    dropped_medical: int
    dropped_other: int
    dropped_cells: int
    balance: dict[str, float]


def matched_test(
    scores: Floats,
    medical: NDArray[np.bool_],
    document: Integers,
    covariates: Mapping[str, Floats],
    noise_floor: float,
    bins: Mapping[str, int] = BINS,
    seed: int = 0,
    n_permutations: int = PERMUTATIONS,
    n_resamples: int = RESAMPLES,
) -> MatchedTest | None:
    """Tests whether medical words score higher than other words of the same document and stratum.

    Each cell counts by its medical words, so both effects are over medical words: mean log score above that of their
    like, and how often they score higher.

    Args:
        scores: (words,) summed KL of each word, nats.
        medical: (words,) the label.
        document: (words,) number of its document.
        covariates: property → (words,), what is matched.
        noise_floor: added to every score before the logarithm, nats; above 0.
        bins: property → quantile bins.
        seed, n_permutations, n_resamples: of the permutations and the bootstrap.

    Returns:
        None where no cell holds both kinds of word.

    Raises:
        ArgumentError: the noise floor is not above 0.
        ShapeError: the lengths differ.
    """
    if not noise_floor > 0:
        raise ArgumentError(f"The noise floor is {noise_floor:g}.", "A logarithm needs one above 0 nats.")
    cells = matched_cells(document, medical, covariates, bins)
    if not len(cells.words):
        return None
    log_scores = np.log(scores + noise_floor)
    matched = np.stack([covariates[name] for name in bins], axis=1)
    weights = _weights(log_scores[cells.words], matched[cells.words], cells)
    labels = medical[cells.words].astype(np.float64)
    n_medical = int(cells.medical.sum())
    estimates = _estimates(labels[:, None] * weights, cells, seed, n_resamples)
    permuted = _permuted(weights, labels, cells, seed, n_permutations)
    p_values = [permutation_p(one, others)[1] for one, others in zip(labels @ weights, permuted.T, strict=True)]
    left = labels @ _above_others(matched[cells.words], cells) / n_medical
    spread = matched.std(axis=0)
    return MatchedTest(
        ratio=estimates[0].exp(),
        ratio_adjusted=estimates[1].exp(),
        auroc=estimates[2],
        auroc_adjusted=estimates[3],
        p_ratio=p_values[0],
        p_ratio_adjusted=p_values[1],
        p_auroc=p_values[2],
        p_auroc_adjusted=p_values[3],
        raw_ratio=float(np.exp(log_scores[medical].mean() - log_scores[~medical].mean())),
        raw_auroc=auroc(scores, medical),
        n_medical=n_medical,
        n_other=len(labels) - n_medical,
        dropped_medical=cells.dropped_medical,
        dropped_other=cells.dropped_other,
        dropped_cells=cells.dropped_cells,
        balance={name: float(left[k] / spread[k]) if spread[k] > 0 else 0.0 for k, name in enumerate(bins)},
    )


def auroc(scores: Floats, medical: NDArray[np.bool_]) -> float:
    """How often one with the label scores higher than one without; ties count half. Both kinds must be there.

    Source: Mann & Whitney 1947, from rank sums.
    """
    n = int(medical.sum())
    above = average_ranks(scores)[medical].sum() - n * (n + 1) / 2  # type: ignore[arg-type]
    return float(above / (n * (len(scores) - n)))


def _weights(log_scores: Floats, matched: Floats, cells: Cells) -> Floats:
    """(kept, 4): what a medical word adds to log ratio and AUROC − ½, before and after adjusting, × medical words."""
    both = np.stack([log_scores, _adjusted(log_scores, matched, cells)], axis=1)
    return np.column_stack([_above_others(both, cells), *(_won(values, cells) for values in both.T)])


def _adjusted(log_scores: Floats, matched: Floats, cells: Cells) -> Floats:
    """What a regression on the matched properties and their squares, inside cells, leaves of the log scores."""
    properties = _centred(np.concatenate([matched, matched**2], axis=1), cells)
    centred = _centred(log_scores, cells)
    slopes = np.linalg.lstsq(properties, centred, rcond=None)[0]
    found: Floats = centred - properties @ slopes
    return found


def _won(values: Floats, cells: Cells) -> Floats:
    """Weights that, summed over the medical words, give the share of others in its cell each lies above, less ½."""
    # One ranking of (cell, value) holds every cell's own ranking, up to a constant a cell.
    ranks = average_ranks(cells.cell * (len(values) + 1.0) + average_ranks(values))  # type: ignore[arg-type]
    found: Floats = _centred(ranks, cells) / (cells.size - cells.medical)[cells.cell]
    return found


def _centred(values: Floats, cells: Cells) -> Floats:
    """Values above the mean of their cell; (kept,) or (kept, k)."""
    totals = np.zeros((len(cells.size), *values.shape[1:]))
    np.add.at(totals, cells.cell, values)
    found: Floats = values - (totals.T / cells.size).T[cells.cell]
    return found


def _above_others(values: Floats, cells: Cells) -> Floats:
    """Weights that, summed over the medical words, give how far each lies above the mean of its cell's other words."""
    scale = (cells.size / (cells.size - cells.medical))[cells.cell]
    found: Floats = (_centred(values, cells).T * scale).T
    return found


def _estimates(gains: Floats, cells: Cells, seed: int, n_resamples: int) -> list[Estimate]:
    """Both log ratios and both AUROCs, with intervals over the documents that have cells."""
    documents, which = np.unique(cells.document, return_inverse=True)
    sums = np.zeros((len(documents), 5))
    np.add.at(sums[:, :4], which.reshape(-1)[cells.cell], gains)
    np.add.at(sums[:, 4], which.reshape(-1), cells.medical)
    drawn, half = resampled_sums(sums, seed, n_resamples), np.array([0.0, 0.0, 0.5, 0.5])
    values, resampled = sums[:, :4].sum(axis=0) / sums[:, 4].sum() + half, drawn[:, :4] / drawn[:, 4:] + half
    return [estimate(value, others, len(documents)) for value, others in zip(values, resampled.T, strict=True)]


def _permuted(weights: Floats, labels: Floats, cells: Cells, seed: int, n: int) -> Floats:
    """(n, 4): the sums of weights over words whose labels were shuffled inside every cell."""
    generator = np.random.default_rng(seed)
    found = np.zeros((n, weights.shape[1]))
    for size in np.unique(cells.size):
        own = cells.size[cells.cell] == size  # cells of one size form a block of rows, to be shuffled at once
        rows, columns = labels[own].reshape(-1, size), weights[own]
        step = max(1, _AT_ONCE // rows.size)
        for start in range(0, n, step):
            stop = min(start + step, n)
            block = np.broadcast_to(rows, (stop - start, *rows.shape))
            found[start:stop] += generator.permuted(block, axis=2).reshape(stop - start, -1) @ columns
    return found
