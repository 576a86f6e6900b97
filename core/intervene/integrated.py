"""Where along layers, projections and positions the change comes in: gradients along the way from recipient to donor.

All gates open together, and the slope of K in each of them is added up on the way: a few forward and backward passes
attribute the whole of K(all) − K(∅), whatever the size of the model. Knows gates and one figure, K; grafts nothing.

Source: integrated gradients (Sundararajan et al. 2017) with gates in place of inputs; attribution patching (Nanda 2023)
is its one-point form.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.errors import PromptError
from core.intervene.patch import check_site, recipient_and_donor
from core.measure.divergence import kl_divergence, log_softmax
from core.pair.gates import DIRECTIONS, PARTS, PROJECTIONS, Gates
from core.pair.memory import memory_for
from core.pair.pair import Pair

NODES = (6, 10)
"""Six nodes are enough for most texts; where they miss the whole by more than `COMPLETE_WITHIN`, ten are taken."""
COMPLETE_WITHIN = 0.005
PASSES_A_NODE = 3
"""A backward pass costs about two forward passes, so forward and backward together count as three."""
_BYTES_PER_ENTRY = 64


@dataclass(frozen=True, eq=False)
class Integrated:
    """K(all) − K(∅), divided among gates.

    Attributes:
        values: (n_layers, 7, pos) float64, nats: change of K each gate accounts for; below 0 where opening it brings
            the recipient nearer to the donor. Positions end with the last one that predicts the target.
        k_recipient, k_donor: K with all gates closed, and open; nats.
        completeness_error: |Σ values − (k_donor − k_recipient)| over |k_donor − k_recipient|; None where these are
            equal.
        n_nodes: of the quadrature the values come from.
        forwards_equivalent: forward passes' worth: three for every forward and backward pass, one for every other.
    """

    values: Tensor
    k_recipient: float
    k_donor: float
    completeness_error: float | None
    n_nodes: int
    forwards_equivalent: float

    def by_part(self) -> Tensor:
        """(n_layers, 2, pos): attn and mlp."""
        columns = [[PROJECTIONS.index(name) for name in PARTS[part]] for part in ("attn", "mlp")]
        return torch.stack([self.values[:, own].sum(1) for own in columns], dim=1)

    def at_site(self, site: str) -> Tensor:
        """What the gates say of a patch at each layer and position, as recovery: (n_layers, pos).

        For `attn_out` and `mlp_out` the gates of that part at that position; for the residual stream those of all
        parts below it at that position. A patch is not a graft: gates of keys and values act through later positions
        and a patch of `attn_out` does not, and what other positions' gates sent to this one counts with theirs. So
        this orders cells, and how well is for `rank_correlation` to say.

        Args:
            site: one of `patch.SITES`.

        Raises:
            ArgumentError: it is none of them.
        """
        check_site(site)
        attn, mlp = (-self.by_part() / self.k_recipient).unbind(1)
        if site in ("attn_out", "mlp_out"):
            return attn if site == "attn_out" else mlp
        through = (attn + mlp).cumsum(0)
        return {"resid_pre": through - attn - mlp, "resid_mid": through - mlp, "resid_post": through}[site]


def integrate_k(
    pair: Pair,
    ids: Sequence[int],
    predicted: Sequence[int],
    direction: str = DIRECTIONS[0],
    nodes: Sequence[int] = NODES,
    progress: Callable[[float], None] | None = None,
) -> Integrated:
    """Integrates the slope of K along g: 0 → 1, every gate at once, by Gauss–Legendre quadrature.

    Args:
        pair: the models.
        ids: the text.
        predicted: the target: indices of the tokens whose predictions count; none of them 0.
        direction: `tuned-into-base`: from base to tuned; or `base-into-tuned`.
        nodes: of the quadrature; the next number is tried where the one before misses by more than `COMPLETE_WITHIN`.
        progress: told the share done, 0..1; may raise to stop.

    Raises:
        PromptError: there is no target.
        ArgumentError: there is no such direction.
    """
    way = _Way(pair, ids, predicted, direction)
    change = way.k_donor - way.k_recipient
    n_run, error = 0, None
    for n_nodes in nodes:
        values = torch.zeros(way.shape, dtype=torch.float64)
        for point, weight in zip(*np.polynomial.legendre.leggauss(n_nodes), strict=True):
            values += float(weight) / 2 * way.slope((float(point) + 1) / 2)
            n_run += 1
            if progress:
                progress(n_run / sum(nodes))
        error = abs(float(values.sum()) - change) / abs(change) if change else None
        if error is None or error <= COMPLETE_WITHIN:
            break
    if progress:
        progress(1.0)
    return Integrated(values, way.k_recipient, way.k_donor, error, n_nodes, PASSES_A_NODE * n_run + way.n_plain)


def slope_of_k(
    pair: Pair, ids: Sequence[int], predicted: Sequence[int], direction: str = DIRECTIONS[0], at: float = 0.0
) -> Tensor:
    """∂K/∂g of every gate where all stand at `at`: (n_layers, 7, pos) float64, nats per unit of gate.

    At 0 it ranks layers by what a little of each would do; at 1 it vanishes, since K is smallest there, and says
    nothing about necessity. Costs one forward and one backward pass beside the two models' own runs.

    Args:
        pair, ids, predicted, direction: as for `integrate_k`.
        at: 0 is the recipient, 1 the donor.

    Raises:
        PromptError, ArgumentError: as `integrate_k`.
    """
    return _Way(pair, ids, predicted, direction).slope(at)


class _Way:
    """The straight line of gates from recipient to donor, and K on it."""

    def __init__(self, pair: Pair, ids: Sequence[int], predicted: Sequence[int], direction: str) -> None:
        self._where = sorted({index - 1 for index in predicted})
        if not self._where:
            raise PromptError("No token is left to score.", "Choose another target or a longer answer.")
        self._pair, self._ids = pair, pair.ids([ids[: self._where[-1] + 1]])
        ends = recipient_and_donor(pair, direction)
        self._start, self._end = (gates.values[0, 0, 0].item() for gates in ends)
        self._step = pair.unembed.positions_at_once(_BYTES_PER_ENTRY)
        with torch.no_grad():
            recipient, self._donor = (pair.hidden(self._ids, gates)[0, self._where] for gates in ends)
        self.n_plain = len(ends)
        self.shape = (pair.n_layers, len(PROJECTIONS), self._where[-1] + 1)
        self.k_recipient, self.k_donor = self._k(recipient), self._k(self._donor)

    def slope(self, at: float) -> Tensor:
        """∂K/∂t per gate at t, float64 on the CPU; the gates there are recipient + t·(donor − recipient)."""
        gate = self._start + at * (self._end - self._start)
        values = torch.full((1, *self.shape), gate, device=self._pair.device, requires_grad=True)
        with memory_for(f"Gradients of {self.shape[-1]:,} positions"):
            with torch.enable_grad():
                states = self._pair.hidden(self._ids, Gates(values))[0, self._where]
            (gradient,) = torch.autograd.grad(states, values, self._pull(states))
        return gradient[0].double().cpu() * (self._end - self._start)

    def _pull(self, states: Tensor) -> Tensor:
        """∂K/∂states: the slope of KL(p‖q) in the logits of q is q − p, here a few positions at a time."""
        pulls: list[Tensor] = []
        for own, donor in self._pieces(states.detach()):
            with torch.enable_grad():
                leaf = own.clone().requires_grad_()
                logits = self._pair.unembed(leaf)
            with torch.no_grad():
                excess = log_softmax(logits).exp() - log_softmax(self._pair.unembed(donor)).exp()
            pulls += torch.autograd.grad(logits, leaf, (excess / len(states)).to(logits.dtype))
        return torch.cat(pulls)

    @torch.no_grad()
    def _k(self, states: Tensor) -> float:
        unembed = self._pair.unembed
        return float(torch.cat([kl_divergence(unembed(p), unembed(q)) for q, p in self._pieces(states)]).mean())

    def _pieces(self, states: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """States and the donor's, a few positions at a time."""
        for start in range(0, len(states), self._step):
            here = slice(start, start + self._step)
            yield states[here], self._donor[here]
