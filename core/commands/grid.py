"""`grid`: one model's activations patched into the other, layer by position, and what each patch brings over."""

import argparse
import re
import time
from collections.abc import Callable
from typing import Literal

from core.commands.answers import AnsweredText, add_answer, answer_from, answered_text, check_answer
from core.commands.common import add_output, add_pair, add_question, check_out, emit, head, open_pair, say
from core.errors import ArgumentError, TooLongError
from core.intervene.attributed import attributed_grid
from core.intervene.integrated import COMPLETE_WITHIN
from core.intervene.patch import SITES, WHOLE_RESIDUAL
from core.intervene.why import check_position
from core.pair.gates import DIRECTIONS, parse_layers
from core.pair.pair import Pair
from core.present.figures import FORMS
from core.present.grid_text import grid_text
from core.present.layer_figures import grid_figure
from core.present.layer_reports import ContrastedTokens, GridReport
from core.present.provenance import source_of

WHOLE = (
    "{site} is the whole residual stream: patched at all positions at once it equals a graft of every layer below, so "
    "how recovery grows with the layer is not where knowledge lies. Cells patch one position each."
)
INCOMPLETE = "The attributions of all gates miss what they should add up to by {error:.1%}."
UNDEFINED = "There is no difference to recover on this target: K(∅) is under five noise floors."
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_question(parser)
    add_answer(parser)
    parser.add_argument("--site", choices=SITES, required=True, help="which activation is copied")
    parser.add_argument(
        "--target",
        default="response",
        metavar="POS|response",
        help="the prediction looked at: index of one token, counted as in `diff`, or all of reasoning and answer",
    )
    parser.add_argument(
        "--positions", default="answer", metavar="3,5-9|answer|all", help="tokens patched, each by itself"
    )
    parser.add_argument("--layers", default="all", help="layers patched, each by itself")
    parser.add_argument("--direction", choices=DIRECTIONS, default=DIRECTIONS[0], help="what is patched into what")
    parser.add_argument(
        "--quick", action="store_true", help="attributions by gradients for all cells, exact figures for at most 64"
    )
    add_pair(parser)
    add_output(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Patches one text."""
    check_out(arguments.out, FORMS)
    check_answer(arguments)
    target = _target(arguments.target)
    pair = open_pair(arguments)
    layers = parse_layers(arguments.layers, pair.n_layers)
    text = answered_text(arguments, pair)
    ids = text.ids
    predicted = _predicted(pair, text, target)
    positions = parse_positions(arguments.positions, len(text.prompt.ids), len(ids))
    started = time.perf_counter()
    found = attributed_grid(
        pair, ids, predicted, arguments.site, layers, positions, arguments.direction, arguments.quick, _tenths()
    )
    contrasted = (found.grid.gained_id, found.grid.lost_id)
    defined = any(cell.kl_recovery is not None for cell in found.grid.cells)
    report = GridReport(
        **head(arguments, pair),
        prompt_ids=text.prompt.ids,
        answer_ids=text.answer_ids,
        answer_from=answer_from(arguments),
        site=arguments.site,
        target=target,
        direction=arguments.direction,
        contrast=ContrastedTokens(*contrasted),
        k_base=found.grid.k_base,
        k_noise=found.grid.k_noise,
        cells=found.grid.cells,
        rank_correlation=found.rank_correlation,
        n_compared=found.n_compared,
        completeness_error=found.completeness_error,
        forwards_equivalent=found.forwards_equivalent,
        seconds=time.perf_counter() - started,
        warnings=(
            *pair.adapter.warnings,
            *((WHOLE.format(site=arguments.site),) if arguments.site in WHOLE_RESIDUAL else ()),
            *(() if defined else (UNDEFINED,)),
            *_incomplete(found.completeness_error),
        ),
    )
    tokens = [piece.text for piece in pair.prompts.pieces(ids)]
    figure = grid_figure(report, tokens, source_of(pair, arguments.question))
    emit(report, grid_text(report), arguments, figure)


def parse_positions(text: str, n_prompt: int, n_tokens: int) -> tuple[int, ...]:
    """Token indices from `3,5-9`, `answer` or `all`.

    Raises:
        ArgumentError: the text is not of that form, or names a token the text does not have.
    """
    cleaned = text.replace("–", "-").replace(" ", "").lower()
    if cleaned in ("all", "answer"):
        return tuple(range(0 if cleaned == "all" else n_prompt, n_tokens))
    found: set[int] = set()
    for piece in cleaned.split(","):
        match = _RANGE.fullmatch(piece)
        if not match:
            raise ArgumentError(f"Positions {text!r} are not understood at {piece!r}.", "Write 3,5-9, answer or all.")
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last:
            raise ArgumentError(f"Positions {piece!r} run backwards.", f"Write {last}-{first}.")
        if last >= n_tokens:
            raise ArgumentError(f"Position {last} does not exist.", f"The text has tokens 0 to {n_tokens - 1}.")
        found.update(range(first, last + 1))
    return tuple(sorted(found))


def _target(text: str) -> int | Literal["response"]:
    if text == "response":
        return "response"
    if not re.fullmatch(r"\d+", text):
        raise ArgumentError(f"--target {text!r} is no position.", "Give the index of a token, or response.")
    return int(text)


def _predicted(pair: Pair, text: AnsweredText, target: int | Literal["response"]) -> list[int]:
    """Indices of the tokens whose predictions count."""
    if isinstance(target, int):
        check_position(pair, text.ids, target)
        return [target]
    if len(text.ids) > pair.max_positions:
        raise TooLongError(
            f"Prompt and answer have {len(text.ids):,} tokens.", f"The context holds {pair.max_positions:,}."
        )
    return text.predicted("response")


def _incomplete(error: float | None) -> tuple[str, ...]:
    return () if error is None or error <= COMPLETE_WITHIN else (INCOMPLETE.format(error=error),)


def _tenths() -> Callable[[float], None]:
    """Says every tenth of the work on standard error."""
    said = 0

    def tell(share: float) -> None:
        nonlocal said
        if int(share * 10) > said:
            said = int(share * 10)
            say(f"{said}0 %")

    return tell
