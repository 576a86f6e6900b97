"""What single tokens say: divergence along the text and by how sure base was, the words it is about, and where along
the text gradients place the change.

Knows the tables `prompts`, `tokens`, `attribution` and `positions`; gives no verdicts.
"""

import numpy as np
import pandas as pd

from core.study.choice import KINDS
from core.study.described import PARTS, Described
from core.study.frames import of_corpus
from core.study.resampling import bootstrap_ratio_interval

FIFTHS = ("first fifth", "second", "third", "fourth", "last")
SURE = ("surest fifth", "second", "third", "fourth", "least sure")
"""Of the tokens, by the entropy of base's prediction."""
PARTED, TOTAL_VARIATION = "parted under one noise", "mean total variation"
Bins = np.ndarray[tuple[int], np.dtype[np.int64]]


def looked_at(tokens: pd.DataFrame, prompts: pd.DataFrame, corpus: str) -> pd.DataFrame:
    """Scored tokens of one corpus, in order: of its reference answers, and where it has none of the fine-tune's."""
    scored = tokens[tokens["part"].isin(PARTS)]
    references, tuned = (of_corpus(scored, prompts, corpus, whose) for whose in ("reference", "tuned"))
    own = references if len(references) else tuned
    return own.sort_values(["document", "token"], kind="stable").reset_index(drop=True)


def kl_along_text(tokens: pd.DataFrame, prompts: pd.DataFrame, seed: int = 0) -> tuple[Described, ...]:
    """KL(tuned‖base) per token over the fifths of each text, by corpus; texts under five tokens are left out."""
    found: list[Described] = []
    for corpus in KINDS:
        own = looked_at(tokens, prompts, corpus)
        size = own.groupby("document")["token"].transform("size")
        own = own[size >= len(FIFTHS)]
        place = own.groupby("document").cumcount() * len(FIFTHS) // size.loc[own.index]
        found += _by_bin(own, place.to_numpy(dtype=np.int64), corpus, FIFTHS, seed)
    return tuple(found)


def kl_by_entropy(tokens: pd.DataFrame, prompts: pd.DataFrame, seed: int = 0) -> tuple[Described, ...]:
    """KL(tuned‖base) per token over fifths of a corpus's tokens by the entropy of base, the surest first."""
    found: list[Described] = []
    for corpus in KINDS:
        own = looked_at(tokens, prompts, corpus)
        order = own["entropy_base"].rank(method="first").to_numpy(dtype=np.float64) - 1
        found += _by_bin(own, (order * len(SURE) // max(len(own), 1)).astype(np.int64), corpus, SURE, seed)
    return tuple(found)


def words_moved(tokens: pd.DataFrame, prompts: pd.DataFrame, corpus: str) -> pd.DataFrame:
    """Words by the terms they had at the tokens where no other word gained, or lost, as much.

    Returns:
        Columns `text`, `way` (`gained` or `lost`), `count` (of such tokens), `nats` (sum of its terms there over the
        number of all tokens looked at; below 0 where it lost), the largest of either way first.
    """
    own = looked_at(tokens, prompts, corpus)
    found = []
    for way in ("gained", "lost"):
        grouped = own.groupby(way)[f"{way}_term"].agg(["size", "sum"]).reset_index()
        moved = grouped.set_axis(["text", "count", "nats"], axis=1).assign(way=way, nats=grouped["sum"] / len(own))
        found.append(moved.sort_values(["nats", "text"], ascending=[way == "lost", True]))
    return pd.concat(found)[["text", "way", "count", "nats"]].reset_index(drop=True)


def partings(tokens: pd.DataFrame, prompts: pd.DataFrame, seed: int = 0) -> tuple[Described, ...]:
    """Share of tokens at which both models, drawing at temperature 1 under one noise, would have parted, by text.

    Beside it the mean total variation, under which no way of sharing noise can bring it. Both are over reasoning and
    answer; `group` is whose text.
    """
    if "parted" not in tokens or tokens["parted"].isna().all():
        return ()
    found: list[Described] = []
    own = tokens[tokens["part"].isin(PARTS) & tokens["parted"].notna()]
    for corpus, whose in [(corpus, whose) for corpus in KINDS for whose in ("reference", "base", "hybrid", "tuned")]:
        sums = of_corpus(own, prompts, corpus, whose).assign(parted=lambda one: one["parted"].astype(float))
        sums = sums.groupby("document")[["parted", "tv"]].agg(["sum", "size"])
        for column, what in ((PARTED, "parted"), (TOTAL_VARIATION, "tv")) if len(sums) else ():
            above, below = (sums[what][name].to_numpy(dtype=np.float64) for name in ("sum", "size"))
            found.append(Described(corpus, whose, column, bootstrap_ratio_interval(above, below, seed)))
    return tuple(found)


PLACES = {
    "prompt": "question", "template": "chat template", "format": "headings", "reasoning": "reasoning",
    "answer": "answer", "end": "end of turn",
}  # fmt: skip
"""Part of a text → what it is called."""


def change_by_place(
    positions: pd.DataFrame, attribution: pd.DataFrame, prompts: pd.DataFrame, seed: int = 0
) -> tuple[Described, ...]:
    """Share of the change that gradients attribute to the gates at each part of prompt and answer, by corpus.

    Texts are pooled as layers' attributions are: weighted by what there is to bring back. `group` is `attn` or `mlp`.
    """
    change = attribution.groupby("document")["kl_base_sum"].first()
    found: list[Described] = []
    for corpus in KINDS:
        own = of_corpus(positions, prompts, corpus)
        own = own[own["document"].isin(change[change > 0].index)]
        documents = own["document"].unique()
        weights = change.loc[documents].to_numpy(dtype=np.float64)
        sums = own.groupby(["part", "document"])[["attn", "mlp"]].sum()
        for part in (part for part in PLACES if part in sums.index.get_level_values("part")):
            shares = sums.loc[part].reindex(documents, fill_value=0.0)
            for group in ("attn", "mlp"):
                above = shares[group].to_numpy(dtype=np.float64) * weights
                found.append(Described(corpus, group, PLACES[part], bootstrap_ratio_interval(above, weights, seed)))
    return tuple(found)


def _by_bin(own: pd.DataFrame, bins: Bins, corpus: str, names: tuple[str, ...], seed: int) -> list[Described]:
    found = []
    for number, name in enumerate(names):
        sums = own[bins == number].groupby("document")["kl"].agg(["sum", "size"])
        if len(sums):
            above, below = (sums[column].to_numpy(dtype=np.float64) for column in ("sum", "size"))
            found.append(Described(corpus, corpus, name, bootstrap_ratio_interval(above, below, seed)))
    return found
