"""How far fine-tuning moved a hidden state: relative length of the change, and change of direction.

Pure functions of two states, in float64. Know no model.
"""

import torch
from torch import Tensor


def drift_norm(tuned: Tensor, base: Tensor) -> Tensor:
    """‖h_t − h_b‖ / ‖h_b‖ of (..., d_model) states: (...) float64, ≥ 0."""
    tuned, base = tuned.double(), base.double()
    moved: Tensor = torch.linalg.vector_norm(tuned - base, dim=-1) / torch.linalg.vector_norm(base, dim=-1)
    return moved


def drift_cosine(tuned: Tensor, base: Tensor) -> Tensor:
    """1 − cos(h_t, h_b) of (..., d_model) states: (...) float64 in 0..2.

    As half the squared distance of the unit vectors, which cannot go below 0 and does not cancel near it.
    """
    return (_direction(tuned) - _direction(base)).square().sum(dim=-1) / 2


def _direction(states: Tensor) -> Tensor:
    states = states.double()
    direction: Tensor = states / torch.linalg.vector_norm(states, dim=-1, keepdim=True)
    return direction
