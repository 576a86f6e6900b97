"""How results of two devices are compared: numbers within a tolerance, everything else exactly."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

DEVICE = "cuda"
GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="There is no CUDA device on this machine"),
]
TOLERANCE = 1e-4
"""Nats: what recomputing from scratch may change (METRICS.md)."""
OF_SEVERAL = 10 * TOLERANCE
"""Sums over a dozen tokens, and shares of a tenth of a nat."""
PLACES = 2
"""Ranks among unlikely words, which lie close together."""
OF_RANKS = 0.02
"""A rank correlation of cells many of which are all but 0."""
SPEEDS = ("tokens_per_second",)


def assert_near(one: Any, other: Any, at: str = "result") -> None:
    """Fails where two results differ in a number by more than the tolerance, or in anything else at all."""
    assert type(one) is type(other), at
    if is_dataclass(one):
        for field in fields(one):
            if field.name not in SPEEDS:
                assert_near(getattr(one, field.name), getattr(other, field.name), f"{at}.{field.name}")
    elif isinstance(one, Tensor):
        assert_near(one.tolist(), other.tolist(), at)
    elif isinstance(one, Mapping):
        assert list(one) == list(other), at
        for key in one:
            assert_near(one[key], other[key], f"{at}.{key}")
    elif isinstance(one, Sequence) and not isinstance(one, str):
        assert len(one) == len(other), at
        for index, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            assert_near(mine, theirs, f"{at}[{index}]")
    elif isinstance(one, float):
        within = OF_SEVERAL if at.endswith("recovery") else OF_RANKS if at.endswith("rank_correlation") else TOLERANCE
        assert one == pytest.approx(other, abs=within, rel=TOLERANCE), at
    elif isinstance(one, int) and ".rank" in at:
        assert abs(one - other) <= PLACES, at
    else:
        assert one == other, at
