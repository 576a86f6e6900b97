"""Noise that every lane shares: one Gumbel number for each word of the vocabulary, at each step, under each seed.

A lane that adds it to its log-probabilities and takes the largest sum draws from its own distribution; two lanes that
add the same noise draw differently only where their distributions do. Knows seeds, steps and the size of a vocabulary;
knows no lanes and no models.
"""

import functools

import numpy as np
import torch
from torch import Tensor

_BITS = 52  # of each 64: with a half added, every value is exact in float64 and lies strictly between 0 and 1
KEPT = 4
"""Steps whose noise is kept: lanes of one batch ask for the same one after another. A step is 8 bytes a word."""


@functools.lru_cache(maxsize=KEPT)
def gumbel_noise(seed: int, step: int, d_vocab: int) -> Tensor:
    """Independent standard Gumbel numbers, a pure function of seed, step and vocabulary id.

    No generator is advanced, torch's global one included, so the numbers are the same in any thread or process and in
    any order of asking. The first words of a larger vocabulary have the numbers of a smaller one. A counter-based
    generator is keyed with all 64 bits of seed and step each; torch's own keeps only 32 bits of its seed, and of a
    hundred thousand mixes of seed and step some would meet.

    Args:
        seed: of the answers, 0 to 2^64 − 1.
        step: index into the answer of the token to be chosen.
        d_vocab: how many words.

    Returns:
        (d_vocab,) float64 on the CPU, within −3.61 … 36.74. Shared with other callers: do not change it.

    Source: Gumbel 1954; Salmon et al. 2011 (Philox).
    """
    key = np.array([seed, step], dtype=np.uint64)
    raw = np.random.Philox(key=key).random_raw(d_vocab)
    uniform = ((raw >> np.uint64(64 - _BITS)).astype(np.float64) + 0.5) * 2.0**-_BITS
    return torch.from_numpy(-np.log(-np.log(uniform)))
