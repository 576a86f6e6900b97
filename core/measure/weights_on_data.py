"""What the changed weights do to the inputs they really get: lengths of ΔW x and of W x on a text.

The inputs are those of the fine-tuned model's own run, walked layer by layer beside the pair, which stays as it is.
Knows one text and the pair's layers; knows nothing of weights by themselves.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.errors import PromptError, TooLongError
from core.pair.blocks import Blocks
from core.pair.gated_linear import GatedLinear, bound_gates
from core.pair.gates import PROJECTIONS, LayerGates
from core.pair.pair import Pair


@dataclass(frozen=True)
class DataNorms:
    """Root mean squares over a text's tokens but the first, on which models park attention.

    Attributes:
        n_tokens: how many tokens that is.
        change: layers × projections: of ‖ΔW x‖; 0 where nothing changed.
        base: layers × projections: of ‖W x‖, without bias.
    """

    n_tokens: int
    change: tuple[tuple[float, ...], ...]
    base: tuple[tuple[float, ...], ...]


@torch.no_grad()
def norms_on_data(pair: Pair, ids: Sequence[int], progress: Callable[[float], None] | None = None) -> DataNorms:
    """Lengths of what every projection, and its change, makes of its inputs; one run of the fine-tuned model.

    Args:
        pair: the models.
        ids: the text, prompt and answer; all of it but the first token counts.
        progress: told the share done, 0..1; may raise to stop.

    Raises:
        PromptError: there is no second token.
        TooLongError: the text exceeds the context.
    """
    if len(ids) < 2:
        raise PromptError(f"The text has {len(ids)} tokens, and the first one does not count.", "Give a longer text.")
    if len(ids) > pair.max_positions:
        raise TooLongError(f"The text has {len(ids):,} tokens.", f"The context holds {pair.max_positions:,}.")
    tuned = pair.tuned_gates().to(pair.device)
    blocks = Blocks(pair, ids)
    states = blocks.start()
    rows: list[dict[str, tuple[float, float]]] = []
    for number, block in enumerate(pair.model.model.layers):
        found: dict[str, tuple[float, float]] = {}
        names = {id(module): name for name, module in projections_of(block).items()}
        with bound_gates(LayerGates(tuned, number)):
            states = blocks.plain(number, states, partial(_Listening, names, found), (GatedLinear, nn.Linear))
        rows.append(found)
        if progress is not None:
            progress((number + 1) / pair.n_layers)
    change, base = (tuple(tuple(row[name][k] for name in PROJECTIONS) for row in rows) for k in (0, 1))
    return DataNorms(len(ids) - 1, change, base)


def projections_of(block: nn.Module) -> dict[str, nn.Module]:
    """A layer's projections by name, in the order of the gates."""
    found = {path.rpartition(".")[2]: module for path, module in block.named_modules()}
    return {name: found[name] for name in PROJECTIONS}


class _Listening(nn.Module):
    """A projection that computes what it did and writes down two lengths; lives for one run of one layer."""

    def __init__(self, names: dict[int, str], found: dict[str, tuple[float, float]], inner: nn.Module) -> None:
        super().__init__()
        self._inner, self._name, self._found = inner, names[id(inner)], found

    def forward(self, x: Tensor) -> Tensor:
        """(1, pos, d_in) → (1, pos, d_out)."""
        inputs, inner = x[:, 1:], self._inner
        weight = inner.weight
        assert isinstance(weight, Tensor)
        change = 0.0
        if isinstance(inner, GatedLinear):
            low = functional.linear(inputs.float(), inner.down)
            change = _root_mean_square(functional.linear(low, inner.up) * inner.scaling)
        self._found[self._name] = (change, _root_mean_square(functional.linear(inputs, weight)))
        made: Tensor = inner(x)
        return made


def _root_mean_square(vectors: Tensor) -> float:
    """Of the lengths of (1, pos, d) vectors."""
    return float(torch.linalg.vector_norm(vectors, dtype=torch.float64)) / math.sqrt(vectors.shape[1])
