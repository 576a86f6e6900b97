"""The pairs known by name, and pairs named on the spot by two folders or hub ids.

Knows where a pair's two halves are to be found; does not open them.
"""

import os
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from core.errors import ArgumentError
from core.pair.home import ASSETS

REGISTRY_FILE = ASSETS / "pairs.toml"
_REVISION = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Source:
    """Where one half of a pair comes from; exactly one of `wheel`, `hub`, `path` and `setting` is filled.

    Attributes:
        id: the name shown and recorded.
        wheel: requirement of a PyPI wheel whose file `member` (SHA-256 `member_sha256`) is a GGUF model.
        hub: repository id on the model hub, at `revision`.
        path: a folder.
        setting: environment variable holding a folder or a hub id.
        known_as: further names under which an adapter may record this base.
    """

    id: str
    wheel: str = ""
    member: str = ""
    member_sha256: str = ""
    hub: str = ""
    revision: str = ""
    path: str = ""
    setting: str = ""
    known_as: tuple[str, ...] = ()


@dataclass(frozen=True)
class PairSpec:
    """A pair's name, title and the sources of its two halves."""

    name: str
    title: str
    base: Source
    tuned: Source


def _source(table: dict[str, Any], where: str) -> Source:
    try:
        source = Source(**{**table, "known_as": tuple(table.get("known_as", ()))})
    except TypeError as error:
        raise ArgumentError(f"{where} in {REGISTRY_FILE.name} has unknown or missing keys: {error}.") from error
    kinds = [kind for kind in ("wheel", "hub", "path", "setting") if getattr(source, kind)]
    if len(kinds) != 1:
        raise ArgumentError(
            f"{where} in {REGISTRY_FILE.name} names {len(kinds)} sources.", "Give one of wheel, hub, path, setting."
        )
    if source.hub and not _REVISION.fullmatch(source.revision):
        raise ArgumentError(
            f"{where}: hub id {source.hub} has revision {source.revision!r}.", "Pin it to a 40-digit commit."
        )
    if source.path:
        source = Source(**{**source.__dict__, "path": str((REGISTRY_FILE.parent / source.path).resolve())})
    return source


@cache
def known_pairs() -> dict[str, PairSpec]:
    """The registry, in the order of its file."""
    tables = tomllib.loads(REGISTRY_FILE.read_text())
    return {
        name: PairSpec(
            name, table["title"], _source(table["base"], f"{name}.base"), _source(table["tuned"], f"{name}.tuned")
        )
        for name, table in tables.items()
    }


def pair_spec(name: str) -> PairSpec:
    """The registered pair of that name.

    Raises:
        ArgumentError: there is none; the message lists those there are.
    """
    pairs = known_pairs()
    if name not in pairs:
        raise ArgumentError(f"There is no pair named {name!r}.", f"Known pairs: {', '.join(pairs)}.")
    return pairs[name]


def named_source(text: str, what: str) -> Source:
    """A source from a folder, or from a hub id with an optional `@revision`.

    Raises:
        ArgumentError: `text` is neither an existing folder nor shaped like a hub id.
    """
    if Path(text).expanduser().is_dir():
        return Source(id=text, path=str(Path(text).expanduser().resolve()))
    repository, _, revision = text.partition("@")
    if _HUB_ID.fullmatch(repository) and (not revision or _REVISION.fullmatch(revision)):
        return Source(id=text, hub=repository, revision=revision)
    raise ArgumentError(
        f"{what} {text!r} is neither a folder nor a hub id.",
        "Give an existing folder, or owner/name, or owner/name@<40-digit commit>.",
    )


def spec_of(base: str, tuned: str) -> PairSpec:
    """A pair made of two folders or hub ids; see `named_source`."""
    return PairSpec(
        name=f"{Path(base).name} + {Path(tuned).name}",
        title=f"{Path(base).name} + {Path(tuned).name}",
        base=named_source(base, "The base model"),
        tuned=named_source(tuned, "The fine-tuned model"),
    )


def configured(source: Source) -> Source:
    """`source` with its `setting` looked up in the environment.

    Raises:
        ArgumentError: the variable is not set.
    """
    if not source.setting:
        return source
    value = os.environ.get(source.setting, "")
    if not value:
        raise ArgumentError(
            f"The {source.id} of this pair is not chosen.", f"Set {source.setting} to an adapter's folder or hub id."
        )
    return named_source(value, f"{source.setting}:")
