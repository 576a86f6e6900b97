"""Choosing the next token of one row: greedy, or by temperature and top-p with the row's own seed.

The filters are transformers' own logits processors. Knows logits of one row; knows no other rows.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

from core.errors import ArgumentError


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen.

    Attributes:
        temperature: 0 is greedy.
        top_p: keep the likeliest tokens that together hold this much probability.
        seed: of the row's own generator; rows with equal distributions and seeds choose equal tokens.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= 5:
            raise ArgumentError(f"Temperature {self.temperature} is not within 0..5.", "0 is greedy.")
        if not 0 < self.top_p <= 1:
            raise ArgumentError(f"top-p {self.top_p} is not within 0..1.", "1 keeps every token.")
        if not 0 <= self.seed < 2**63:
            raise ArgumentError(f"Seed {self.seed} is not a whole number from 0 to 2^63 − 1.", "Choose another.")


class RowSampler:
    """Chooses the tokens of one row, one after another."""

    def __init__(self, sampling: Sampling) -> None:
        self._greedy = sampling.temperature == 0
        self._random = torch.Generator().manual_seed(sampling.seed)
        self._processors = LogitsProcessorList()
        if not self._greedy:
            if sampling.temperature != 1:
                self._processors.append(TemperatureLogitsWarper(sampling.temperature))
            if sampling.top_p < 1:
                self._processors.append(TopPLogitsWarper(sampling.top_p))

    def choose(self, logits: Tensor) -> int:
        """The next token id from (d_vocab,) float32 logits."""
        if self._greedy:
            return int(logits.argmax())
        none = torch.empty(1, 0, dtype=torch.int64)  # these processors do not look at the tokens so far
        scores = self._processors(none, logits.unsqueeze(0).cpu())
        return int(torch.multinomial(torch.softmax(scores, dim=-1), 1, generator=self._random))
