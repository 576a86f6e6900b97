"""`ask`: base, hybrids and fine-tuned answer to one question, decoded side by side."""

import argparse

from core.commands.common import add_output, add_pair, add_question, build_prompt, check_out, emit, head, open_pair
from core.errors import ArgumentError
from core.generate.answers import Answers, ask
from core.generate.lane import Lane
from core.generate.letters import lane_letters
from core.generate.record import LaneAnswer
from core.generate.sampling import Sampling
from core.measure.cross import CrossScores, cross_scores
from core.measure.diff import diff
from core.measure.multiple_choice import flips
from core.measure.options import parse_options
from core.pair.gates import DIRECTIONS, PARTS, Gates, check_strength, format_layers, thirds
from core.pair.pair import Pair
from core.pair.prompts import Prompt
from core.present.answers_figure import answers_figure, asked_words
from core.present.figures import FORMS
from core.present.forks import MAX_FORKS, Fork, checked_fork, first_choice, fork_from, fork_lane, fork_said, typed_ids
from core.present.hybrids import Hybrid, hybrids_from, lane_names, lane_title, run_lanes
from core.present.provenance import source_of
from core.present.reports import AskReport, ForkAnswer, LaneLetters
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
        help="a hybrid by name, up to three times; instead of --layers and its companions. With a site in place of "
        "part and strength (NAME: 20 / mlp_out) activations are patched instead of weights grafted",
    )
    parser.add_argument(
        "--amplify",
        type=float,
        metavar="ALPHA",
        help="one hybrid more, writing from z_t + ALPHA (z_t − z_b): −1 is base, 0 fine-tuned, at most 3",
    )
    parser.add_argument(
        "--fork-at",
        action="append",
        default=[],
        metavar="[LANE:]INDEX[=TEXT][>MODEL]",
        help="continue an answer (base's by default) from its token INDEX, counted from 0, with TEXT or, without it, "
        "with the first choice of fine-tuned (of base in fine-tuned's answer); MODEL writes on, by default the lane's "
        "own. Lanes are base, hybrid, hybrid-2 and so on or the names given with --lane, and tuned",
    )
    parser.add_argument(
        "--cross", action="store_true", help="score each answer under base, every grafted hybrid and tuned"
    )
    parser.add_argument(
        "--coupled",
        action="store_true",
        help="lanes share their noise, so that they choose differently only where their distributions do",
    )
    parser.add_argument("--temperature", type=float, default=0.0, metavar="T", help="0 is greedy")
    parser.add_argument("--top-p", type=float, default=1.0, metavar="P")
    add_pair(parser)
    add_output(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Answers one question once a lane."""
    check_out(arguments.out, FORMS)
    sampling = Sampling(arguments.temperature, arguments.top_p, arguments.seed, arguments.coupled)
    asked_forks = [fork_from(text) for text in arguments.fork_at]
    if len(asked_forks) > MAX_FORKS:
        raise ArgumentError(f"{len(asked_forks)} forks were asked for.", f"Ask for at most {MAX_FORKS}.")
    for _, at, _, _ in asked_forks:
        if not 0 <= at < arguments.max_new_tokens:
            raise ArgumentError(
                f"--fork-at {at}: an answer of at most {arguments.max_new_tokens} tokens has no token {at}.",
                "Name an earlier one, or ask for more with --max-new-tokens.",
            )
    hybrids = _hybrids(arguments)
    pair = open_pair(arguments)
    prompt = build_prompt(arguments, pair)
    if arguments.max_new_tokens > pair.max_positions:
        raise ArgumentError(
            f"{arguments.max_new_tokens:,} new tokens were asked for; the context holds {pair.max_positions:,}.",
            "Ask for fewer.",
        )
    if hybrids is None:
        upper = format_layers(thirds(pair.n_layers)["upper"])
        chosen = upper if arguments.layers is None else arguments.layers
        hybrids = (Hybrid("Hybrid", chosen, arguments.part, arguments.strength, arguments.direction),)
    if arguments.amplify is not None:
        hybrids = (*hybrids, Hybrid("Amplified", "all", alpha=arguments.amplify))
    lanes = run_lanes(pair, hybrids)
    answers = ask(pair, prompt, lanes, sampling, arguments.max_new_tokens)
    by_name = dict(zip((hybrid.name for hybrid in hybrids), lane_names(hybrids), strict=True))
    named = [
        (by_name.get(lane, lane), at, text, by_name.get(model or "", model)) for lane, at, text, model in asked_forks
    ]
    forks = _forks(pair, prompt, lanes, answers, named, sampling, arguments.max_new_tokens)
    grafts = {lane.name: lane.gates for lane in lanes if lane.kind == "graft"}
    report = AskReport(
        **head(arguments, pair),
        prompt_ids=prompt.ids,
        hybrids=hybrids,
        lanes=answers.lanes,
        first_divergence=answers.first_divergence,
        forks=forks,
        cross=_cross(pair, prompt, [*answers.lanes, *(f.answer for f in forks)], grafts) if arguments.cross else None,
        letters=_letters(pair, arguments, lanes),
        warnings=pair.adapter.warnings,
    )
    written = [*answers.lanes, *(fork.answer for fork in forks)]
    titles = {answer.name: lane_title(answer.name, hybrids) for answer in answers.lanes}
    for own in forks:
        titles[own.answer.name] = fork_said(own.answer.name, own.fork, pair.prompts.text(own.fork.ids), hybrids)
    how = asked_words(sampling, arguments.max_new_tokens, arguments.system, arguments.raw)
    figure = answers_figure(source_of(pair, arguments.question), written, titles, how)
    emit(report, ask_text(report, titles), arguments, figure)


def _forks(
    pair: Pair,
    prompt: Prompt,
    lanes: tuple[Lane, ...],
    answers: Answers,
    asked: list[tuple[str, int, str | None, str | None]],
    sampling: Sampling,
    max_new_tokens: int,
) -> tuple[ForkAnswer, ...]:
    by_name = {answer.name: answer for answer in answers.lanes}
    rows = {lane.name: lane for lane in lanes}
    found = []
    for number, (parent, at, text, model) in enumerate(asked, start=1):
        answer = by_name[parent].ids if parent in by_name else ()
        if text is not None:
            put_in = typed_ids(pair.prompts, text)
        elif at < len(answer):
            other = "base" if parent == "tuned" else "tuned"
            put_in = (_other_choice(pair, prompt, answer, at, other),)
            if put_in[0] == answer[at] and (model or parent) == parent:
                raise ArgumentError(
                    f"At token {at} {parent} has written {pair.prompts.text(put_in)!r}, which is {other}'s first "
                    "choice too.",
                    f"Name a token at which they differ, or a text: --fork-at '{parent}:{at}=TEXT'.",
                )
        else:
            put_in = ()
        fork = checked_fork(Fork(parent, at, put_in, model or parent), answer, list(by_name), pair.prompts.end_ids)
        lane = Lane(fork_lane(number), rows[fork.model].gates, rows[fork.model].weights, rows[fork.model].patch)
        written = ask(pair, prompt, [lane], sampling, max_new_tokens, begun=fork.begun(answer))
        found.append(ForkAnswer(fork, written.lanes[0]))
    return tuple(found)


def _other_choice(pair: Pair, prompt: Prompt, answer: tuple[int, ...], at: int, model: str) -> int:
    """What base or tuned would have written at one token of an answer."""
    tokens = diff(pair, prompt, answer[: at + 1], mask="all").tokens
    return first_choice(tokens[len(prompt.ids) + at], model).id


def _cross(pair: Pair, prompt: Prompt, answers: list[LaneAnswer], models: dict[str, Gates]) -> CrossScores:
    return cross_scores(pair, prompt, {answer.name: answer.ids for answer in answers}, models)


def _letters(pair: Pair, arguments: argparse.Namespace, lanes: tuple[Lane, ...]) -> tuple[LaneLetters, ...] | None:
    """The letter of each lane, where the question has options and there is a chat template."""
    options = None if arguments.raw else parse_options(arguments.question)
    if options is None:
        return None
    choices = lane_letters(pair, arguments.question, options, lanes, arguments.system)
    flipped = flips(choices)
    return tuple(
        LaneLetters(lane.name, number in flipped, choice)
        for number, (lane, choice) in enumerate(zip(lanes, choices, strict=True))
    )


def _hybrids(arguments: argparse.Namespace) -> tuple[Hybrid, ...] | None:
    """The hybrids given with --lane; None where the other options describe one."""
    if not arguments.lane:
        check_strength(arguments.strength)
        return None
    if arguments.layers is not None:
        raise ArgumentError("--lane and --layers do not go together.", "Give the layers in --lane.")
    return hybrids_from("\n".join(arguments.lane))
