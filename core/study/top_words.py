"""Which words diverge most, by category, and whether reasoning diverges more than the answer.

Only words that occur often enough are listed: a mean over one occurrence ranks chance. Knows the table `words`; tests
no claim, since the words listed were chosen by what they are listed for.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.study.resampling import RESAMPLES, Estimate, bootstrap_mean_interval, bootstrap_ratio_interval, sign_flip_p

LEAST_COUNT, LEAST_DOCUMENTS = 5, 3
PARTS = ("format", "reasoning", "answer")


@dataclass(frozen=True)
class TopWord:
    """A word over all its occurrences.

    Attributes:
        form: in lower case and singular.
        count, documents: how often it occurs, and in how many documents.
        kl_mean: ΣKL(tuned‖base) over its tokens, mean over its occurrences, nats.
        kl_sum: the same summed.
        share: of the ΣKL of all words, 0..1; null where that is 0.
    """

    form: str
    count: int
    documents: int
    kl_mean: float
    kl_sum: float
    share: float | None


@dataclass(frozen=True)
class CategoryWords:
    """The words of one category.

    Attributes:
        category: of the medical terms; empty for all other words.
        words, tokens, documents: how many, and in how many documents.
        kl_sum: ΣKL(tuned‖base), nats.
        share: of the ΣKL of all words, 0..1; null where that is 0.
        per_token: nats per token, with its interval over documents.
        top: the words with the largest means among those frequent enough.
    """

    category: str
    words: int
    tokens: int
    documents: int
    kl_sum: float
    share: float | None
    per_token: Estimate
    top: tuple[TopWord, ...]


@dataclass(frozen=True)
class PartDivergence:
    """One part of the texts.

    Attributes:
        part: `format`, `reasoning` or `answer`.
        words, tokens, documents: how many, and in how many documents.
        kl_sum, share, per_token: as in `CategoryWords`.
    """

    part: str
    words: int
    tokens: int
    documents: int
    kl_sum: float
    share: float | None
    per_token: Estimate


@dataclass(frozen=True)
class Parts:
    """The parts of the texts, and reasoning against answer.

    Attributes:
        parts: those that occur, with headings first.
        difference: nats per token, reasoning − answer, over documents that have both; null without such documents.
        p: two-sided, by exchanging the two of each document; null with the difference.
    """

    parts: tuple[PartDivergence, ...]
    difference: Estimate | None
    p: float | None


def top_words(
    words: pd.DataFrame,
    *,
    with_format: bool = False,
    n: int = 20,
    least_count: int = LEAST_COUNT,
    least_documents: int = LEAST_DOCUMENTS,
    seed: int = 0,
    n_resamples: int = RESAMPLES,
) -> tuple[CategoryWords, ...]:
    """Words by category, the category with the most nats per token first.

    Args:
        words: rows of the table, of the texts wanted: choose `whose` and `corpus` before.
        with_format: whether headings count.
        n: at most so many words a category.
        least_count, least_documents: a word that occurs less often, or in fewer documents, is not listed.
        seed, n_resamples: of the bootstrap over documents.
    """
    own = words if with_format else words[~words["format"].to_numpy(dtype=bool)]
    total = float(own["score"].sum())
    found = []
    for category, rows in own.groupby("category"):
        forms = rows[rows["form"] != ""].groupby("form")
        table = forms.agg(count=("score", "size"), documents=("document", "nunique"), kl=("score", "sum"))
        table = table[(table["count"] >= least_count) & (table["documents"] >= least_documents)]
        table = table.assign(mean=table["kl"] / table["count"]).sort_values(["mean", "count"], ascending=False)
        top = tuple(
            TopWord(str(form), int(row["count"]), int(row["documents"]), float(row["mean"]), float(row["kl"]),
                    float(row["kl"]) / total if total > 0 else None)
            for form, row in table.head(n).iterrows()
        )  # fmt: skip
        found.append(CategoryWords(str(category), *_totals(rows, total, seed, n_resamples), top))
    return tuple(sorted(found, key=lambda one: -one.per_token.value))


def by_part(words: pd.DataFrame, seed: int = 0, n_resamples: int = RESAMPLES) -> Parts:
    """Divergence by part of the text, and reasoning against answer.

    Args:
        words: rows of the table, of the texts wanted.
        seed, n_resamples: of the bootstrap and the exchanges.
    """
    total = float(words["score"].sum())
    parts = tuple(
        PartDivergence(part, *_totals(rows, total, seed, n_resamples))
        for part in PARTS
        if len(rows := words[words["part"] == part])
    )
    sums = words.groupby(["document", "part"])[["score", "tokens"]].sum()
    rates = (sums["score"] / sums["tokens"]).unstack("part")
    if not {"reasoning", "answer"} <= set(rates.columns):
        return Parts(parts, None, None)
    differences = (rates["reasoning"] - rates["answer"]).dropna().sort_index().to_numpy(dtype=np.float64)
    if not len(differences):
        return Parts(parts, None, None)
    return Parts(parts, bootstrap_mean_interval(differences, seed, n_resamples), sign_flip_p(differences, seed))


def _totals(
    rows: pd.DataFrame, total: float, seed: int, n_resamples: int
) -> tuple[int, int, int, float, float | None, Estimate]:
    sums = rows.groupby("document")[["score", "tokens"]].sum().sort_index()
    kl = float(rows["score"].sum())
    per_token = bootstrap_ratio_interval(
        sums["score"].to_numpy(dtype=np.float64), sums["tokens"].to_numpy(dtype=np.float64), seed, n_resamples
    )
    return len(rows), int(sums["tokens"].sum()), len(sums), kl, kl / total if total > 0 else None, per_token
