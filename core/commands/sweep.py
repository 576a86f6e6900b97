"""`sweep`: many sets of layers grafted on one text, and how much of the fine-tune each brings back."""

import argparse
import time

from core.commands.answers import add_answer, add_mask, answer_from, answered_text, check_answer
from core.commands.common import add_output, add_pair, add_question, check_out, emit, head, open_pair
from core.errors import TooLongError
from core.intervene.plans import KINDS, sweep_plans
from core.intervene.recovery import sweep
from core.pair.gates import DIRECTIONS, PARTS
from core.present.figures import FORMS
from core.present.layer_figures import sweep_figure
from core.present.layer_reports import SweepReport
from core.present.provenance import source_of
from core.present.texts import sweep_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_question(parser)
    add_answer(parser)
    add_mask(parser)
    parser.add_argument("--kind", choices=KINDS, required=True, help="which sets of layers")
    parser.add_argument("--width", type=int, default=3, help="layers in a window")
    parser.add_argument("--direction", choices=DIRECTIONS, default=DIRECTIONS[0], help="what is grafted into what")
    parser.add_argument("--part", choices=(*PARTS, "each"), default="both", help="each: attn and mlp apart")
    add_pair(parser)
    add_output(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs one sweep."""
    check_out(arguments.out, FORMS)
    check_answer(arguments)
    pair = open_pair(arguments)
    plans = sweep_plans(arguments.kind, pair.n_layers, arguments.part, arguments.direction, arguments.width)
    text = answered_text(arguments, pair)
    predicted = text.predicted(arguments.mask)
    if len(text.ids) > pair.max_positions:
        raise TooLongError(
            f"Prompt and answer have {len(text.ids):,} tokens.", f"The context holds {pair.max_positions:,}."
        )
    started = time.perf_counter()
    found = sweep(pair, text.ids, predicted, plans)
    report = SweepReport(
        **head(arguments, pair),
        prompt_ids=text.prompt.ids,
        answer_ids=text.answer_ids,
        answer_from=answer_from(arguments),
        mask=arguments.mask,
        kind=arguments.kind,
        direction=arguments.direction,
        positions=tuple(predicted),
        k_base=found.k_base,
        k_noise=found.k_noise,
        kl_base=found.kl_base,
        logp_recipient=found.logp_recipient,
        logp_donor=found.logp_donor,
        plans=found.results,
        shared=found.shared,
        layer_rows_total=found.layer_rows,
        forwards_equivalent=found.forwards_equivalent,
        seconds=time.perf_counter() - started,
        warnings=pair.adapter.warnings,
    )
    figure = sweep_figure(report, source_of(pair, arguments.question))
    emit(report, sweep_text(report), arguments, figure)
