"""`why`: one token of an answer questioned: words, first choices, layers."""

import argparse

from core.commands.answers import add_answer, answer_from, answered_text, check_answer
from core.commands.common import add_output, add_pair, add_question, check_out, emit, head, open_pair, say
from core.intervene.why import layer_effects, why
from core.present.figures import FORMS
from core.present.layer_figures import why_figure
from core.present.layer_reports import WhyReport
from core.present.provenance import source_of
from core.present.texts import why_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_question(parser)
    add_answer(parser)
    parser.add_argument("--pos", type=int, required=True, metavar="N", help="index of the token, counted as in `diff`")
    parser.add_argument("--quick", action="store_true", help="without grafting each layer; effects is null")
    add_pair(parser)
    add_output(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Questions one token."""
    check_out(arguments.out, FORMS)
    check_answer(arguments)
    pair = open_pair(arguments)
    text = answered_text(arguments, pair)
    ids = text.ids
    found = why(pair, ids, arguments.pos)
    if not arguments.quick:
        say(f"grafting {pair.n_layers} layers, alone and all but one")
    report = WhyReport(
        **head(arguments, pair),
        prompt_ids=text.prompt.ids,
        answer_ids=text.answer_ids,
        answer_from=answer_from(arguments),
        why=found,
        effects=None if arguments.quick else layer_effects(pair, ids, arguments.pos),
        warnings=pair.adapter.warnings,
    )
    figure = why_figure(report, source_of(pair, arguments.question))
    emit(report, why_text(report), arguments, figure)
