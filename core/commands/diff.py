"""`diff`: where base and tuned part on one text, token by token."""

import argparse

from core.commands.common import add_output, add_pair, add_question, build_prompt, check_out, emit, head, open_pair
from core.errors import ArgumentError
from core.generate.answers import greedy_answer
from core.measure.diff import diff
from core.measure.metrics import UNITS
from core.pair.pair import Pair
from core.pair.parts import MASKS
from core.pair.prompts import Prompt
from core.present.reports import DiffReport
from core.present.texts import diff_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_question(parser)
    answer = parser.add_mutually_exclusive_group()
    answer.add_argument("--answer", metavar="TEXT", help="score this text")
    answer.add_argument("--answer-ids", metavar="1,2,3", help="score these token ids")
    answer.add_argument(
        "--answer-from", choices=("base", "tuned"), help="score this model's greedy answer (default: tuned)"
    )
    parser.add_argument("--end", action="store_true", help="append the end-of-turn token to a given answer")
    parser.add_argument("--mask", choices=tuple(MASKS), default="response")
    add_pair(parser)
    add_output(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Scores one text."""
    check_out(arguments.out, ("json", "csv"))
    given = arguments.answer is not None or arguments.answer_ids is not None
    if arguments.end and not given:
        raise ArgumentError("--end goes with --answer or --answer-ids.", "A generated answer ends by itself.")
    ids = parse_ids(arguments.answer_ids) if arguments.answer_ids is not None else None
    pair = open_pair(arguments)
    prompt = build_prompt(arguments, pair)
    answer_ids = _answer(arguments, pair, prompt, ids)
    found = diff(pair, prompt, answer_ids, arguments.mask)
    report = DiffReport(
        **head(arguments, pair),
        prompt_ids=prompt.ids,
        answer_ids=answer_ids,
        answer_text=pair.prompts.text(answer_ids),
        answer_from="given" if given else arguments.answer_from or "tuned",
        mask=found.mask,
        units=UNITS,
        summary=found.summary,
        summary_with_format=found.summary_with_format,
        concentration=found.concentration,
        choices=found.choices,
        by_position=found.by_position,
        by_entropy=found.by_entropy,
        reasoning_finished=found.reasoning_finished,
        warnings=pair.adapter.warnings,
        tokens=found.tokens,
    )
    emit(report, diff_text(report), arguments)


def parse_ids(text: str) -> list[int]:
    """Token ids from `1,2,3`."""
    try:
        return [int(piece) for piece in text.split(",")]
    except ValueError as error:
        raise ArgumentError(f"--answer-ids {text!r} are not whole numbers.", "Write them as 1,2,3.") from error


def _answer(arguments: argparse.Namespace, pair: Pair, prompt: Prompt, ids: list[int] | None) -> tuple[int, ...]:
    if ids is not None:
        checked = pair.prompts.check_ids(ids)
        return (*checked, pair.prompts.end_ids[0]) if arguments.end else checked
    if arguments.answer is not None:
        return pair.prompts.answer_ids(arguments.answer, end=arguments.end)
    gates = pair.base_gates() if arguments.answer_from == "base" else pair.tuned_gates()
    return greedy_answer(pair, prompt, gates, arguments.max_new_tokens)
