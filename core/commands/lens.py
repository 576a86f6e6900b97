"""`lens`: how far apart the two models are after every layer, token by token."""

import argparse

from core.commands.answers import add_answer, add_mask, answer_from, answered_text, check_answer
from core.commands.common import add_output, add_pair, add_question, check_out, emit, head, open_pair, say
from core.errors import ArgumentError
from core.measure.lens import LENS_METRICS, lens, lens_choices
from core.pair.gates import parse_layers
from core.present.figures import FORMS
from core.present.layer_reports import LensReport
from core.present.lens_chart import lens_figure
from core.present.lens_text import lens_text
from core.present.provenance import source_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_question(parser)
    add_answer(parser)
    add_mask(parser)
    parser.add_argument("--layers", default="all", help="which layers are read, as 3,7,20-22 (default: all)")
    parser.add_argument("--cell", metavar="LAYER,POS", help="what both models would write, read after that layer")
    parser.add_argument("--metric", choices=tuple(LENS_METRICS), default="kl", help="colour of a picture or page")
    add_pair(parser)
    add_output(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Reads one text."""
    check_out(arguments.out, FORMS)
    check_answer(arguments)
    cell = _parse_cell(arguments.cell)
    pair = open_pair(arguments)
    layers = parse_layers(arguments.layers, pair.n_layers)
    text = answered_text(arguments, pair)
    predicted = text.predicted(arguments.mask)
    ids = text.ids
    choices = lens_choices(pair, ids, cell[1], cell[0]) if cell else None
    say(f"reading {len(layers)} layers at {len(predicted)} tokens")
    found = lens(pair, ids, predicted, layers)
    tokens = tuple(piece.text for piece in pair.prompts.pieces([ids[pos] for pos in found.positions]))
    report = LensReport(
        **head(arguments, pair),
        prompt_ids=text.prompt.ids,
        answer_ids=text.answer_ids,
        answer_from=answer_from(arguments),
        mask=arguments.mask,
        layers=found.layers,
        positions=found.positions,
        tokens=tokens,
        kl=found.kl,
        norm=found.norm,
        cosine=found.cosine,
        mean=found.mean,
        noise=found.noise,
        cell=choices,
        warnings=pair.adapter.warnings,
    )
    title = f"Layer × token: {LENS_METRICS[arguments.metric].label}"
    figure = lens_figure(found, tokens, arguments.metric, title, source_of(pair, arguments.question))
    emit(report, lens_text(report), arguments, figure)


def _parse_cell(text: str | None) -> tuple[int, int] | None:
    """Layer and position.

    Raises:
        ArgumentError: it is not two whole numbers.
    """
    if text is None:
        return None
    try:
        layer, pos = (int(piece) for piece in text.split(","))
    except ValueError as error:
        raise ArgumentError(f"--cell {text!r} is not a layer and a position.", "Write it as 12,40.") from error
    return layer, pos
