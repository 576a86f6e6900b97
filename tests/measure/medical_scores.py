"""Scores the tagger against sentences marked by hand: `python -m tests.measure.medical_scores` prints the table."""

import re
from dataclasses import dataclass
from pathlib import Path

from core.measure.medical import MedicalTerms, medical_terms
from core.measure.wordforms import words

SENTENCES = Path(__file__).with_name("medical_sentences.tsv")
SPLITS = ("tune", "held", "drawn")
ROWS = ("words", "term words", "precision", "recall", "F1", "category accuracy", "spans found exactly",
        "general words tagged")  # fmt: skip
_MARK = re.compile(r"\[([^|\]]+)\|(\w+)\]")


@dataclass(frozen=True)
class Sentence:
    kind: str
    split: str
    text: str
    terms: tuple[tuple[int, int, str], ...]  # start, end, category


def sentences() -> list[Sentence]:
    lines = [line for line in SENTENCES.read_text().splitlines() if line and not line.startswith("#")]
    found = []
    for index, line in enumerate(lines):
        kind, marked = line.split("\t")
        text, terms = unmarked(marked)
        found.append(Sentence(kind, kind if kind == "drawn" else ("tune", "held")[index % 2], text, terms))
    return found


def unmarked(marked: str) -> tuple[str, tuple[tuple[int, int, str], ...]]:
    """`a [dry cough|symptom]` → `a dry cough` and where its terms stand."""
    text, terms, last = "", [], 0
    for mark in _MARK.finditer(marked):
        text += marked[last : mark.start()]
        terms.append((len(text), len(text) + len(mark[1]), mark[2]))
        text, last = text + mark[1], mark.end()
    return text + marked[last:], tuple(terms)


@dataclass(frozen=True)
class Scores:
    words: int
    term_words: int
    tagged: int
    both: int
    category_right: int
    spans: int
    spans_exact: int
    general_words: int
    general_tagged: int

    @property
    def precision(self) -> float:
        return self.both / self.tagged

    @property
    def recall(self) -> float:
        return self.both / self.term_words

    def row(self) -> dict[str, str]:
        """What the table says, by the name of its row."""
        f1 = 2 * self.precision * self.recall / (self.precision + self.recall)
        shares = (self.precision, self.recall, f1, self.category_right / self.both, self.spans_exact / self.spans)
        general = f"{self.general_tagged} of {self.general_words}" if self.general_words else "–"
        values = (str(self.words), str(self.term_words), *(f"{share:.3f}" for share in shares), general)
        return dict(zip(ROWS, values, strict=True))


def score(terms: MedicalTerms, split: str) -> Scores:
    """Word by word: inside a term or not, by hand and by tagger."""
    count = dict.fromkeys(Scores.__annotations__, 0)
    for sentence in (one for one in sentences() if one.split == split):
        tagged = [(span.start, span.end, span.category) for span in terms.tag(sentence.text)]
        count["spans"] += len(sentence.terms)
        count["spans_exact"] += len({t[:2] for t in sentence.terms} & {t[:2] for t in tagged})
        for word in words(sentence.text):
            hand, machine = (
                next((category for start, end, category in spans if start <= word.start < end), None)
                for spans in (sentence.terms, tagged)
            )
            count["words"] += 1
            count["term_words"] += hand is not None
            count["tagged"] += machine is not None
            count["both"] += hand is not None and machine is not None
            count["category_right"] += hand is not None and hand == machine
            count["general_words"] += sentence.kind == "general"
            count["general_tagged"] += sentence.kind == "general" and machine is not None
    return Scores(**count)


def table() -> str:
    columns = {split: score(medical_terms(), split).row() for split in SPLITS}
    lines = [f"| | {' | '.join(SPLITS)} |", "|---|" + "---|" * len(SPLITS)]
    lines += [f"| {name} | {' | '.join(columns[split][name] for split in SPLITS)} |" for name in ROWS]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
