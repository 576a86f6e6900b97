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


def parted_at(a: Sequence[int], b: Sequence[int]) -> int | None:
    """Index of the first token at which two answers differ, as far as both were written; None if nowhere.

    An answer that ended by itself holds its end, so that one that goes on where the other ended differs there.
    """
    shared = min(len(a), len(b))
    return first_divergence(a[:shared], b[:shared])


def repetition(ids: Sequence[int], n: int = 4) -> float | None:
    """Share of n-grams that occurred before in the same answer, 0..1; None below n tokens."""
    grams = [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else None
