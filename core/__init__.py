"""Graft's core: pairs, gates, numbers, generation and training; no page code lives here.

`from core import load_pair` is the way in from Python; `python -m core` the one from a shell.
"""

import os

__version__ = "0.1.0"

# Read by torch when it first allocates: large pages make freshly taken memory several times cheaper on Linux.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

from core.pair.open import load_pair

__all__ = ["__version__", "load_pair"]
