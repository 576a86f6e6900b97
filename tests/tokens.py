"""Builds scored tokens by hand."""

from typing import Any

from core.measure.tokens import Choice, TokenScore
from core.pair.parts import Part


def token(content: str | bytes, part: Part = "answer", **scores: Any) -> TokenScore:
    """A token of the given text or bytes; `scores` are fields of `TokenScore`."""
    raw = content.encode() if isinstance(content, str) else content
    return TokenScore(pos=0, id=0, text=raw.decode(errors="replace"), bytes=raw.hex(), part=part, **scores)


def choices(*ids: int) -> tuple[Choice, ...]:
    """First choices with the given ids, each a nat less likely than the one before."""
    return tuple(Choice(token_id, f"t{token_id}", -1.0 - place) for place, token_id in enumerate(ids))
