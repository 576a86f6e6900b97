"""Choosing the next token of one row: greedy, by temperature and top-p under the row's own seed, or coupled.

Coupled rows share their noise: each still draws from its own distribution, yet two rows choose differently only where
their distributions do. The filters are transformers' own logits processors. Knows logits of one row; knows no other
rows.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

from core.errors import ArgumentError
from core.generate.coupling import KEPT, gumbel_noise


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen.

    Attributes:
        temperature: 0 is greedy.
        top_p: keep the likeliest tokens that together hold this much probability.
        seed: of the noise all rows share, or that of every row's own generator follows from (`Lane.own_seed`).
        coupled: whether all rows share one noise for each seed, step and word (Gumbel-max); needs a temperature.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    coupled: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= 5:
            raise ArgumentError(f"Temperature {self.temperature} is not within 0..5.", "0 is greedy.")
        if not 0 < self.top_p <= 1:
            raise ArgumentError(f"top-p {self.top_p} is not above 0 and at most 1.", "1 keeps every token.")
        if not 0 <= self.seed < 2**63:
            raise ArgumentError(f"Seed {self.seed} is not a whole number from 0 to 2^63 − 1.", "Choose another.")
        if self.coupled and self.temperature == 0:
            raise ArgumentError(
                "Coupled sampling at temperature 0: greedy needs no coupling, it draws nothing.",
                "Choose a temperature above 0, or leave coupling off.",
            )


@dataclass(frozen=True, eq=False)
class SamplerMark:
    """How far a sampler was: its next step, and the state of its generator where it draws."""

    step: int
    random: Tensor | None


class RowSampler:
    """Chooses the tokens of one row, one after another.

    Args:
        sampling: how.
        first_step: index into the answer of the first token it will choose; for coupled rows that begin later.
    """

    def __init__(self, sampling: Sampling, first_step: int = 0) -> None:
        self._sampling, self._step = sampling, first_step
        self._greedy = sampling.temperature == 0
        self._random = torch.Generator().manual_seed(sampling.seed)
        self._filters = _filters(sampling)

    def mark(self) -> SamplerMark:
        """How far it is."""
        return SamplerMark(self._step, None if self._greedy else self._random.get_state())

    def restore(self, mark: SamplerMark) -> None:
        """Goes back to where it was."""
        self._step = mark.step
        if mark.random is not None:
            self._random.set_state(mark.random)

    def choose(self, logits: Tensor) -> int:
        """The next token id from (d_vocab,) float32 logits."""
        step, self._step = self._step, self._step + 1
        if self._greedy:
            return int(logits.argmax())
        scores = _filtered(self._filters, logits.unsqueeze(0).cpu())
        if self._sampling.coupled:
            return int((scores[0].double() + gumbel_noise(self._sampling.seed, step, len(logits))).argmax())
        return int(torch.multinomial(torch.softmax(scores, dim=-1), 1, generator=self._random))


def coupled_choices(sampling: Sampling, logits: Tensor, first_step: int = 0) -> list[int]:
    """The token a coupled row would have taken at each of consecutive positions of a text it did not write.

    Args:
        sampling: coupled.
        logits: (positions, d_vocab) float32.
        first_step: index into the answer of the first position.

    Raises:
        ArgumentError: the sampling is not coupled.
    """
    check_coupled(sampling)
    sampler = RowSampler(sampling, first_step)
    return [sampler.choose(row) for row in logits]


def coupled_partings(sampling: Sampling, base: Tensor, tuned: Tensor, first_step: int = 0) -> list[bool]:
    """Whether two coupled rows would have taken different tokens, at each of consecutive positions of one text.

    Args:
        sampling: coupled.
        base, tuned: (positions, d_vocab) float32 logits of the two.
        first_step: index into the answer of the first position.

    Raises:
        ArgumentError: the sampling is not coupled.
    """
    parted: list[bool] = []
    for start in range(0, len(base), KEPT):  # the noise of so many steps is made once for both
        own, other = (
            coupled_choices(sampling, logits[start : start + KEPT], first_step + start) for logits in (base, tuned)
        )
        parted += [a != b for a, b in zip(own, other, strict=True)]
    return parted


def check_coupled(sampling: Sampling) -> None:
    """Refuses sampling whose rows share no noise.

    Raises:
        ArgumentError: it is not coupled.
    """
    if not sampling.coupled:
        raise ArgumentError("These rows share no noise: the sampling is not coupled.", "Ask for coupled sampling.")


def sampled_logits(sampling: Sampling, logits: Tensor) -> Tensor:
    """Logits of the distributions that are drawn from: after temperature and top-p, −inf where nothing is drawn.

    Args:
        sampling: with a temperature above 0.
        logits: (rows, d_vocab) float32.

    Returns:
        (rows, d_vocab) float32 on the CPU.

    Raises:
        ArgumentError: the temperature is 0: greedy choices are no draws.
    """
    if sampling.temperature == 0:
        raise ArgumentError("At temperature 0 nothing is drawn.", "Choose a temperature above 0.")
    return _filtered(_filters(sampling), logits.cpu())


def _filters(sampling: Sampling) -> LogitsProcessorList:
    filters = LogitsProcessorList()
    if sampling.temperature not in (0, 1):
        filters.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_p < 1:
        filters.append(TopPLogitsWarper(sampling.top_p))
    return filters


def _filtered(filters: LogitsProcessorList, logits: Tensor) -> Tensor:
    none = torch.empty(len(logits), 0, dtype=torch.int64)  # these processors do not look at the tokens so far
    scores: Tensor = filters(none, logits)
    return scores
