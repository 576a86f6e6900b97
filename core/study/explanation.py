"""How much of a text explains: words that tie a cause or a contrast, and the share that is reasoning.

A word list, not a judgement: `since` counts whether it means time or cause, and a reason given without any such word
does not count. Knows text; knows no model.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

CAUSAL = (
    "because", "since", "so", "therefore", "thus", "hence", "consequently", "accordingly", "as a result", "thereby",
    "which is why", "that is why", "due to", "owing to", "leads to", "caused by", "for this reason",
)  # fmt: skip
CONTRASTIVE = (
    "but", "although", "though", "whereas", "while", "however", "yet", "unless", "instead", "rather than", "despite",
    "in contrast", "on the other hand", "nevertheless", "nonetheless", "otherwise", "even if",
)  # fmt: skip
CONNECTIVES = re.compile(
    r"(?<!\w)(?:" + "|".join(phrase.replace(" ", r"\s+") for phrase in (*CAUSAL, *CONTRASTIVE)) + r")(?!\w)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Explanation:
    """How much of one answer explains.

    Attributes:
        connectives: causal and contrastive connectives in it.
        words: its words, parted by white space.
        per_100_words: connectives per 100 words; null without words.
        reasoning_share: share of its words that are reasoning, 0..1; null without words.
    """

    connectives: int
    words: int
    per_100_words: float | None
    reasoning_share: float | None


def explanation(parts: Sequence[tuple[str, str]]) -> Explanation:
    """The explanation score of an answer.

    Args:
        parts: consecutive (part, text) of it, such as ("reasoning", …), ("answer", …); headings, templates and
            end-of-turn tokens left out.
    """
    words = sum(len(text.split()) for _, text in parts)
    connectives = sum(len(CONNECTIVES.findall(text)) for _, text in parts)
    if not words:
        return Explanation(connectives, 0, None, None)
    reasoning = sum(len(text.split()) for part, text in parts if part == "reasoning")
    return Explanation(connectives, words, 100 * connectives / words, reasoning / words)
