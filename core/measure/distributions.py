"""Next-token distributions prepared once and compared many times, a few positions at a time.

The numbers of `divergence`, to 1e-6, at a fraction of the time: what is computed per word of the vocabulary is float32
and in place, sums over the vocabulary are float64, and what can be small is never the difference of two large numbers.
Where two logits part by more than e^x can hold, `divergence` itself takes over. Knows logits only.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from core.measure import divergence

ENTRIES_AT_ONCE = 2**17
"""Words of all positions compared at once: so many that what is worked on stays near the processor."""
_EXP_HOLDS_TO = 60.0
_BLOCK = 128


class Room:
    """Tensors that are used again and again: on a CPU, fresh memory costs more than the arithmetic done in it."""

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}

    def take(self, name: str, like: Tensor) -> Tensor:
        """A tensor of the shape, kind and device of another; overwrites what was last taken by that name."""
        kept = self._kept.get(name)
        if kept is None or kept.numel() < like.numel() or kept.device != like.device or kept.dtype != like.dtype:
            kept = self._kept[name] = torch.empty_like(like, memory_format=torch.contiguous_format).flatten()
        return kept[: like.numel()].view(like.shape)


@dataclass(frozen=True, eq=False)
class Distributions:
    """Distributions of n positions, from finite logits.

    Attributes:
        logits: (n, d_vocab) float32.
        shifted: logits less their largest; holds until the same name is prepared in the same room.
        weights: e^shifted; holds as long.
        largest: (n) float64, the largest logit.
        total: (n) float64, sum of the weights: a probability is weight / total.
        log_total: (n) float64, its logarithm.
    """

    logits: Tensor
    shifted: Tensor
    weights: Tensor
    largest: Tensor
    total: Tensor
    log_total: Tensor

    @classmethod
    def of(cls, logits: Tensor, room: Room, name: str) -> "Distributions":
        """Prepares (n, d_vocab) float32 logits."""
        largest = logits.amax(dim=-1, keepdim=True)
        shifted = torch.sub(logits, largest, out=room.take(f"{name} shifted", logits))
        weights = torch.exp(shifted, out=room.take(f"{name} weights", logits))
        total = _sum(weights)
        return cls(logits, shifted, weights, largest.squeeze(-1).double(), total, total.log())

    def log_prob(self, ids: Tensor) -> Tensor:
        """Log-probabilities of words, (n, k) int64: (n, k) float64."""
        return self.logits.gather(-1, ids).double() - (self.largest + self.log_total).unsqueeze(-1)

    def entropy(self, room: Room) -> Tensor:
        """In nats, (n) float64."""
        terms = torch.mul(self.weights, self.shifted, out=room.take("work", self.weights))
        return self.log_total - _sum(terms) / self.total

    def best(self, n_top: int) -> Tensor:
        """Ids of the first choices, (n, n_top) int64, best first.

        They lie in the blocks of the vocabulary with the largest maxima, or in what is left over by the last block.
        """
        n_blocks = self.logits.shape[1] // _BLOCK
        if n_blocks <= 2 * n_top:
            return self.logits.topk(n_top).indices
        blocks = self.logits[:, : n_blocks * _BLOCK].reshape(-1, n_blocks, _BLOCK)
        chosen = blocks.amax(dim=-1).topk(n_top, sorted=False).indices
        ids = (chosen.unsqueeze(-1) * _BLOCK + torch.arange(_BLOCK, device=chosen.device)).flatten(1)
        rest = torch.arange(n_blocks * _BLOCK, self.logits.shape[1], device=chosen.device)
        ids = torch.cat([ids, rest.expand(len(ids), -1)], dim=1)
        return ids.gather(1, self.logits.gather(1, ids).topk(n_top).indices)

    def rank_of(self, ids: Tensor, best: Tensor) -> Tensor:
        """1 + how many words have a larger logit than a given one, (n) int64; `best` are the first choices."""
        own = self.logits.gather(-1, ids.unsqueeze(-1))
        among = (self.logits.gather(-1, best) > own).sum(dim=-1)
        if int(among.max()) < best.shape[1]:  # nothing beyond the first choices can be larger
            return among + 1
        return divergence.rank_of(self.logits, ids)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Divergences of P and Q at each position: (n) float64, nats but for `tv`."""

    kl_pq: Tensor
    kl_qp: Tensor
    js: Tensor
    tv: Tensor


def compare(p: Distributions, q: Distributions, room: Room) -> Comparison:
    """KL in both directions, Jensen–Shannon and total variation, in one go.

    With d = ln q − ln p: KL(P‖Q) = Σ p·(e^d − 1 − d), KL(Q‖P) = Σ q·(e^−d − 1 + d), and with L = ln((1 + e^d) / 2) =
    ln(m / p), JS = ½ Σ q·d − (p + q)·L. An error that all of d share cancels to first order in each.
    """
    d, holds = _log_ratio(p, q, room)
    if not holds:
        return _exactly(p, q)
    excess = torch.expm1(d, out=room.take("excess", d))
    work = room.take("work", d)
    kl_pq = _mean(p, torch.sub(excess, d, out=work).mul_(p.weights))
    kl_qp = _mean(q, torch.neg(d, out=work).expm1_().add_(d).mul_(q.weights))
    prob_p = torch.div(p.weights, _column(p.total), out=room.take("p", d))
    prob_q = torch.div(q.weights, _column(q.total), out=room.take("q", d))
    both = torch.add(prob_p, prob_q, out=work)
    js = _sum(d.mul_(prob_q).sub_(excess.div_(2).log1p_().mul_(both))) / 2
    tv = _sum(prob_p.sub_(prob_q).abs_()) / 2
    return Comparison(kl_pq, kl_qp, js.clamp(0, math.log(2)), tv.clamp(max=1))


def kl(p: Distributions, q: Distributions, room: Room) -> Tensor:
    """KL(P‖Q) in nats at each position: (n) float64, ≥ 0."""
    d, holds = _log_ratio(p, q, room)
    if not holds:
        return divergence.kl_divergence(p.logits, q.logits)
    return _mean(p, torch.expm1(d, out=room.take("excess", d)).sub_(d).mul_(p.weights))


def word_extremes(p: Distributions, q: Distributions, room: Room) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of the terms p·ln(p/q) of KL(P‖Q), whose sum it is, the largest and the least at each position.

    Returns:
        Largest term, its word, least term, its word: (n) float64 nats or int64 ids each.
    """
    d, holds = _log_ratio(p, q, room)
    terms = d.mul_(p.weights).neg_() if holds else divergence.kl_word_terms(p.logits, q.logits)
    scale = p.total if holds else torch.ones_like(p.total)
    (most, gained), (least, lost) = terms.max(dim=-1), terms.min(dim=-1)
    return most.double() / scale, gained, least.double() / scale, lost


def _log_ratio(p: Distributions, q: Distributions, room: Room) -> tuple[Tensor, bool]:
    """ln q − ln p in float32, and whether e to its power holds."""
    d = torch.sub(q.shifted, p.shifted, out=room.take("d", p.shifted)).sub_(_column(q.log_total - p.log_total))
    least, most = (float(edge) for edge in torch.aminmax(d))
    return d, least > -_EXP_HOLDS_TO and most < _EXP_HOLDS_TO


def _exactly(p: Distributions, q: Distributions) -> Comparison:
    log_p, log_q = divergence.log_softmax(p.logits), divergence.log_softmax(q.logits)
    return Comparison(
        divergence.kl_from_log(log_p, log_q),
        divergence.kl_from_log(log_q, log_p),
        divergence.js_from_log(log_p, log_q),
        divergence.tv_from_log(log_p, log_q),
    )


def _mean(p: Distributions, weighted: Tensor) -> Tensor:
    """Sum of what is weighted by P, over P's total; e^d − 1 ≥ d but for the last digit."""
    return _sum(weighted).clamp_(min=0) / p.total


def _column(values: Tensor) -> Tensor:
    return values.float().unsqueeze(-1)


def _sum(values: Tensor) -> Tensor:
    return values.sum(dim=-1, dtype=torch.float64)
