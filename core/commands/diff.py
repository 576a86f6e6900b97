"""`diff`: where base and tuned part on one text, token by token."""

import argparse

from core.commands.answers import add_answer, add_mask, answer_from, check_answer, chosen_answer
from core.commands.common import add_output, add_pair, add_question, build_prompt, check_out, emit, head, open_pair
from core.measure.diff import diff
from core.measure.metrics import DEFAULT_COLOUR, METRICS, UNITS
from core.measure.units import GRANULARITIES
from core.present.figures import FORMS
from core.present.heatmap import heatmap
from core.present.provenance import source_of
from core.present.reports import DiffReport
from core.present.texts import diff_text

_TITLES = {"base": "The answer of Base", "tuned": "The answer of Fine-tuned", "given": "A given answer"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_question(parser)
    add_answer(parser)
    add_mask(parser)
    parser.add_argument("--metric", choices=tuple(METRICS), default=DEFAULT_COLOUR, help="colour of a picture or page")
    parser.add_argument("--granularity", choices=GRANULARITIES, default="token", help="of a picture or page")
    add_pair(parser)
    add_output(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Scores one text."""
    check_out(arguments.out, FORMS)
    check_answer(arguments)
    pair = open_pair(arguments)
    prompt = build_prompt(arguments, pair)
    answer_ids = chosen_answer(arguments, pair, prompt)
    found = diff(pair, prompt, answer_ids, arguments.mask)
    report = DiffReport(
        **head(arguments, pair),
        prompt_ids=prompt.ids,
        answer_ids=answer_ids,
        answer_text=pair.prompts.text(answer_ids),
        answer_from=answer_from(arguments),
        mask=found.mask,
        units=UNITS,
        summary=found.summary,
        summary_with_format=found.summary_with_format,
        concentration=found.concentration,
        choices=found.choices,
        by_position=found.by_position,
        by_entropy=found.by_entropy,
        by_part=found.by_part,
        reasoning_finished=found.reasoning_finished,
        warnings=pair.adapter.warnings,
        tokens=found.tokens,
    )
    title = _TITLES[report.answer_from]
    figure = heatmap(found, title, arguments.metric, arguments.granularity, source_of(pair, arguments.question))
    emit(report, diff_text(report), arguments, figure)
