"""`ask`: base, hybrids and fine-tuned answer to one question, decoded side by side."""

import argparse

from core.commands.common import add_output, add_pair, add_question, build_prompt, check_out, emit, head, open_pair
from core.errors import ArgumentError
from core.generate.answers import ask, standard_lanes
from core.generate.sampling import Sampling
from core.pair.gates import DIRECTIONS, PARTS, check_strength, format_layers, thirds
from core.present.hybrids import Hybrid, hybrids_from, lane_names
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
    parser.add_argument(
        "--lane",
        action="append",
        metavar="NAME:LAYERS[/PART][/STRENGTH][/DIRECTION]",
        help="a hybrid by name, up to three times; instead of --layers and its companions",
    )
    parser.add_argument("--temperature", type=float, default=0.0, metavar="T", help="0 is greedy")
    parser.add_argument("--top-p", type=float, default=1.0, metavar="P")
    add_pair(parser)
    add_output(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Answers one question once a lane."""
    check_out(arguments.out, ("json",))
    sampling = Sampling(arguments.temperature, arguments.top_p, arguments.seed)
    hybrids = _hybrids(arguments)
    pair = open_pair(arguments)
    prompt = build_prompt(arguments, pair)
    if hybrids is None:
        upper = format_layers(thirds(pair.n_layers)["upper"])
        chosen = upper if arguments.layers is None else arguments.layers
        hybrids = (Hybrid("Hybrid", chosen, arguments.part, arguments.strength, arguments.direction),)
    gates = [hybrid.gates(pair.n_layers) for hybrid in hybrids]
    lanes = standard_lanes(pair, dict(zip(lane_names(hybrids), gates, strict=True)))
    answers = ask(pair, prompt, lanes, sampling, arguments.max_new_tokens)
    report = AskReport(
        **head(arguments, pair),
        prompt_ids=prompt.ids,
        hybrids=hybrids,
        lanes=answers.lanes,
        first_divergence=answers.first_divergence,
        warnings=pair.adapter.warnings,
    )
    emit(report, ask_text(report), arguments)


def _hybrids(arguments: argparse.Namespace) -> tuple[Hybrid, ...] | None:
    """The hybrids given with --lane; None where the other options describe one."""
    if not arguments.lane:
        check_strength(arguments.strength)
        return None
    if arguments.layers is not None:
        raise ArgumentError("--lane and --layers do not go together.", "Give the layers in --lane.")
    return hybrids_from("\n".join(arguments.lane))
