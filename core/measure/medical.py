"""Medical terms in a text: which words are diseases, symptoms, drugs, parts of the body or procedures.

A dictionary look-up, longest match first, over a lexicon compiled from MeSH, HPO, DOID and lists of drug names
(assets/lexicon). It highlights and counts; it does not understand: a term is tagged wherever it stands, negated or
not. Knows texts; knows no model. How well it does is measured in docs/tagger.md.
"""

import functools
import gzip
import re
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from core.errors import DataError
from core.measure.wordforms import Word, american, words
from core.pair.home import ASSETS

Category = Literal["disease", "symptom", "drug", "anatomy", "procedure"]
CATEGORIES: tuple[Category, ...] = get_args(Category)
LEXICON = ASSETS / "lexicon" / "medical_terms.tsv.gz"

ACRONYM = "A"  # counts only in capitals as written
NO_TERM = "-"  # in place of a category: an everyday expression that holds words of the lexicon
IN_CONTEXT = "W"  # an everyday word: counts only where its sentence has a term that is none
_GAP = re.compile(r"(?:['’]s?)?(?:[ \t\u00a0]*\n?[ \t\u00a0]*|[-‐‑–])", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?…](?=[\s\"'’”)\]]|$)|\n")
_HYPHEN_BEFORE, _HYPHEN_AFTER = re.compile(r"\w[-‐‑–]$"), re.compile(r"[-‐‑–]\w")
_SHOUTED = 5  # letters: a word so long in capitals is a heading, not an acronym


@dataclass(frozen=True)
class TermSpan:
    """A medical term where it stands in a text.

    Attributes:
        start, end: its characters, `end` excluded.
        category: what it is.
        term: the lexicon's entry: lower case and singular; acronyms in capitals.
    """

    start: int
    end: int
    category: Category
    term: str


@dataclass(frozen=True)
class _Match:
    span: TermSpan
    in_context: bool


class MedicalTerms:
    """A lexicon ready to tag texts. It never changes, so any number of threads can share one.

    Args:
        entries: term → (category or None, flags); an entry without a category keeps its words from being tagged; its
            words are as `word_form` writes them, with one space between; acronyms are as people write them.
        header: where the entries come from.
    """

    def __init__(self, entries: dict[str, tuple[Category | None, str]], header: str = "") -> None:
        self.header = header
        self._entries = entries
        self._vocabulary: set[str] = set()
        self._longest: dict[str, int] = {}
        for term in entries:
            parts = term.split(" ")
            self._vocabulary.update(parts)
            if len(parts) > self._longest.get(parts[0], 0):
                self._longest[parts[0]] = len(parts)

    def __len__(self) -> int:
        return len(self._entries)

    @classmethod
    def load(cls, path: Path | None = None) -> "MedicalTerms":
        """Reads a lexicon; without a path, the one that comes with the project.

        Raises:
            DataError: the file is missing, or a line of it is no entry.
        """
        path = path or LEXICON
        try:
            lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
            raise DataError(f"The lexicon {path} cannot be read: {error}.", "Restore the file from the repository.")
        header = [line for line in lines if line.startswith("#")]
        return cls(_entries_of(lines[len(header) :], path), "\n".join(header))

    def tag(self, text: str) -> tuple[TermSpan, ...]:
        """The terms of a text in order; none overlaps another."""
        found = list(self._matches(text))
        ends = [match.start() for match in _SENTENCE_END.finditer(text)]
        medical = {bisect_right(ends, match.span.start) for match in found if not match.in_context}
        return tuple(
            match.span for match in found if not match.in_context or bisect_right(ends, match.span.start) in medical
        )

    def _matches(self, text: str) -> Iterator[_Match]:
        found = words(text)
        forms = [self._known(word.form) for word in found]
        index = 0
        while index < len(found):
            length, match = self._longest_at(text, found, forms, index)
            if match:
                yield match
            index += length

    def _known(self, form: str) -> str:
        """The form itself where the lexicon has it, else its American spelling."""
        return form if form in self._vocabulary else american(form)

    def _longest_at(self, text: str, found: list[Word], forms: list[str], index: int) -> tuple[int, _Match | None]:
        """The longest entry that begins at a word: how many words to go on, and its match if it is a term."""
        start = found[index].start
        for length in range(_reach(text, found, index, self._longest.get(forms[index], 0)), 0, -1):
            term = " ".join(forms[index : index + length])
            if term not in self._entries:
                continue
            category, flags = self._entries[term]
            if category is None:
                return length, None
            end = found[index + length - 1].end
            if not (IN_CONTEXT in flags and _is_hyphenated(text, start, end)):
                return length, _Match(TermSpan(start, end, category, term), IN_CONTEXT in flags)
        return 1, self._acronym_at(found, index)

    def _acronym_at(self, found: list[Word], index: int) -> _Match | None:
        word = found[index]
        for exact in (word.exact, word.exact.removesuffix("s")):
            category, flags = self._entries.get(exact, (None, ""))
            if category and ACRONYM in flags and not _is_shouted(found, index):
                return _Match(TermSpan(word.start, word.end, category, exact), IN_CONTEXT in flags)
        return None


@functools.cache
def medical_terms() -> MedicalTerms:
    """The project's own lexicon, read once per process."""
    return MedicalTerms.load()


def categories_of_units(spans: Sequence[TermSpan], texts: Sequence[str]) -> tuple[Category | None, ...]:
    """What each unit of a text belongs to.

    Args:
        spans: the terms of the whole text, as `tag` gives them.
        texts: consecutive units (tokens, words); joined they are the text.

    Returns:
        One for each unit: the category of the first term that shares a character with it that is no space; None
        where no term does.
    """
    found: list[Category | None] = []
    start = first = 0
    for text in texts:
        end = start + len(text)
        while first < len(spans) and spans[first].end <= start:
            first += 1
        found.append(None)
        for span in spans[first:]:
            if span.start >= end:
                break
            if text[max(span.start - start, 0) : span.end - start].strip():
                found[-1] = span.category
                break
        start = end
    return tuple(found)


def _reach(text: str, found: list[Word], index: int, most: int) -> int:
    """How many words from one on stand apart by no more than a space, a line break or a hyphen; at most `most`."""
    reach = min(most, 1)
    while reach < most and index + reach < len(found):
        if not _GAP.fullmatch(text, found[index + reach - 1].end, found[index + reach].start):
            break
        reach += 1
    return reach


def _is_hyphenated(text: str, start: int, end: int) -> bool:
    """Whether a hyphen ties the stretch to another word."""
    return bool(_HYPHEN_BEFORE.search(text[max(start - 2, 0) : start]) or _HYPHEN_AFTER.match(text[end : end + 2]))


def _is_shouted(found: list[Word], index: int) -> bool:
    """Whether a neighbouring word of some length is in capitals too, so that capitals mean nothing here."""
    beside = [*found[max(index - 1, 0) : index], *found[index + 1 : index + 2]]
    return any(word.exact.isupper() and word.exact.isalpha() and len(word.exact) >= _SHOUTED for word in beside)


def _entries_of(lines: Iterable[str], path: Path) -> dict[str, tuple[Category | None, str]]:
    entries: dict[str, tuple[Category | None, str]] = {}
    known: dict[str, Category | None] = {NO_TERM: None, **{category: category for category in CATEGORIES}}
    for line in lines:
        term, _, rest = line.partition("\t")
        category, _, flags = rest.partition("\t")
        if not term or category not in known:
            raise DataError(f"{path} has a line that is no entry: {line[:80]!r}.", "Compile the lexicon again.")
        entries[term] = (known[category], flags)
    return entries
