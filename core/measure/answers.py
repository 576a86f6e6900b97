"""Comparing answers as token sequences: common prefix, first divergence, repetition.

Pure functions of ids; know no model.
"""

from collections.abc import Sequence


def first_divergence(a: Sequence[int], b: Sequence[int]) -> int | None:
    """Index of the first token at which two answers differ; None if they are the same.

    Where one answer is the beginning of the other, the index is its length.
    """
    for index, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return index
    return None if len(a) == len(b) else min(len(a), len(b))


def repetition(ids: Sequence[int], n: int = 4) -> float | None:
    """Share of n-grams that occurred before in the same answer, 0..1; None below n tokens."""
    grams = [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else None
