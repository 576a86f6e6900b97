"""What a run shows, in plain sentences made from its numbers.

For someone who knows medicine and no machine learning. Says nothing the numbers do not say. Knows answers and
token scores.
"""

from collections.abc import Sequence

from core.generate.record import LaneAnswer
from core.measure.answers import first_divergence
from core.measure.diff import Diff
from core.measure.tokens import TokenScore
from core.present.strip import display_texts

SURPRISING_RANK = 3


def words_of_tokens(tokens: Sequence[TokenScore]) -> list[tuple[int, ...]]:
    """Numbers, from 1, of the words each token has a share in.

    Headings and end-of-turn tokens separate words and have none; a token that only continues a split character
    belongs to that character's word.
    """
    shown = [token.part in ("reasoning", "answer") for token in tokens]
    pieces = [bytes.fromhex(token.bytes) if here else b"\n" for token, here in zip(tokens, shown, strict=True)]
    count, inside = 0, False
    found: list[tuple[int, ...]] = []
    for text, here in zip(display_texts(pieces), shown, strict=True):
        own: dict[int, None] = {count: None} if here and not text and inside else {}
        for character in text:
            if character.isspace():
                inside = False
            else:
                count, inside = count + (not inside), True
                own[count] = None
        found.append(tuple(own))
    return found


def word_at(numbers: Sequence[tuple[int, ...]], index: int) -> int:
    """The word that begins or goes on at token `index`: its first one, or where it has none the next."""
    following = [number for own in numbers[index:] for number in own]
    return following[0] if following else max((n for own in numbers for n in own), default=0) + 1


def surprising_words(tokens: Sequence[TokenScore]) -> tuple[int, int]:
    """How many words hold a token that base ranks below its third choice, and how many words there are."""
    numbers = words_of_tokens(tokens)
    surprising = {
        number
        for token, own in zip(tokens, numbers, strict=True)
        if (token.rank_base or 0) > SURPRISING_RANK
        for number in own
    }
    return len(surprising), len({number for own in numbers for number in own})


def in_plain_words(base: LaneAnswer, tuned: LaneAnswer, tuned_tokens: Sequence[TokenScore]) -> str:
    """One or two sentences on how the two models' answers differ.

    Args:
        base, tuned: the two answers.
        tuned_tokens: the fine-tuned answer's tokens, scored.
    """
    written = [_without_end(answer) for answer in (base, tuned)]
    if not all(written):
        return "There are no two answers to compare."
    unfinished = (base.reasoning_finished is False, tuned.reasoning_finished is False)
    stopped = (base.finished in _CUT, tuned.finished in _CUT)
    sentence = (_UNFINISHED.get(unfinished) or _STOPPED.get(stopped, "")) + _parting(
        written, {base.finished, tuned.finished} == {"end"}, tuned_tokens, any(unfinished) or any(stopped)
    )
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


_UNFINISHED = {
    (True, True): "Neither model came to the end of its reasoning, so this is about what was written. ",
    (True, False): "Base did not come to the end of its reasoning, so this is about what was written. ",
    (False, True): "The fine-tuned model did not come to the end of its reasoning, so this is about what was written. ",
}
_CUT = ("stopped", "failed")
_STOPPED = {
    (True, True): "Both answers were stopped before their end, so this is about what was written. ",
    (True, False): "Base's answer was stopped before its end, so this is about what was written. ",
    (False, True): "The fine-tuned model's answer was stopped before its end, so this is about what was written. ",
}


def _parting(
    written: Sequence[Sequence[int]], ended: bool, tuned_tokens: Sequence[TokenScore], unfinished: bool
) -> str:
    """Where two texts part; texts that were stopped, or whose reasoning is not finished, are not called answers."""
    text, wrote = ("text", "wrote") if unfinished else ("answer", "answered")
    parted = first_divergence(*written)
    if parted is None and ended:
        return f"Both models wrote the same {text}, word for word."
    if parted is None:
        return f"As far as they were written, both {text}s are the same, word for word."
    if parted >= min(map(len, written)):
        return f"One {text} is the beginning of the other."
    word = word_at(words_of_tokens(tuned_tokens), parted)
    where = "from the first word on" if word <= 1 else f"from word {word} on"
    return f"The fine-tuned model {wrote} differently {where}."


def _without_end(answer: LaneAnswer) -> list[int]:
    return [i for i, part in zip(answer.ids, answer.parts, strict=True) if part != "end"]


def concentration_words(found: Diff) -> str:
    """Where on a text the two models differ, in one or two sentences."""
    kl, top = found.summary["kl_tuned_base"], found.concentration.top_10pct
    if kl.n == 0 or kl.mean is None:
        return "There is no token in this part of the text."
    if top is None or (kl.noise is not None and kl.mean <= kl.noise):
        return f"Over these {kl.n} tokens the two models do not differ beyond numerical noise."
    agree = found.choices.agreement or 0.0
    return (
        f"On {agree * 100:.0f} % of the {kl.n} tokens both models would have written the same next token. A tenth of "
        f"the tokens holds {top * 100:.0f} % of all divergence."
    )


LIMITS = (
    "This compares what two models write, not whether it is right. A coloured token shows that the models disagree "
    "there, not why, and not which of them is correct."
)
