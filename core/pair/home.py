"""Where files live: the project's assets, and the cache folder for what is fetched.

Knows paths only; knows nothing about what the files hold.
"""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
ASSETS = PROJECT / "assets"


def graft_home() -> Path:
    """The cache folder: `GRAFT_HOME` if set, else `graft` under the user's cache folder."""
    configured = os.environ.get("GRAFT_HOME")
    if configured:
        return Path(configured).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache).expanduser() / "graft"
