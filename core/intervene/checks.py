"""What the figures rest on, checked on the text at hand: identities that must hold whatever the models are.

Each check computes the same thing in two ways and says how far apart they came out. Knows a pair and a text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.intervene.patch import patched_hidden
from core.intervene.plans import Plan
from core.intervene.walk import walk
from core.measure.divergence import kl_divergence
from core.measure.lens import lens
from core.measure.noise import noise_of
from core.pair.blocks import Blocks
from core.pair.gated_linear import GatedLinear
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.twin import merged

TOLERANCE = 1e-4
SHOWN = 32


@dataclass(frozen=True)
class Check:
    """One identity.

    Attributes:
        says: what must be the same as what.
        measured: how far apart the two came out.
        limit: how far apart they may be.
        unit: of both.
    """

    says: str
    measured: float
    limit: float
    unit: str

    @property
    def holds(self) -> bool:
        """Whether it came out within the limit; a value that is no number never does."""
        return self.measured <= self.limit


@torch.no_grad()
def checks(
    pair: Pair, ids: Sequence[int], predicted: Sequence[int], progress: Callable[[float], None] | None = None
) -> tuple[Check, ...]:
    """Runs every check.

    Args:
        pair: the models.
        ids: the text.
        predicted: indices of predicted tokens; where there are many, some of them are looked at.
        progress: told the share done, 0..1; may raise to stop.
    """
    step = max(1, len(predicted) // SHOWN)
    text = _Text(pair, ids, list(predicted)[::step])
    kinds = (_base, _tuned, _neighbours, _tree, _prefix_is_patch, _divergence_from_itself, _last_lens_row)
    found = []
    for number, kind in enumerate(kinds):
        found.append(kind(text))
        if progress:
            progress((number + 1) / len(kinds))
    return tuple(found)


class _Text:
    """A text, and logits of it by the ordinary way."""

    def __init__(self, pair: Pair, ids: Sequence[int], predicted: Sequence[int]) -> None:
        self.pair, self.ids, self.predicted = pair, tuple(ids), tuple(predicted)
        self.where = [index - 1 for index in predicted]
        # In half precision the two ways round differently at every layer; then the model's own noise is the measure.
        self.limit = TOLERANCE if pair.dtype == "float32" else 4 * noise_of(pair).logit

    def logits(self, gates: Gates) -> Tensor:
        """(rows, positions, d_vocab), every row in one batch."""
        return self.pair.unembed(self.pair.hidden(self.pair.ids([self.ids] * gates.n_rows), gates)[:, self.where])

    def apart(self, says: str, a: Tensor, b: Tensor) -> Check:
        """A check on logits."""
        return Check(says, float((a - b).abs().max()), self.limit, "logits")

    def without_gates(self, replaced: Callable[[GatedLinear], torch.nn.Module]) -> Tensor:
        """(positions, d_vocab) of the model with plain layers in place of the gated ones, layer by layer."""
        blocks = Blocks(self.pair, self.ids)
        states = blocks.start()
        for number in range(self.pair.n_layers):
            states = blocks.plain(number, states, replaced)
        return self.pair.unembed(blocks.finish(states)[0, self.where])


def _base(text: _Text) -> Check:
    plain = text.without_gates(lambda gated: gated.base)
    return text.apart(
        "all gates closed = the base model without any gates", text.logits(text.pair.base_gates())[0], plain
    )


def _tuned(text: _Text) -> Check:
    plain = text.without_gates(merged)
    says = "all gates open = the base model with the fine-tune merged into its weights"
    return text.apart(says, text.logits(text.pair.tuned_gates())[0], plain)


def _neighbours(text: _Text) -> Check:
    n = text.pair.n_layers
    mixed = Gates.graft(n, range(n // 2, n))
    together = text.logits(Gates.stack([text.pair.base_gates(), mixed, text.pair.tuned_gates()]))
    return text.apart("a hybrid beside others in a batch = the same hybrid alone", together[1], text.logits(mixed)[0])


def _tree(text: _Text) -> Check:
    n = text.pair.n_layers
    sets = [range(k, n, 3) for k in range(3)] + [range(n // 2), range(n // 3, n)]
    gates = Gates.stack([Gates.graft(n, layers, part) for layers in sets for part in ("attn", "both")])
    walked = text.pair.unembed(walk(text.pair, text.ids, gates, text.where).hidden)
    alone = torch.stack([text.logits(gates.take([row]))[0] for row in range(gates.n_rows)])
    return text.apart("ten sets of layers through the prefix tree = one forward pass each", walked, alone)


def _prefix_is_patch(text: _Text) -> Check:
    n, everywhere = text.pair.n_layers, range(len(text.ids))
    middle = n // 2
    patched = patched_hidden(text.pair, text.ids, "resid_post", middle, list(everywhere))[text.where]
    grafted = text.logits(Plan("", f"0-{middle}" if middle else "0").gates(n))[0]
    says = f"layers 0 to {middle} grafted = the whole residual stream after layer {middle} patched in"
    return text.apart(says, grafted, text.pair.unembed(patched))


def _divergence_from_itself(text: _Text) -> Check:
    base, tuned = text.logits(Gates.stack([text.pair.base_gates(), text.pair.tuned_gates()]))
    least = min(float(kl_divergence(tuned, base).min()), float(kl_divergence(base, tuned).min()))
    largest = max(float(kl_divergence(one, one).abs().max()) for one in (base, tuned))
    return Check("KL of a model from itself = 0, and no KL below 0", max(largest, -least), 0.0, "nats")


def _last_lens_row(text: _Text) -> Check:
    base, tuned = text.logits(Gates.stack([text.pair.base_gates(), text.pair.tuned_gates()]))
    found = lens(text.pair, text.ids, text.predicted, [text.pair.n_layers - 1])
    row = torch.tensor(found.kl[-1], dtype=torch.float64)
    apart = float((row - kl_divergence(tuned, base).double().cpu()).abs().max())
    return Check("the last row of the lens = the divergence of the output", apart, TOLERANCE, "nats")
