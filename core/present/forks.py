"""A fork: one answer continued from one of its tokens with another token, under any lane's model.

Knows answers and their scores; decodes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import ArgumentError
from core.measure.tokens import Choice, TokenScore
from core.pair.prompts import PromptBuilder
from core.present.hybrids import Hybrid, lane_word
from core.present.strip import display_texts

MAX_FORKS = 4


@dataclass(frozen=True)
class Fork:
    """Where an answer is left, and for what.

    Attributes:
        parent: the lane whose answer is continued.
        at: index into that answer of the token that is replaced.
        ids: what stands there instead; one token, or those of a text a person typed.
        model: the lane whose model writes on.
    """

    parent: str
    at: int
    ids: tuple[int, ...]
    model: str

    def begun(self, answer: Sequence[int]) -> tuple[int, ...]:
        """What the fork's answer begins with."""
        return (*answer[: self.at], *self.ids)


def fork_lane(number: int) -> str:
    """The lane of a run's fork, from 1."""
    return f"fork-{number}"


def coloured_lane(lane: str, fork: Fork | None) -> str:
    """A lane's name as colours and marks go by it: `base-fork-1` is a fork that base writes."""
    return lane if fork is None else f"{fork.model}-{lane}"


def fork_title(lane: str, fork: Fork, tokens: Sequence[TokenScore], hybrids: Sequence[Hybrid]) -> str:
    """The fork's name with where it leaves which answer, with what, and who writes on.

    Args:
        lane: `fork-1` and so on.
        fork: how it was begun.
        tokens: of its own answer.
        hybrids: of the run.
    """
    return fork_said(lane, fork, "".join(_texts(tokens)[fork.at : fork.at + len(fork.ids)]), hybrids)


def fork_said(lane: str, fork: Fork, put_in: str, hybrids: Sequence[Hybrid]) -> str:
    """As `fork_title`, from the text that was put in."""
    parent, model = lane_word(fork.parent, hybrids), lane_word(fork.model, hybrids)
    start = f"from token {fork.at} with {quoted(put_in)}"
    own = fork.model == fork.parent
    whole = f"{model} {start}" if own else f"{parent}'s answer {start}, {model} writes on"
    return f"{lane_word(lane, hybrids)}: {whole}"


def fork_words(fork: Fork, hybrids: Sequence[Hybrid]) -> str:
    """How far a fork is its parent's answer."""
    parent = lane_word(fork.parent, hybrids)
    if fork.at == 0:
        return f"Leaves {parent}'s answer at its first token."
    return f"{fork.at} {'token' if fork.at == 1 else 'tokens'} as in {parent}'s answer."


def quoted(text: str) -> str:
    """A piece of text between quotes, line breaks and tabs made visible."""
    return f"“{text.replace(chr(10), '↵').replace(chr(9), '⇥')}”"


def token_text(tokens: Sequence[TokenScore], index: int) -> str:
    """What a token of an answer shows: quoted, or that the answer ends there."""
    return "its end" if tokens[index].part == "end" else quoted(_texts(tokens)[index])


def _texts(tokens: Sequence[TokenScore]) -> list[str]:
    return display_texts([bytes.fromhex(token.bytes) for token in tokens])


def checked_fork(fork: Fork, answer: Sequence[int], lanes: Sequence[str], end_ids: Sequence[int]) -> Fork:
    """The fork, if the answer can be continued so.

    Args:
        fork: as asked.
        answer: the parent's tokens.
        lanes: of the run, whose models may write on.
        end_ids: tokens that end a turn.

    Raises:
        ArgumentError: lane, model or token does not exist, nothing is put in, or what is put in is what stood there.
    """
    if fork.parent not in lanes or fork.model not in lanes:
        missing = fork.parent if fork.parent not in lanes else fork.model
        raise ArgumentError(f"There is no lane {missing!r}.", f"Use one of {', '.join(lanes)}.")
    if not 0 <= fork.at < len(answer):
        raise ArgumentError(
            f"The answer of {fork.parent} has no token {fork.at}.", f"It has tokens 0 to {len(answer) - 1}."
        )
    if not fork.ids:
        raise ArgumentError("Nothing is put in at the fork.", "Name a token or a text.")
    if any(token in end_ids for token in fork.ids):
        raise ArgumentError("An answer cannot be continued after its end.", "Put in another token.")
    same = tuple(answer[fork.at : fork.at + len(fork.ids)]) == fork.ids
    if same and fork.model == fork.parent:
        raise ArgumentError(
            f"{fork.parent} has written just that at token {fork.at}.", "Put in another token, or choose another model."
        )
    return fork


def first_choice(token: TokenScore, model: str) -> Choice:
    """What base or tuned would have written in place of a token.

    Raises:
        ArgumentError: the token has no scores yet, or `model` is neither.
    """
    if model not in ("base", "tuned"):
        raise ArgumentError(f"First choices are known of base and tuned, not of {model!r}.", "Name one of them.")
    choices = token.top_base if model == "base" else token.top_tuned
    if not choices:
        raise ArgumentError(f"Token {token.pos} has no scores yet.", "Wait until the answer is written.")
    return choices[0]


def typed_ids(prompts: PromptBuilder, text: str) -> tuple[int, ...]:
    """A typed text as tokens to put in; blanks at its beginning count.

    Raises:
        ArgumentError: it is empty.
    """
    if not text:
        raise ArgumentError("Nothing was typed.", "Type what stands there instead; a word begins with a blank.")
    return prompts.answer_ids(text, end=False)


def fork_from(text: str) -> tuple[str, int, str | None, str | None]:
    """Lane, index, text to put in and model of a fork as the command line writes it.

    `12` or `base:12` puts the other model's first choice into base's answer at token 12; `base:12=text` a text;
    `base:12>tuned` has fine-tuned write on, `base:12=text>tuned` both.

    Raises:
        ArgumentError: it is not understood.
    """
    place, equals, rest = text.partition("=")
    target, arrow, model = (rest if equals else place).rpartition(">")
    if not arrow:
        target, model = (rest if equals else place), ""
    lane, colon, index = (place if equals else target).rpartition(":")
    try:
        at = int(index)
    except ValueError as error:
        raise ArgumentError(
            f"The fork {text[:80]!r} is not understood.",
            "Write [LANE:]INDEX[=TEXT][>MODEL]: 5, tuned:5, 5>tuned or base:5= heart.",
        ) from error
    return (lane if colon else "base"), at, (target if equals else None), model or None
