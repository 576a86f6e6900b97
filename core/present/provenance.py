"""What a figure can be traced back to, and the line that recomputes it.

Knows pairs and versions; knows no results.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib.metadata import version
from typing import Any

import core
from core.measure.noise import noise_of
from core.pair.pair import Pair

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Versions:
    """Versions of what computed a figure."""

    graft: str
    torch: str
    transformers: str
    peft: str


@dataclass(frozen=True)
class Provenance:
    """Where a figure comes from; null where no pair was loaded.

    Attributes:
        noise_floor: 99th percentile of KL(base‖base) between numerical routes, nats.
        adapter_dtype: the change is computed in float32 whatever the base's dtype, as peft does.
    """

    pair: str | None
    base_id: str | None
    base_sha256: str | None
    tuned_id: str | None
    tuned_sha256: str | None
    template_sha256: str | None
    device: str | None
    dtype: str | None
    adapter_dtype: str | None
    seed: int | None
    versions: Versions
    noise_floor: float | None


def versions() -> Versions:
    """The versions in use."""
    return Versions(core.__version__, version("torch"), version("transformers"), version("peft"))


def provenance_of(pair: Pair | None, seed: int | None = None) -> Provenance:
    """The provenance of figures made with a pair; nulls without one."""
    if pair is None:
        nothing: dict[str, Any] = {field.name: None for field in fields(Provenance)}
        return Provenance(**{**nothing, "versions": versions()})
    return Provenance(
        pair=pair.spec.name,
        base_id=pair.identity.base_id,
        base_sha256=pair.identity.base_sha256,
        tuned_id=pair.identity.tuned_id,
        tuned_sha256=pair.identity.tuned_sha256,
        template_sha256=pair.prompts.template_sha256,
        device=pair.device,
        dtype=pair.dtype,
        adapter_dtype="float32",
        seed=seed,
        versions=versions(),
        noise_floor=noise_of(pair).kl,
    )


def provenance_line(found: Provenance) -> str:
    """Models, hashes, device and versions in one line, for figures."""
    used = found.versions
    return (
        f"base {found.base_id} ({(found.base_sha256 or '')[:12]}), fine-tune {found.tuned_id} "
        f"({(found.tuned_sha256 or '')[:12]}), {found.device} {found.dtype}, graft {used.graft}, torch {used.torch}, "
        f"transformers {used.transformers}, peft {used.peft}, noise floor {found.noise_floor or 0:.1e} nats"
    )


@dataclass(frozen=True)
class Source:
    """What a figure says of where it comes from.

    Attributes:
        pair: the pair's name.
        line: models, hashes, device, versions.
        question: what was asked; empty where no text was looked at.
    """

    pair: str
    line: str
    question: str


def source_of(pair: Pair, question: str) -> Source:
    """Where figures made with a pair come from."""
    return Source(pair.spec.name, provenance_line(provenance_of(pair)), question)


def command_line(arguments: Sequence[str]) -> str:
    """The line to type, from the arguments after `python -m core`."""
    return shlex.join(["python", "-m", "core", *arguments])
