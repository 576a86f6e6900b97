"""How far apart the two models are at every layer: what each layer would already say, and how its state has drifted.

Reads the residual stream after each layer with the model's own final norm and unembedding. That logit lens is
approximate: only the last layer was trained to be read so, the lower a layer the less its reading means. Drift looks
at the states themselves and needs no such reading. Knows both models on one text; grafts nothing, draws nothing.

Source: nostalgebraist 2020, "interpreting GPT: the logit lens".
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from core.errors import ArgumentError, PromptError, TooLongError
from core.measure.divergence import kl_divergence, log_softmax
from core.measure.drift import drift_cosine, drift_norm
from core.measure.metrics import METRICS, Metric
from core.measure.tokens import Choice
from core.pair.blocks import Blocks
from core.pair.gates import Gates
from core.pair.padded_blocks import PaddedBlocks
from core.pair.pair import Pair

TOP = 5
NOISE_POSITIONS = 16
# Multiply–adds one model's readings may take before a page leaves layers out: all 30 layers of the demo pair over 118
# tokens, on a CPU; two hundred times as much on a graphics card.
BUDGET = {"cpu": 1e11, "cuda": 2e13}
_BYTES_PER_ENTRY = 64

_ROWS = (
    Metric(
        "kl",
        "lens KL(tuned‖base)",
        "how far apart the next words are that the two models have in mind at this layer",
        "nats",
        False,
        METRICS["kl_tuned_base"].domain,
    ),
    Metric(
        "norm",
        "drift ‖h_t − h_b‖ / ‖h_b‖",
        "how far fine-tuning moved the model's state, as a share of the state's own length",
        "1",
        False,
        (0, 1),
    ),
    Metric(
        "cosine", "drift 1 − cos(h_t, h_b)", "how far fine-tuning turned the model's state", "1", False, (0, 0.5)
    ),
)  # fmt: skip
LENS_METRICS: dict[str, Metric] = {metric.name: metric for metric in _ROWS}


@dataclass(frozen=True)
class ByLayer:
    """One number a layer, in the order of the layers.

    Attributes:
        kl: of the lens KL(tuned‖base), nats.
        norm, cosine: of the drift; null where no position has one.
    """

    kl: tuple[float, ...]
    norm: tuple[float | None, ...]
    cosine: tuple[float | None, ...]


@dataclass(frozen=True)
class Lens:
    """Base against tuned, layer by layer, on one text.

    All values at a position are of the state that predicted that token, which stands at the token before. The drift of
    the state at token 0, on which models park attention, says nothing and is null.

    Attributes:
        layers: whose residual stream was read, after the layer, lowest first.
        positions: indices of the predicted tokens.
        kl: layers × positions: KL(tuned‖base) of the two readings, nats, ≥ 0; at the last layer the output's.
        norm: layers × positions: ‖h_t − h_b‖ / ‖h_b‖.
        cosine: layers × positions: 1 − cos(h_t, h_b), 0..2.
        mean: over the positions.
        noise: 99th percentile, over at most 16 of the positions, of the same figures between base and itself
            left-padded.
    """

    layers: tuple[int, ...]
    positions: tuple[int, ...]
    kl: tuple[tuple[float, ...], ...]
    norm: tuple[tuple[float | None, ...], ...]
    cosine: tuple[tuple[float | None, ...], ...]
    mean: ByLayer
    noise: ByLayer


@dataclass(frozen=True)
class LensChoices:
    """One cell of the lens: what each model would write, were it read there.

    Attributes:
        layer, pos: which cell.
        kl: KL(tuned‖base) of the two readings, nats.
        base, tuned: five first choices, likeliest first.
    """

    layer: int
    pos: int
    kl: float
    base: tuple[Choice, ...]
    tuned: tuple[Choice, ...]


def layers_within(pair: Pair, n_positions: int, budget: float | None = None) -> tuple[int, ...]:
    """As many evenly spaced layers as a budget allows; the last one always, which is the output itself.

    Args:
        pair: the models.
        n_positions: how many tokens are looked at.
        budget: multiply–adds one model's readings may take; by default what suits the pair's device.
    """
    allowed = BUDGET[torch.device(pair.device).type] if budget is None else budget
    affordable = max(1, int(allowed // (max(1, n_positions) * pair.d_vocab * pair.d_model)))
    step = -(-pair.n_layers // affordable)
    return tuple(range(pair.n_layers - 1, -1, -step))[::-1]


@torch.no_grad()
def lens(
    pair: Pair,
    ids: Sequence[int],
    predicted: Sequence[int],
    layers: Iterable[int] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Lens:
    """Reads both models after each layer, in one walk over the text.

    Args:
        pair: the models.
        ids: prompt and answer.
        predicted: indices of the tokens whose predictions are looked at, from 1.
        layers: which layers to read; all of them by default. Each costs one unembedding a token and model.
        progress: told the share done, 0..1; may raise to stop.

    Raises:
        ArgumentError: a layer does not exist, or none is asked for.
        PromptError: there are no positions, or one has no score.
        TooLongError: the text exceeds the context.
    """
    chosen = _checked_layers(pair, range(pair.n_layers) if layers is None else layers)
    _check_positions(pair, ids, predicted)
    tell = progress or (lambda share: None)
    both, base = Gates.stack([pair.base_gates(), pair.tuned_gates()]), pair.base_gates()
    text, padded = Blocks(pair, ids), PaddedBlocks(pair, ids)
    states, again = text.start().expand(2, -1, -1), padded.start()
    where = torch.tensor([index - 1 for index in predicted], device=states.device)
    rows: list[_Row] = []
    for layer in range(chosen[-1] + 1):
        states, again = text.layer(layer, states, both), padded.layer(layer, again, base)
        tell(len(rows) / len(chosen))
        if layer in chosen:
            within = partial(_tell_within, tell, len(rows), len(chosen))
            rows.append(_read(pair, text, states, padded.unpadded(again)[0], where, within))
    return _gathered(chosen, predicted, rows)


@torch.no_grad()
def lens_choices(pair: Pair, ids: Sequence[int], predicted: int, layer: int) -> LensChoices:
    """What both models would write at one cell.

    Args:
        pair, ids: as for `lens`.
        predicted: index of the predicted token.
        layer: after which layer it is read.

    Raises:
        ArgumentError, PromptError, TooLongError: as `lens`.
    """
    (layer,) = _checked_layers(pair, [layer])
    _check_positions(pair, ids, [predicted])
    both = Gates.stack([pair.base_gates(), pair.tuned_gates()])
    blocks = Blocks(pair, ids[:predicted])
    states = blocks.start().expand(2, -1, -1)
    for number in range(layer + 1):
        states = blocks.layer(number, states, both)
    base, tuned = pair.unembed(blocks.finish(states[:, -1]))
    return LensChoices(
        layer, predicted, float(kl_divergence(tuned, base)), _first_choices(pair, base), _first_choices(pair, tuned)
    )


def _tell_within(tell: Callable[[float], None], done: int, of: int, share: float) -> None:
    tell((done + share) / of)


@dataclass(frozen=True, eq=False)
class _Row:
    """One layer: figure → (positions,) float64 on the CPU, NaN where there is none; figure → its noise."""

    values: dict[str, Tensor]
    noise: dict[str, float | None]


def _read(
    pair: Pair, blocks: Blocks, states: Tensor, again: Tensor, where: Tensor, tell: Callable[[float], None]
) -> _Row:
    """One layer's figures from (2, pos, d_model) states of both models, and base's by another route."""
    base, tuned = states[0, where], states[1, where]
    sample = torch.linspace(0, len(where) - 1, min(NOISE_POSITIONS, len(where)), device=where.device).round().long()
    twice = again[where[sample]]
    first = where == 0  # the sink
    values = {
        "kl": _reading_kl(pair, blocks, tuned, base, tell),
        "norm": drift_norm(tuned, base).masked_fill(first, torch.nan).cpu(),
        "cosine": drift_cosine(tuned, base).masked_fill(first, torch.nan).cpu(),
    }
    itself = {
        "kl": _reading_kl(pair, blocks, twice, base[sample], lambda share: None),
        "norm": drift_norm(twice, base[sample])[~first[sample]].cpu(),
        "cosine": drift_cosine(twice, base[sample])[~first[sample]].cpu(),
    }
    return _Row(values, {k: float(torch.quantile(v, 0.99)) if len(v) else None for k, v in itself.items()})


def _reading_kl(pair: Pair, blocks: Blocks, p: Tensor, q: Tensor, tell: Callable[[float], None]) -> Tensor:
    """KL(P‖Q) of the readings of two (positions, d_model) states, over the whole vocabulary, in bounded memory."""
    step = pair.unembed.positions_at_once(_BYTES_PER_ENTRY)
    found = []
    for start in range(0, len(p), step):
        logits_p, logits_q = (pair.unembed(blocks.finish(h[start : start + step])) for h in (p, q))
        found.append(kl_divergence(logits_p, logits_q).cpu())
        tell(min(1.0, (start + step) / len(p)))
    return torch.cat(found)


def _gathered(layers: tuple[int, ...], predicted: Sequence[int], rows: Sequence[_Row]) -> Lens:
    grids = {name: torch.stack([row.values[name] for row in rows]) for name in LENS_METRICS}
    cells = {name: tuple(tuple(map(_number, row)) for row in grid.tolist()) for name, grid in grids.items()}
    means = {name: tuple(map(_number, grid.nanmean(dim=1).tolist())) for name, grid in grids.items()}
    noise = {name: tuple(row.noise[name] for row in rows) for name in LENS_METRICS}
    return Lens(layers, tuple(predicted), **cells, mean=ByLayer(**means), noise=ByLayer(**noise))  # type: ignore[arg-type]


def _number(value: float) -> float | None:
    return None if value != value else value


def _first_choices(pair: Pair, logits: Tensor) -> tuple[Choice, ...]:
    found = log_softmax(logits).topk(TOP)
    ids = found.indices.tolist()
    pieces = pair.prompts.pieces(ids)
    return tuple(Choice(i, piece.text, logp) for i, piece, logp in zip(ids, pieces, found.values.tolist(), strict=True))


def _checked_layers(pair: Pair, layers: Iterable[int]) -> tuple[int, ...]:
    chosen = tuple(sorted(set(layers)))
    if not chosen:
        raise ArgumentError("No layer is left to read.", f"Choose among layers 0 to {pair.n_layers - 1}.")
    if not 0 <= chosen[0] <= chosen[-1] < pair.n_layers:
        raise ArgumentError(
            f"Layers {list(chosen)} are not all within 0..{pair.n_layers - 1}.", "Choose existing ones."
        )
    return chosen


def _check_positions(pair: Pair, ids: Sequence[int], predicted: Sequence[int]) -> None:
    if len(ids) > pair.max_positions:
        raise TooLongError(f"The text has {len(ids):,} tokens.", f"The context holds {pair.max_positions:,}.")
    if not predicted:
        raise PromptError("No token is left to score.", "Choose another mask or a longer answer.")
    wrong = [index for index in predicted if not 1 <= index < len(ids)]
    if wrong:
        raise PromptError(
            f"Token {wrong[0]} has no score.",
            f"The text has tokens 0 to {len(ids) - 1}; the first one is not predicted.",
        )
