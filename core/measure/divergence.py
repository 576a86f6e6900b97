"""Divergences between two next-token distributions, over the whole vocabulary.

Pure functions of logits; computed in float64 whatever comes in, so that a KL of 1e-9 is still a number. Know no
model. P is always the first argument.
"""

import math

import torch
from torch import Tensor

from core.errors import ShapeError

_SERIES_BELOW = 1e-3
_LINEAR_ABOVE = 1.0


def log_softmax(logits: Tensor) -> Tensor:
    """Natural log-probabilities, (..., d_vocab) float64."""
    return torch.log_softmax(logits.double(), dim=-1)


def _check(p: Tensor, q: Tensor) -> None:
    if p.shape != q.shape:
        raise ShapeError(f"Logits have shapes {tuple(p.shape)} and {tuple(q.shape)}.", "They must agree.")


def _excess(d: Tensor) -> Tensor:
    """e^d − 1 − d without cancellation near 0; never negative. For d ≤ 1."""
    series = d * d * (0.5 + d * (1 / 6 + d * (1 / 24 + d / 120)))
    return torch.where(d.abs() < _SERIES_BELOW, series, torch.expm1(d) - d)


def kl_terms_from_log(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Non-negative terms p·(e^d − 1 − d) with d = ln q − ln p, whose sum over the vocabulary is KL(P‖Q).

    They differ from p·ln(p/q) by q − p, which sums to 0; no term can be negative, so neither can the sum.

    Args:
        log_p, log_q: (..., d_vocab) float64 log-probabilities; −inf where a probability is 0.

    Returns:
        (..., d_vocab) float64, ≥ 0; +inf where p > 0 and q = 0.
    """
    p, q = log_p.exp(), log_q.exp()
    supported = p > 0
    d = torch.where(supported, log_q - log_p, 0.0)
    near = p * _excess(d.clamp(max=_LINEAR_ABOVE))
    far = (q - p - p * d).clamp(min=0)  # positive for d > 1, but for the rounding of subnormal numbers
    return torch.where(supported, torch.where(d > _LINEAR_ABOVE, far, near), q)


def kl_from_log(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(P‖Q) in nats from float64 log-probabilities: (...) float64, ≥ 0."""
    return kl_terms_from_log(log_p, log_q).sum(dim=-1)


def kl_divergence(logits_p: Tensor, logits_q: Tensor) -> Tensor:
    """KL(P ‖ Q) of next-token distributions, in nats.

    Args:
        logits_p: (..., d_vocab) logits of P, any float dtype; bring float32 logits, bfloat16 ones are too coarse.
        logits_q: same shape.

    Returns:
        (...) float64, ≥ 0.

    Raises:
        ShapeError: the shapes differ; the message gives both.

    Source: Kullback & Leibler 1951, eq. 2.4.
    """
    _check(logits_p, logits_q)
    return kl_from_log(log_softmax(logits_p), log_softmax(logits_q))


def kl_word_terms(logits_p: Tensor, logits_q: Tensor) -> Tensor:
    """Each vocabulary entry's share p·ln(p/q) of KL(P‖Q), in nats; signed, summing to the KL.

    Args:
        logits_p, logits_q: (..., d_vocab).

    Returns:
        (..., d_vocab) float64; positive where P gives more weight than Q ("gained").

    Raises:
        ShapeError: the shapes differ.
    """
    _check(logits_p, logits_q)
    log_p, log_q = log_softmax(logits_p), log_softmax(logits_q)
    p = log_p.exp()
    return torch.where(p > 0, p * (log_p - log_q), 0.0)


def js_from_log(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Jensen–Shannon divergence in nats from float64 log-probabilities: (...) float64 in 0..ln 2."""
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    return ((kl_from_log(log_p, log_m) + kl_from_log(log_q, log_m)) / 2).clamp(max=math.log(2))


def js_divergence(logits_p: Tensor, logits_q: Tensor) -> Tensor:
    """Jensen–Shannon divergence ½KL(P‖M) + ½KL(Q‖M), M = ½(P+Q), in nats.

    Args:
        logits_p, logits_q: (..., d_vocab).

    Returns:
        (...) float64 in 0..ln 2, symmetric.

    Raises:
        ShapeError: the shapes differ.

    Source: Lin 1991, eq. 4.1.
    """
    _check(logits_p, logits_q)
    return js_from_log(log_softmax(logits_p), log_softmax(logits_q))


def js_distance(js_nats: Tensor) -> Tensor:
    """√(JS in bits), a metric in 0..1, from JS in nats. Source: Endres & Schindelin 2003."""
    return (js_nats / math.log(2)).clamp(0, 1).sqrt()


def total_variation(logits_p: Tensor, logits_q: Tensor) -> Tensor:
    """Total variation distance ½ Σ|p − q|: (...) float64 in 0..1, symmetric.

    Raises:
        ShapeError: the shapes differ.
    """
    _check(logits_p, logits_q)
    return tv_from_log(log_softmax(logits_p), log_softmax(logits_q))


def tv_from_log(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Total variation distance from float64 log-probabilities: (...) float64 in 0..1."""
    return ((log_p.exp() - log_q.exp()).abs().sum(dim=-1) / 2).clamp(max=1)


def entropy_from_log(log_p: Tensor) -> Tensor:
    """Entropy −Σ p ln p in nats from float64 log-probabilities: (...) float64."""
    p = log_p.exp()
    return -torch.where(p > 0, p * log_p, 0.0).sum(dim=-1)


def entropy(logits: Tensor) -> Tensor:
    """Entropy −Σ p ln p of a next-token distribution, in nats: (...) float64."""
    return entropy_from_log(log_softmax(logits))


def rank_of(logits: Tensor, ids: Tensor) -> Tensor:
    """Rank of given tokens: 1 + how many entries have a strictly larger logit.

    Args:
        logits: (..., d_vocab).
        ids: (...) int64.

    Returns:
        (...) int64, 1 = first choice; tied tokens share the better rank.
    """
    own = logits.gather(-1, ids.unsqueeze(-1))
    return (logits > own).sum(dim=-1) + 1
