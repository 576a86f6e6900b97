"""Tokens, words or sentences: the stretches of a text that carry one value.

A word's divergence is the sum over its tokens (they are steps of one word), its rank class the highest of them; of
other metrics it is the mean. Knows token scores; knows no model.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from core.measure.metrics import METRICS
from core.measure.tokens import TokenScore

GRANULARITIES = ("token", "word", "sentence")
SUMMED = ("kl_tuned_base", "kl_base_tuned", "js", "delta_logp")
_SENTENCE_END = re.compile(r"[.!?…:][\"')\]]*$")


@dataclass(frozen=True)
class Unit:
    """A stretch of consecutive tokens.

    Attributes:
        first, last: indices of its tokens, both included.
        text: of all of them.
        part: of the first.
        values: metric → its value; None where no token is scored.
    """

    first: int
    last: int
    text: str
    part: str
    values: dict[str, float | None]


def units(tokens: Sequence[TokenScore], texts: Sequence[str], granularity: str) -> tuple[Unit, ...]:
    """A text cut into units; joined they are the text again.

    Args:
        tokens: the tokens.
        texts: what each shows, one a token; joined they are the text.
        granularity: `token`, `word` or `sentence`. A word begins after white space and ends where the part changes;
            a sentence ends with a word that ends in . ! ? … or :, or with a line break. Over sentences every metric is
            the mean over tokens, for a sum would grow with length.
    """
    cuts = _starts(tokens, texts, granularity)
    ends = [*cuts[1:], len(tokens)] if cuts else []
    return tuple(_unit(tokens, texts, start, end, granularity) for start, end in zip(cuts, ends, strict=True))


def _starts(tokens: Sequence[TokenScore], texts: Sequence[str], granularity: str) -> list[int]:
    if not tokens:
        return []
    found = [0]
    before = texts[0]
    for index in range(1, len(tokens)):
        changed = tokens[index].part != tokens[index - 1].part
        opens = texts[index][:1].isspace() or before[-1:].isspace() or not before.strip()
        if granularity == "token" or changed or (opens and (granularity == "word" or _ended(before))):
            found.append(index)
            before = ""
        before += texts[index]
    return found


def _ended(text: str) -> bool:
    return bool(_SENTENCE_END.search(text.rstrip())) or "\n" in text[len(text.rstrip()) :]


def _unit(tokens: Sequence[TokenScore], texts: Sequence[str], start: int, end: int, granularity: str) -> Unit:
    values: dict[str, float | None] = {}
    for name in METRICS:
        own = [value for token in tokens[start:end] if (value := getattr(token, name)) is not None]
        summed = granularity == "word" and name in SUMMED
        if own and METRICS[name].steps and granularity != "sentence":
            values[name] = max(own)
        else:
            values[name] = (sum(own) / (1 if summed else len(own))) if own else None
    return Unit(start, end - 1, "".join(texts[start:end]), tokens[start].part, values)
