"""`search`: the smallest sets of layers that bring back a share of the fine-tune, beside controls."""

import argparse
import time

from core.commands.answers import add_answer, add_mask, answer_from, answered_text, check_answer
from core.commands.common import add_output, add_pair, add_question, check_out, emit, head, open_pair, say
from core.intervene.search import METHODS, RANDOM, SearchSettings, search
from core.intervene.sets import BY
from core.pair.gates import DIRECTIONS
from core.present.figures import FORMS
from core.present.layer_figures import search_figure
from core.present.layer_reports import SearchReport
from core.present.provenance import source_of
from core.present.search_text import search_text

PERMUTATIONS = 16
UNDEFINED = "There is no difference to recover on this text: K(∅) is under five noise floors."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_question(parser)
    add_answer(parser)
    add_mask(parser)
    parser.add_argument("--reach", type=float, default=0.8, help="recovery wanted, above 0 and at most 1")
    parser.add_argument(
        "--method",
        choices=METHODS,
        default=METHODS[0],
        help="greedy-forward adds the best unit, greedy-backward takes the least missed one away, shapley takes units "
        "in the order of their shares, exact tries all sets: of any size up to 12 units, of one and two with more",
    )
    parser.add_argument("--by", choices=tuple(BY), help="what one unit is; default: layer, for shapley part")
    parser.add_argument(
        "--permutations",
        type=int,
        metavar="N",
        help="orders for the shares, each followed by its reverse, so best an even number; "
        f"default: {PERMUTATIONS} for shapley, else 0",
    )
    parser.add_argument("--max-size", type=int, metavar="N", help="the largest set allowed, in units")
    parser.add_argument("--random", type=int, default=RANDOM, metavar="N", help="random sets of the found set's size")
    parser.add_argument(
        "--random-adapters",
        type=int,
        default=RANDOM,
        metavar="N",
        help="random adapters, each module's singular values kept, to try the found set in",
    )
    parser.add_argument("--direction", choices=DIRECTIONS, default=DIRECTIONS[0], help="what is grafted into what")
    add_pair(parser)
    add_output(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Searches one text."""
    check_out(arguments.out, FORMS)
    check_answer(arguments)
    settings = _settings(arguments)
    pair = open_pair(arguments)
    text = answered_text(arguments, pair)
    predicted = text.predicted(arguments.mask)
    started = time.perf_counter()
    found = search(pair, text.ids, predicted, settings, _Told())
    report = SearchReport(
        **head(arguments, pair),
        prompt_ids=text.prompt.ids,
        answer_ids=text.answer_ids,
        answer_from=answer_from(arguments),
        mask=arguments.mask,
        method=settings.method,
        by=settings.by,
        direction=settings.direction,
        reach=arguments.reach,
        reached=found.sets[0].reached if found.sets else None,
        sets=found.sets,
        curve=found.curve,
        permutations=settings.permutations,
        shapley=found.shapley,
        interaction=found.interaction,
        k_base=found.k_base,
        k_noise=found.k_noise,
        forwards_equivalent=found.forwards_equivalent,
        seconds=time.perf_counter() - started,
        warnings=(*pair.adapter.warnings, *(() if found.defined else (UNDEFINED,))),
    )
    figure = search_figure(report, pair.n_layers, source_of(pair, arguments.question))
    emit(report, search_text(report), arguments, figure)


def _settings(arguments: argparse.Namespace) -> SearchSettings:
    shares = arguments.method == "shapley"
    return SearchSettings(
        method=arguments.method,
        by=arguments.by or ("part" if shares else "layer"),
        reaches=(arguments.reach,),
        direction=arguments.direction,
        permutations=(PERMUTATIONS if shares else 0) if arguments.permutations is None else arguments.permutations,
        random_sets=arguments.random,
        random_adapters=arguments.random_adapters,
        max_size=arguments.max_size,
        seed=arguments.seed,
    )


class _Told:
    """Says every tenth of the work on standard error."""

    def __init__(self) -> None:
        self._next = 0.1

    def __call__(self, share: float) -> None:
        if share >= self._next:
            say(f"{share:.0%}")
            self._next = share + 0.1
