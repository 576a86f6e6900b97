"""Two studies against each other: what differs in how they were made, in their claims, and document by document.

Where both measured the same questions, differences are paired. Knows results and findings; gives no verdicts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from core.errors import StudyError
from core.study.choice import KINDS
from core.study.differences import FEWEST, Difference, differences
from core.study.resampling import RESAMPLES
from core.study.results import Results
from core.study.settings import from_plain, to_plain
from core.study.verdicts import FEWEST_DOCUMENTS, Finding


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
class Comparison:
    """Two studies side by side.

    Attributes:
        differing: how they were made differently; empty where they agree in all of it.
        claims: of either.
        shared: documents with the same question, reasoning and reference answer in both, by corpus.
        paired: differences over shared documents, the same ones drawn from both.
        apart: differences of all documents of each study, where too few are shared.
        unpaired: what such differences mean, or why there are none; empty where every one is over shared documents.
    """

    differing: tuple[Differing, ...]
    claims: tuple[ClaimPair, ...]
    shared: dict[str, int]
    paired: tuple[Difference, ...]
    apart: tuple[Difference, ...]
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
    paired, apart = differences(a, b, documents, seed, n_resamples)
    unpaired = "" if paired and not apart else _unpaired(shared, bool(apart))
    return Comparison(differing(a.record, b.record), claims, shared, paired, apart, unpaired)


def shared_documents(a: Results, b: Results) -> pd.DataFrame:
    """Rows `document` and `corpus` of prompts that both studies measured with the same texts."""
    keys = ["document", "corpus", "question", "reference", "letter"]
    frames = [one.tables["prompts"] for one in (a, b)]
    if any(not set(keys) <= set(frame) for frame in frames):
        return pd.DataFrame(columns=keys[:2])
    keys.append("reasoning")  # earlier forms had none
    first, second = (frame.reindex(columns=keys).astype(object).fillna("") for frame in frames)
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
    made |= {
        name.replace("_", " "): str(v)
        for name, v in to_plain(from_plain(record["settings"])).items()
        if name != "corpora"
    }
    versions = record["runs"][-1]["versions"] if record["runs"] else {}
    return made | {f"version of {name}": str(version) for name, version in versions.items()}


def _unpaired(shared: dict[str, int], any_apart: bool) -> str:
    if any_apart:
        return (
            f"In what is compared here fewer than {FEWEST_DOCUMENTS} documents are the same in both studies: each "
            "study's own are drawn apart, and whatever sets them apart is part of the difference."
        )
    return (
        f"The studies share {sum(shared.values())} questions, and measured nothing on at least {FEWEST} documents of a "
        "kind in both, or nothing above noise."
    )
