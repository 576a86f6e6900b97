"""Hashes of weight files: whose they are, and when they are read again."""

import hashlib
import json
import os
import threading
from pathlib import Path

import pytest

from core.errors import PairUnavailableError
from core.pair.files import sha256_of, weights_sha256, write_atomically

MODEL, ADAPTER = "model.safetensors", "adapter_model.safetensors"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder that is not there yet."""
    monkeypatch.setenv("GRAFT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty model folder."""
    made = tmp_path / "model"
    made.mkdir()
    return made


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_sharded(folder: Path, shards: dict[str, bytes]) -> None:
    """Shards and an index that names them, the last one first and one of them twice."""
    for name, content in shards.items():
        (folder / name).write_bytes(content)
    names = [*reversed(list(shards)), next(iter(shards))]
    index = {"weight_map": {f"tensor{number}": name for number, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_sha256_of_known_contents(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("name", [MODEL, ADAPTER])
def test_a_single_file_has_its_own_hash(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"weights")
    assert weights_sha256(folder, name) == digest(b"weights")


def test_shards_are_hashed_as_their_hashes_in_sorted_order(folder: Path) -> None:
    write_sharded(folder, {"model-00001-of-00002.safetensors": b"one", "model-00002-of-00002.safetensors": b"two"})
    assert weights_sha256(folder, MODEL) == digest((digest(b"one") + digest(b"two")).encode())


def test_a_single_file_comes_before_an_index(folder: Path) -> None:
    write_sharded(folder, {"model-00001-of-00001.safetensors": b"one"})
    (folder / MODEL).write_bytes(b"whole")
    assert weights_sha256(folder, MODEL) == digest(b"whole")


@pytest.mark.parametrize("name", [MODEL, ADAPTER])
def test_missing_weights_are_named(folder: Path, name: str) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(PairUnavailableError) as caught:
        weights_sha256(folder, name)
    assert str(folder) in caught.value.message
    assert name in caught.value.message


def test_a_models_index_says_nothing_about_an_adapter(folder: Path) -> None:
    write_sharded(folder, {"model-00001-of-00001.safetensors": b"one"})
    with pytest.raises(PairUnavailableError, match=ADAPTER):
        weights_sha256(folder, ADAPTER)


def test_a_missing_shard_is_reported_as_missing_weights(folder: Path) -> None:
    write_sharded(folder, {"model-00001-of-00002.safetensors": b"one", "model-00002-of-00002.safetensors": b"two"})
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(PairUnavailableError, match="model-00002-of-00002"):
        weights_sha256(folder, MODEL)


def test_an_unchanged_file_is_not_read_again(folder: Path) -> None:
    path = folder / MODEL
    path.write_bytes(b"first")
    status = path.stat()
    assert weights_sha256(folder, MODEL) == digest(b"first")
    path.write_bytes(b"other")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert weights_sha256(folder, MODEL) == digest(b"first")


def test_a_file_of_another_time_or_size_is_read_again(folder: Path) -> None:
    path = folder / MODEL
    path.write_bytes(b"first")
    status = path.stat()
    weights_sha256(folder, MODEL)
    path.write_bytes(b"other")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert weights_sha256(folder, MODEL) == digest(b"other")
    path.write_bytes(b"longer")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert weights_sha256(folder, MODEL) == digest(b"longer")


def test_a_damaged_cache_is_made_anew(folder: Path, home: Path) -> None:
    (folder / MODEL).write_bytes(b"weights")
    home.mkdir()
    (home / "hashes.json").write_text('{"half')
    assert weights_sha256(folder, MODEL) == digest(b"weights")
    assert digest(b"weights") in json.loads((home / "hashes.json").read_text()).values()


def test_a_cache_that_cannot_be_written_only_costs_time(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / MODEL).write_bytes(b"weights")
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("GRAFT_HOME", str(tmp_path / "file" / "home"))
    assert weights_sha256(folder, MODEL) == digest(b"weights")


def test_writing_replaces_the_whole_text_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"
    write_atomically(path, "a long first text")
    write_atomically(path, "short")
    assert path.read_text() == "short"
    assert list(path.parent.iterdir()) == [path]


def test_a_text_is_on_the_disk_before_it_takes_the_place_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: dict[int, int] = {}
    replaced: list[tuple[int, int]] = []
    fsync, replace = os.fsync, os.replace

    def keep(descriptor: int) -> None:
        fsync(descriptor)
        status = os.fstat(descriptor)
        synced[status.st_ino] = status.st_size

    def look(source: Path, target: Path) -> None:
        replaced.append((source.stat().st_ino, source.stat().st_size))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", keep)
    monkeypatch.setattr(os, "replace", look)
    write_atomically(tmp_path / "file.json", "a text")
    assert replaced == list(synced.items())
    assert [size for _, size in replaced] == [6]


def test_several_threads_may_write_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    texts = [letter * 20_000 for letter in "abcd"]
    failures: list[OSError] = []

    def write(text: str) -> None:
        try:
            for _ in range(200):
                write_atomically(path, text)
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert path.read_text() in texts
