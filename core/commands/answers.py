"""The answer a command scores: given as text or ids, or written by one of the models.

Knows arguments and prompts; scores nothing.
"""

import argparse
from dataclasses import dataclass
from typing import Literal

from core.commands.common import build_prompt
from core.errors import ArgumentError
from core.generate.answers import greedy_answer
from core.pair.pair import Pair
from core.pair.parts import MASKS, Mask, Part
from core.pair.prompts import Prompt


def add_answer(parser: argparse.ArgumentParser) -> None:
    """Which answer is scored."""
    answer = parser.add_mutually_exclusive_group()
    answer.add_argument("--answer", metavar="TEXT", help="score this text")
    answer.add_argument("--answer-ids", metavar="1,2,3", help="score these token ids")
    answer.add_argument(
        "--answer-from", choices=("base", "tuned"), help="score this model's greedy answer (default: tuned)"
    )
    parser.add_argument("--end", action="store_true", help="append the end-of-turn token to a given answer")


def add_mask(parser: argparse.ArgumentParser) -> None:
    """Which tokens count."""
    parser.add_argument("--mask", choices=tuple(MASKS), default="response")


def check_answer(arguments: argparse.Namespace) -> None:
    """Refuses what does not go together, before anything is loaded."""
    if arguments.end and answer_from(arguments) != "given":
        raise ArgumentError("--end goes with --answer or --answer-ids.", "A generated answer ends by itself.")
    if arguments.answer_ids is not None:
        _parse_ids(arguments.answer_ids)


def answer_from(arguments: argparse.Namespace) -> Literal["base", "tuned", "given"]:
    """Whose text is scored."""
    if arguments.answer is not None or arguments.answer_ids is not None:
        return "given"
    return "base" if arguments.answer_from == "base" else "tuned"


def chosen_answer(arguments: argparse.Namespace, pair: Pair, prompt: Prompt) -> tuple[int, ...]:
    """The answer's token ids; decoded here where a model is to write it."""
    if arguments.answer_ids is not None:
        checked = pair.prompts.check_ids(_parse_ids(arguments.answer_ids))
        return (*checked, pair.prompts.end_ids[0]) if arguments.end else checked
    if arguments.answer is not None:
        return pair.prompts.answer_ids(arguments.answer, end=arguments.end)
    gates = pair.base_gates() if arguments.answer_from == "base" else pair.tuned_gates()
    return greedy_answer(pair, prompt, gates, arguments.max_new_tokens)


@dataclass(frozen=True)
class AnsweredText:
    """Prompt and answer as a command takes them.

    Attributes:
        prompt: the question.
        answer_ids: the answer.
        ids, parts: of both.
    """

    prompt: Prompt
    answer_ids: tuple[int, ...]
    ids: tuple[int, ...]
    parts: tuple[Part, ...]

    def predicted(self, mask: Mask) -> list[int]:
        """Indices of the tokens in a mask that something predicted."""
        return [pos for pos, part in enumerate(self.parts) if pos and part in MASKS[mask]]


def answered_text(arguments: argparse.Namespace, pair: Pair) -> AnsweredText:
    """The text the arguments describe."""
    prompt = build_prompt(arguments, pair)
    answer_ids = chosen_answer(arguments, pair, prompt)
    parts = (*prompt.parts, *pair.prompts.answer_parts(answer_ids, prompt).parts)
    return AnsweredText(prompt, answer_ids, (*prompt.ids, *answer_ids), parts)


def _parse_ids(text: str) -> list[int]:
    try:
        return [int(piece) for piece in text.split(",")]
    except ValueError as error:
        raise ArgumentError(f"--answer-ids {text!r} are not whole numbers.", "Write them as 1,2,3.") from error
