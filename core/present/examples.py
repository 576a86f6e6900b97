"""The questions offered on the Ask page. Knows their file; knows no widgets."""

import tomllib
from dataclasses import dataclass
from functools import cache

from core.pair.home import ASSETS


@dataclass(frozen=True)
class Example:
    """A question with a short label and its kind (a specialty, `drug`, `laboratory`, `not medical`, …)."""

    label: str
    kind: str
    question: str


@cache
def examples() -> tuple[Example, ...]:
    """All of them, in the order of their file."""
    return tuple(Example(**row) for row in tomllib.loads((ASSETS / "examples.toml").read_text())["example"])
