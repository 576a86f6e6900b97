"""`weights`: how much the fine-tune changed every weight matrix, and what that does to a text's inputs."""

import argparse

from core.commands.answers import AnsweredText, add_answer, add_mask, answer_from, answered_text, check_answer
from core.commands.common import add_asked, add_output, add_pair, check_out, emit, head, open_pair
from core.errors import ArgumentError
from core.intervene.plans import sweep_plans
from core.intervene.recovery import sweep
from core.intervene.size_and_effect import WeightEffects, agreements
from core.measure.weights import WeightChanges, weight_changes, with_data
from core.measure.weights_on_data import norms_on_data
from core.pair.pair import Pair
from core.present.figures import FORMS
from core.present.layer_reports import WeightsReport
from core.present.provenance import source_of
from core.present.weight_charts import weights_figure
from core.present.weight_words import ON_DATA, WEIGHT_MEASURES
from core.present.weights_text import weights_text

_WITH_TEXT = ("system", "raw", "answer", "answer_ids", "answer_from", "end", "effects")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "--text", dest="question", metavar="QUESTION", help="also measure on the text of this question and its answer"
    )
    add_asked(parser)
    add_answer(parser)
    add_mask(parser)
    parser.add_argument(
        "--effects", action="store_true", help="also graft each part alone on the text, and compare with the sizes"
    )
    parser.add_argument(
        "--metric", choices=tuple(WEIGHT_MEASURES), default="relative_frobenius", help="of a picture or page"
    )
    add_pair(parser)
    add_output(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Measures a pair's weights."""
    check_out(arguments.out, FORMS)
    check_answer(arguments)
    _check_text(arguments)
    pair = open_pair(arguments)
    found = weight_changes(pair)
    text = answered_text(arguments, pair) if arguments.question is not None else None
    norms = norms_on_data(pair, text.ids) if text is not None else None
    if norms is not None:
        found = with_data(found, norms)
    report = WeightsReport(
        **head(arguments, pair),
        prompt_ids=None if text is None else text.prompt.ids,
        answer_ids=None if text is None else text.answer_ids,
        answer_from=None if text is None else answer_from(arguments),
        n_tokens=None if norms is None else norms.n_tokens,
        mask=arguments.mask if arguments.effects else None,
        modules=found.modules,
        parts=found.parts,
        effects=_effects(arguments, pair, text, found) if text is not None and arguments.effects else None,
        warnings=pair.adapter.warnings,
    )
    figure = weights_figure(found, arguments.metric, source_of(pair, arguments.question or ""))
    emit(report, weights_text(report), arguments, figure)


def _check_text(arguments: argparse.Namespace) -> None:
    """Refuses what makes no sense without a text."""
    if arguments.question is not None:
        return
    given = [name for name in _WITH_TEXT if getattr(arguments, name)]
    if given:
        raise ArgumentError(f"--{given[0].replace('_', '-')} goes with a text.", "Add --text QUESTION.")
    if arguments.metric == ON_DATA:
        raise ArgumentError(f"--metric {arguments.metric} goes with a text.", "Add --text QUESTION.")


def _effects(arguments: argparse.Namespace, pair: Pair, text: AnsweredText, found: WeightChanges) -> WeightEffects:
    swept = sweep(pair, text.ids, text.predicted(arguments.mask), sweep_plans("single", pair.n_layers, "each"))
    return WeightEffects(swept.k_base, swept.k_noise, swept.results, agreements(found.parts, swept.results))
