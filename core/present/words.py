"""What a run shows, in plain sentences made from its numbers.

For someone who knows medicine and no machine learning. Says nothing the numbers do not say. Knows answers and
token scores.
"""

from collections.abc import Sequence

from core.generate.record import LaneAnswer
from core.measure.answers import first_divergence
from core.measure.tokens import TokenScore

SURPRISING_RANK = 3


def word_of_token(tokens: Sequence[TokenScore], index: int) -> int:
    """Number of the word, from 1, in which token `index` lies or which it begins."""
    before = b"".join(bytes.fromhex(token.bytes) for token in tokens[:index]).decode(errors="ignore")
    own = bytes.fromhex(tokens[index].bytes).decode(errors="ignore") if index < len(tokens) else " "
    begins_new = own[:1].isspace() or not before or before[-1:].isspace()
    return len(before.split()) + (1 if begins_new else 0) or 1


def surprising_words(tokens: Sequence[TokenScore]) -> tuple[int, int]:
    """How many words hold a token that base ranks below its third choice, and how many words there are.

    Headings and end-of-turn tokens are left out.
    """
    shown = [t for t in tokens if t.part in ("reasoning", "answer")]
    surprising: set[int] = set()
    total = len(b"".join(bytes.fromhex(t.bytes) for t in shown).decode(errors="ignore").split())
    words, inside = 0, False
    for token in shown:
        text = bytes.fromhex(token.bytes).decode(errors="ignore")
        if text[:1].isspace():
            inside = False
        if text.strip() and not inside:
            words, inside = words + 1, True
        if text.strip() and (token.rank_base or 0) > SURPRISING_RANK:
            surprising.add(words)
        if text[-1:].isspace():
            inside = False
    return len(surprising), total


def in_plain_words(base: LaneAnswer, tuned: LaneAnswer, tuned_tokens: Sequence[TokenScore]) -> str:
    """One or two sentences on how the two models' answers differ.

    Args:
        base, tuned: the two answers.
        tuned_tokens: the fine-tuned answer's tokens, scored.
    """
    parted = first_divergence(base.ids, tuned.ids)
    if parted is None:
        sentence = "Both models wrote the same answer, word for word."
    elif parted >= min(len(base.ids), len(tuned.ids)):
        sentence = "One answer is the beginning of the other."
    else:
        word = word_of_token(tuned_tokens, parted)
        where = "from the first word on" if word <= 1 else f"from word {word} on"
        sentence = f"The fine-tuned model answered differently {where}."
    surprising, total = surprising_words(tuned_tokens)
    if total == 0:
        return sentence
    noun = "word" if total == 1 else "words"
    if surprising == 0:
        return f"{sentence} Of its {total} {noun}, none would have surprised the base model."
    return (
        f"{sentence} Of its {total} {noun}, {surprising} would have surprised the base model: "
        "it would have put at least three other tokens first."
    )


LIMITS = (
    "This compares what two models write, not whether it is right. A coloured token shows that the models disagree "
    "there, not why, and not which of them is correct."
)
