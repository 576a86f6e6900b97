"""`pairs`: what pairs there are, which are here, and fetching one."""

import argparse
import json
from pathlib import Path
from typing import Any

from core.commands.common import add_output, check_out, emit, head, say
from core.errors import PairUnavailableError
from core.pair.adapter import WEIGHTS
from core.pair.fetch import fetch, is_ready, local_folder
from core.pair.files import weights_sha256
from core.pair.registry import PairSpec, Source, known_pairs, pair_spec
from core.present.reports import Half, PairEntry, PairsReport, TunedHalf
from core.present.texts import pairs_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("--fetch", metavar="NAME", help="get this pair's files first")
    add_output(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Fetches if asked to, then lists."""
    check_out(arguments.out, ("json",))
    if arguments.fetch:
        fetch(pair_spec(arguments.fetch), lambda stage, share: say(f"[{share:4.0%}] {stage}"))
    entries = tuple(_entry(spec) for spec in known_pairs().values())
    report = PairsReport(**head(arguments, None), pairs=entries)
    emit(report, pairs_text(report), arguments)


def _found(source: Source, weights: str) -> tuple[Path | None, str | None]:
    try:
        folder = local_folder(source)
        return folder, weights_sha256(folder, weights)
    except PairUnavailableError:
        return None, None


def _entry(spec: PairSpec) -> PairEntry:
    base, base_hash = _found(spec.base, "model.safetensors")
    tuned, tuned_hash = _found(spec.tuned, WEIGHTS)
    config: dict[str, Any] = json.loads((base / "config.json").read_text()) if base else {}
    return PairEntry(
        name=spec.name,
        title=spec.title,
        ready=is_ready(spec),
        base=Half(spec.base.id, str(base) if base else None, base_hash),
        tuned=TunedHalf(spec.tuned.id, str(tuned) if tuned else None, tuned_hash, kind="adapter"),
        n_layers=config.get("num_hidden_layers"),
        d_model=config.get("hidden_size"),
        d_vocab=config.get("vocab_size"),
    )
