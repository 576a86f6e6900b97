"""Graft's core: pairs, gates, numbers, generation and training; no page code lives here.

`from core import load_pair` is the way in from Python; `python -m core` the one from a shell.
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.pair.open import load_pair

__version__ = "0.1.0"
__all__ = ["__version__", "load_pair"]

# Read by torch when it first allocates: large pages make freshly taken memory several times cheaper on Linux.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def __getattr__(name: str) -> Any:
    """Imports torch only when a pair is wanted."""
    if name == "load_pair":
        from core.pair.open import load_pair

        return load_pair
    raise AttributeError(f"module 'core' has no attribute {name!r}")
