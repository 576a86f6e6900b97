"""Two studies against each other: what differs in how they were made, in their claims, and document by document.

Where both measured the same questions, differences are paired: one bootstrap draws the same documents from both. Knows
results and findings; gives no verdicts of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from core.errors import StudyError
from core.study.choice import KINDS
from core.study.curves import layer_sums
from core.study.depth import centre_of_mass, layer_curve
from core.study.frames import TIMES_NOISE, of_corpus
from core.study.resampling import RESAMPLES, Estimate, Floats, estimate, resampled_sums
from core.study.results import Results
from core.study.verdicts import Finding

FEWEST_IN_COMMON = 2


@dataclass(frozen=True)
class Differing:
    """Something in which two studies were made differently, as text.

    Attributes:
        what: which setting, model, corpus or version.
        a, b: in each study; `–` where one has none.
    """

    what: str
    a: str
    b: str


@dataclass(frozen=True)
class ClaimPair:
    """One claim in both studies.

    Attributes:
        number: `1a`, `1b`, …: the question, then the claim.
        claim: a sentence that can be false.
        a, b: the finding of each study; null where it has nothing on it.
    """

    number: str
    claim: str
    a: Finding | None
    b: Finding | None


@dataclass(frozen=True)
class Difference:
    """One number of both studies on the documents they share.

    Attributes:
        what: which number.
        corpus: `medical` or `general`.
        unit: of all three.
        a, b: in each study, over the shared documents.
        difference: b − a with its interval, resampling shared documents.
    """

    what: str
    corpus: str
    unit: str
    a: float
    b: float
    difference: Estimate


@dataclass(frozen=True)
class Comparison:
    """Two studies side by side.

    Attributes:
        differing: how they were made differently; empty where they agree in all of it.
        claims: of either.
        shared: documents with the same question and reference answer in both, by corpus.
        paired: differences over shared documents; empty where there are too few.
        unpaired: why claims cannot be compared document by document; empty where they can.
    """

    differing: tuple[Differing, ...]
    claims: tuple[ClaimPair, ...]
    shared: dict[str, int]
    paired: tuple[Difference, ...]
    unpaired: str


def compare(
    a: Results, b: Results, found_a: Sequence[Finding], found_b: Sequence[Finding], n_resamples: int = RESAMPLES
) -> Comparison:
    """Sets two studies against each other.

    Args:
        a, b: the studies.
        found_a, found_b: their findings.
        n_resamples: of the bootstrap; the seed is the first study's.

    Raises:
        StudyError: it is the same folder twice, or they have neither a claim nor a document in common.
    """
    if a.folder.resolve() == b.folder.resolve():
        raise StudyError(f"{a.folder} is given twice.", "Give two studies.")
    own, other = {one.number: one for one in found_a}, {one.number: one for one in found_b}
    documents = shared_documents(a, b)
    if not len(documents) and not set(own) & set(other):
        raise StudyError(
            f"The studies in {a.folder} and {b.folder} have no claim and no document in common.",
            "Compare studies that measured the same things.",
        )
    claims = tuple(
        ClaimPair(number, (own.get(number) or other[number]).claim, own.get(number), other.get(number))
        for number in sorted(own | other)
    )
    shared: dict[str, int] = {kind: int((documents["corpus"] == kind).sum()) for kind in KINDS}
    seed = int(a.record["settings"]["seed"])
    paired = _paired(a, b, documents, seed, n_resamples)
    unpaired = "" if paired else _why_not(shared)
    return Comparison(differing(a.record, b.record), claims, shared, paired, unpaired)


def shared_documents(a: Results, b: Results) -> pd.DataFrame:
    """Rows `document` and `corpus` of prompts that both studies measured with the same texts."""
    keys = ["document", "corpus", "question", "reference"]
    frames = [one.tables["prompts"] for one in (a, b)]
    if any(not set(keys) <= set(frame) for frame in frames):
        return pd.DataFrame(columns=keys[:2])
    first, second = (frame[keys].fillna("") for frame in frames)
    return first.merge(second, on=keys)[keys[:2]].sort_values("document", ignore_index=True)


def differing(a: dict[str, Any], b: dict[str, Any]) -> tuple[Differing, ...]:
    """In which settings, corpora, models and versions two records of studies differ."""
    first, second = _made(a), _made(b)
    names = list(dict.fromkeys([*first, *second]))
    rows = [Differing(name, first.get(name, "–"), second.get(name, "–")) for name in names]
    return tuple(row for row in rows if row.a != row.b)


def _made(record: dict[str, Any]) -> dict[str, str]:
    facts = ("base_id", "base_sha256", "tuned_id", "tuned_sha256", "template_sha256", "device", "dtype")
    made = {name.replace("_", " ").replace("tuned", "fine-tune"): str(record["facts"][name]) for name in facts}
    made |= {
        f"{one['kind']} corpus {k}": f"{one['name']}, {one['rows']} rows, {one['sha256']}"
        for kind in KINDS
        for k, one in enumerate((c for c in record["corpora"] if c["kind"] == kind), start=1)
    }
    made |= {name.replace("_", " "): str(v) for name, v in record["settings"].items() if name != "corpora"}
    versions = record["runs"][-1]["versions"] if record["runs"] else {}
    return made | {f"version of {name}": str(version) for name, version in versions.items()}


def _why_not(shared: dict[str, int]) -> str:
    n = sum(shared.values())
    if not n:
        return "The studies share no question, so their numbers are unpaired: the difference has no interval here."
    return f"The studies share {n} questions but measured nothing in common on at least {FEWEST_IN_COMMON} of a kind."


def _paired(a: Results, b: Results, documents: pd.DataFrame, seed: int, n_resamples: int) -> tuple[Difference, ...]:
    found: list[Difference] = []
    for corpus in KINDS:
        own = documents.loc[documents["corpus"] == corpus, "document"]
        for what, unit, column in (
            ("change of the loss on reference answers", "nats per token", "change"),
            ("KL(tuned‖base) on reference answers", "nats per token", "kl_sum"),
        ):
            sums = [_answer_sums(one, corpus, column) for one in (a, b)]
            found += _ratio(what, corpus, unit, sums, own, seed, n_resamples)
        sums = [_drifts(one) for one in (a, b)]
        found += _ratio("drift of the states, over all layers", corpus, "ratio", sums, own, seed, n_resamples)
        found += _centres(a, b, corpus, own, seed, n_resamples)
    return tuple(found)


def _answer_sums(results: Results, corpus: str, column: str) -> pd.DataFrame:
    """`above` and `below` of a ratio by document."""
    if "answers" not in results.tables:
        return pd.DataFrame(columns=["above", "below"])
    answers = of_corpus(results.tables["answers"], results.tables["prompts"], corpus, "reference")
    answers = answers.assign(change=answers["nll_tuned_sum"] - answers["nll_base_sum"]).set_index("document")
    return answers[[column, "tokens"]].set_axis(["above", "below"], axis=1)


def _of_references(results: Results, name: str) -> pd.DataFrame:
    """Rows of a table on reference answers: only those are the same text in both studies."""
    table = results.tables[name]
    return table[table["whose"] == "reference"]


def _drifts(results: Results) -> pd.DataFrame:
    if "representations" not in results.tables:
        return pd.DataFrame(columns=["above", "below"])
    mean = _of_references(results, "representations").groupby("document")["drift_norm"].mean()
    return pd.DataFrame({"above": mean, "below": 1.0})


def _ratio(
    what: str, corpus: str, unit: str, sums: Sequence[pd.DataFrame], documents: pd.Series, seed: int, n: int
) -> list[Difference]:
    both = sums[0].add_suffix("_a").join(sums[1].add_suffix("_b"), how="inner")
    both = both.loc[both.index.intersection(documents).sort_values()].dropna()
    if len(both) < FEWEST_IN_COMMON:
        return []
    values = both.to_numpy(dtype=np.float64)
    drawn = resampled_sums(values, seed, n)
    (first, second), change = _two(values.sum(axis=0)), np.subtract(*_two(drawn)[::-1])
    effect = estimate(float(second - first), change, len(both))
    return [Difference(what, corpus, unit, float(first), float(second), effect)]


def _two(sums: Floats) -> tuple[Floats, Floats]:
    return sums[..., 0] / sums[..., 1], sums[..., 2] / sums[..., 3]


def _centres(a: Results, b: Results, corpus: str, documents: pd.Series, seed: int, n: int) -> list[Difference]:
    if not all("layers" in one.tables for one in (a, b)):
        return []
    wide = [layer_sums(_of_references(one, "layers"), one.tables["prompts"], corpus, "single") for one in (a, b)]
    index = wide[0].index.intersection(wide[1].index).intersection(documents).sort_values()
    noisy = [
        own.loc[index, "kl_base_sum"].sum() <= TIMES_NOISE * one.floors.kl * own.loc[index, "tokens"].sum()
        for own, one in zip(wide, (a, b), strict=True)
    ]
    if len(index) < FEWEST_IN_COMMON or any(noisy):
        return []
    sums = [own.loc[index].to_numpy(dtype=np.float64) for own in wide]
    values = [float(_centre(own.sum(axis=0))) for own in sums]
    # The same seed and number of documents draw the same documents in both.
    drawn = [_centre(resampled_sums(own, seed, n)) for own in sums]
    if not np.isfinite(values).all():
        return []
    change = estimate(values[1] - values[0], drawn[1] - drawn[0], len(index))
    return [Difference("centre of recovery by single layers", corpus, "of the depth", values[0], values[1], change)]


def _centre(sums: Floats) -> Floats:
    return centre_of_mass(layer_curve(sums[..., :-2], sums[..., -2], "single"))
