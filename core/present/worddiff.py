"""Two answers word by word: what they share, and what each has alone.

Source of the alignment: difflib's matching blocks (Ratcliff and Obershelp), over words. Knows texts only.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

_WORD = re.compile(r"\S+\s*")


@dataclass(frozen=True)
class Stretch:
    """A run of words of one text; `shared` where the other text has it at this place too."""

    text: str
    shared: bool


@dataclass(frozen=True)
class WordDiff:
    """Two texts cut into stretches; joined, each side is its text again, leading white space aside.

    `n_shared` words stand in both; `n_left` and `n_right` are the words of each.
    """

    left: tuple[Stretch, ...]
    right: tuple[Stretch, ...]
    n_shared: int
    n_left: int
    n_right: int


def word_diff(left: str, right: str) -> WordDiff:
    """Aligns two texts by their words; white space does not count."""
    a, b = _WORD.findall(left), _WORD.findall(right)
    blocks = SequenceMatcher(None, [w.strip() for w in a], [w.strip() for w in b], autojunk=False).get_matching_blocks()
    return WordDiff(
        _stretches(a, [(block.a, block.size) for block in blocks]),
        _stretches(b, [(block.b, block.size) for block in blocks]),
        sum(block.size for block in blocks),
        len(a),
        len(b),
    )


def _stretches(words: Sequence[str], blocks: Sequence[tuple[int, int]]) -> tuple[Stretch, ...]:
    found: list[Stretch] = []
    done = 0
    for start, size in blocks:
        found += [
            Stretch("".join(words[done:start]), shared=False),
            Stretch("".join(words[start : start + size]), True),
        ]
        done = start + size
    return tuple(stretch for stretch in found if stretch.text)
