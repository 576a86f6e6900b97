"""The words of a scored text, each with its divergence and what it is to be matched on.

Knows token scores and the tagger; knows no model.
"""

import codecs
from collections.abc import Sequence

from core.measure.medical import categories_of_units, medical_terms
from core.measure.tokens import TokenScore
from core.measure.units import Unit, units
from core.measure.word_frequency import log_frequency
from core.measure.wordforms import words
from core.study.schema import Row

_SHOWN = ("format", "reasoning", "answer")


def word_rows(tokens: Sequence[TokenScore]) -> list[Row]:
    """One row a word of an answer, in order.

    Args:
        tokens: the answer's tokens with their scores, without the prompt.

    Returns:
        Rows of the table `words` but for its key. A word's `score` is ΣKL(tuned‖base) over its tokens, `base_entropy`
        that of the prediction of its first token. Spaces alone and end-of-turn tokens are no words.
    """
    texts = token_texts(tokens)
    found = [unit for unit in units(tokens, texts, "word") if unit.part in _SHOWN]
    # What a heading parts must not be tagged as one term, so a heading is a line of its own to the tagger.
    shown = ["\n" + " " * (len(unit.text) - 1) if unit.part == "format" and unit.text else unit.text for unit in found]
    categories = categories_of_units(medical_terms().tag("".join(shown)), shown)
    kept = [(unit, category) for unit, category in zip(found, categories, strict=True) if unit.text.strip()]
    own = [index for index, (unit, _) in enumerate(kept) if unit.part != "format"]
    place = {index: k / max(len(own) - 1, 1) for k, index in enumerate(own)}
    return [
        _row(number, unit, category, place.get(number, 0.0), tokens) for number, (unit, category) in enumerate(kept)
    ]


def token_texts(tokens: Sequence[TokenScore]) -> list[str]:
    """What each token adds to the text; joined they are the text, a split character stands with its last token."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    texts = [decoder.decode(bytes.fromhex(token.bytes) if token.part != "end" else b"") for token in tokens]
    if texts:
        texts[-1] += decoder.decode(b"", final=True)
    return texts


def _row(number: int, unit: Unit, category: str | None, place: float, tokens: Sequence[TokenScore]) -> Row:
    text = unit.text.strip()
    first = tokens[unit.first]
    return {
        "word": number,
        "text": text,
        "form": " ".join(word.form for word in words(text)),
        "part": unit.part,
        "medical": category is not None,
        "category": category or "",
        "format": unit.part == "format",
        "first_token": unit.first,
        "tokens": unit.last - unit.first + 1,
        "position": place,
        "frequency": log_frequency(text),
        "score": unit.values["kl_tuned_base"],
        "kl_reverse": unit.values["kl_base_tuned"],
        "js": unit.values["js"],
        "delta_logp": unit.values["delta_logp"],
        "base_entropy": first.entropy_base,
        "tuned_entropy": first.entropy_tuned,
        "rank_class": unit.values["rank_class"],
    }
