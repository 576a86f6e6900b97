"""Hashes of weight files, remembered so that half a gigabyte is read once.

Knows files; knows nothing about models.
"""

import contextlib
import hashlib
import json
import os
import uuid
from pathlib import Path

from core.errors import PairUnavailableError
from core.pair.home import graft_home

INDEX_FILE = "model.safetensors.index.json"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remembered_hash(path: Path) -> str:
    """SHA-256 of `path`, read from the cache while size and modification time stay the same."""
    status = path.stat()
    key = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"
    store = graft_home() / "hashes.json"
    known: dict[str, str] = {}
    if store.is_file():
        try:
            known = json.loads(store.read_text())
        except ValueError:  # another process was stopped while writing an older version of this file
            known = {}
    if key not in known:
        known[key] = sha256_of(path)
        with contextlib.suppress(OSError):  # without a cache folder it is read again next time
            write_atomically(store, json.dumps(known, indent=1))
    return known[key]


def write_atomically(path: Path, text: str) -> None:
    """Writes `text` to `path` so that a reader sees the old file or the new one, never half of one.

    That holds after a power cut too: the text is on the disk before it takes the old one's place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def weights_sha256(folder: Path, name: str) -> str:
    """SHA-256 of a model's or adapter's weights.

    Args:
        folder: holds `name`, or, for a model, shards named by an index.
        name: `model.safetensors` or `adapter_model.safetensors`.

    Returns:
        The file's hash; for a sharded model, the hash of its shards' hashes joined in index (sorted) order.

    Raises:
        PairUnavailableError: there are no such weights in the folder.
    """
    path = folder / name
    if path.is_file():
        return _remembered_hash(path)
    index = folder / INDEX_FILE
    if name == "model.safetensors" and index.is_file():
        shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        missing = [shard for shard in shards if not (folder / shard).is_file()]
        if missing:
            raise PairUnavailableError(f"{folder} lacks {missing[0]}.", "Fetch or copy the model again.")
        joined = "".join(_remembered_hash(folder / shard) for shard in shards)
        return hashlib.sha256(joined.encode()).hexdigest()
    raise PairUnavailableError(
        f"{folder} holds no {name}.", "Only safetensors weights are loaded; convert the checkpoint first."
    )
