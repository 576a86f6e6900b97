"""What can be counted in one answer: its length, its repetition, its words and its medical terms.

Counts of a text as it stands; whether it is right, they do not say. Knows tokens and the tagger; knows no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from core.measure.answers import repetition
from core.measure.medical import medical_terms
from core.measure.wordforms import american, words
from core.pair.parts import MASKS, AnswerParts
from core.pair.prompts import Prompt, PromptBuilder


@dataclass(frozen=True)
class AnswerFigures:
    """Counts of one answer; headings and the end-of-turn token are in none of them but `repetition`.

    Attributes:
        reasoning_tokens: tokens of the reasoning.
        answer_tokens: tokens of the answer proper; all of them where there is no reasoning.
        reasoning_finished: whether the reasoning was closed; null where there is none.
        repetition: share of repeated 4-grams of tokens, 0..1, headings included; null below four tokens.
        words: of reasoning and answer; a hyphen parts words, an apostrophe does not.
        medical_terms: distinct medical terms in reasoning and answer. A plural and a British spelling count as the
            same term, another name of the same thing as another.
    """

    reasoning_tokens: int
    answer_tokens: int
    reasoning_finished: bool | None
    repetition: float | None
    words: int
    medical_terms: int


def answer_figures(prompts: PromptBuilder, prompt: Prompt, ids: Sequence[int]) -> AnswerFigures:
    """Counts what an answer holds.

    Args:
        prompts: the pair's texts.
        prompt: the question.
        ids: the answer; it may be empty, and may have its end-of-turn token.
    """
    found = prompts.answer_parts(ids, prompt)
    pieces = [bytes.fromhex(piece.bytes) for piece in prompts.pieces(ids)]
    return count_answer(ids, found, pieces)


def count_answer(ids: Sequence[int], found: AnswerParts, pieces: Sequence[bytes]) -> AnswerFigures:
    """Counts what an answer holds from what was kept of it; needs no tokenizer.

    Args:
        ids: its tokens.
        found: their parts.
        pieces: the bytes of each.
    """
    # Stretch by stretch: what stands before a heading and after it must not grow together into one word.
    stretches = [
        b"".join(piece for _, piece in run).decode("utf-8", errors="replace")
        for part, run in groupby(zip(found.parts, pieces, strict=True), key=lambda placed: placed[0])
        if part in MASKS["response"]
    ]
    tagger = medical_terms()
    return AnswerFigures(
        reasoning_tokens=found.parts.count("reasoning"),
        answer_tokens=found.parts.count("answer"),
        reasoning_finished=found.reasoning_finished,
        repetition=repetition([i for i, part in zip(ids, found.parts, strict=True) if part != "end"]),
        words=sum(len(words(text)) for text in stretches),
        medical_terms=len({_one_spelling(span.term) for text in stretches for span in tagger.tag(text)}),
    )


def _one_spelling(term: str) -> str:
    """The term in American spelling: the lexicon has entries of some terms in both."""
    return " ".join(american(word) for word in term.split(" "))
