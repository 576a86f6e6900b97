"""`ask`: base, hybrid and fine-tuned answer to one question, decoded side by side."""

import argparse

from core.commands.common import add_output, add_pair, add_question, build_prompt, check_out, emit, head, open_pair
from core.generate.answers import ask, standard_lanes
from core.generate.sampling import Sampling
from core.pair.gates import DIRECTIONS, PARTS, check_strength, format_layers, hybrid_gates, thirds
from core.present.reports import AskReport
from core.present.texts import ask_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_question(parser)
    parser.add_argument(
        "--layers", metavar="LAYERS", help="layers of the hybrid: none, all, 3,7,20-22 (default: upper third)"
    )
    parser.add_argument("--part", choices=tuple(PARTS), default="both")
    parser.add_argument("--strength", type=float, default=1.0, help="gate strength, 0 to 4")
    parser.add_argument("--direction", choices=DIRECTIONS, default=DIRECTIONS[0], help="what is grafted into what")
    parser.add_argument("--temperature", type=float, default=0.0, metavar="T", help="0 is greedy")
    parser.add_argument("--top-p", type=float, default=1.0, metavar="P")
    add_pair(parser)
    add_output(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Answers one question three times."""
    check_out(arguments.out, ("json",))
    sampling = Sampling(arguments.temperature, arguments.top_p, arguments.seed)
    check_strength(arguments.strength)
    pair = open_pair(arguments)
    prompt = build_prompt(arguments, pair)
    upper = format_layers(thirds(pair.n_layers)["upper"])
    chosen = upper if arguments.layers is None else arguments.layers
    hybrid = hybrid_gates(pair.n_layers, chosen, arguments.part, arguments.strength, arguments.direction)
    answers = ask(pair, prompt, standard_lanes(pair, hybrid), sampling, arguments.max_new_tokens)
    report = AskReport(
        **head(arguments, pair),
        prompt_ids=prompt.ids,
        lanes=answers.lanes,
        first_divergence=answers.first_divergence,
        warnings=pair.adapter.warnings,
    )
    emit(report, ask_text(report), arguments)
