"""Holds adapters of the demo base beside each other: how each was trained, and its loss on held-out files.

    python docs/compare_adapters.py --files DIR ADAPTER [ADAPTER ...] [--rows N] [--out table.md]

DIR holds `eval/`, `control/` and `train/` as the demo adapter's card names them. Losses are those of
docs/evaluate_adapter.py: nats a token without headings, float32, plain transformers and peft, 95 % intervals over
documents.
"""

import argparse
import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from evaluate_adapter import LOSS_FILES, Models, loss_figures

from core.train.choice import FileChoice, parse_choice
from core.train.encode import encode
from core.train.rows import choose_rows


def trained_on(adapter: Path, files: Path, models: Models) -> dict[str, Any]:
    """What `settings.json` says of a run, with the tokens it saw counted from the data files."""
    settings = json.loads((adapter / "settings.json").read_text())
    seen = {group: _tokens(settings[group], settings["seed"], files, models) for group in ("data", "replay")}
    known = [n for n in seen.values() if n is not None]
    total = sum(known) * settings["epochs"] if len(known) == len(seen) else None
    return {
        "adapter": adapter.name,
        "goes on from": (settings.get("start_from") or {}).get("sha256", "")[:8] or "base",
        "rank": settings["rank"],
        "targets": len(settings["targets"]),
        "peak rate": f"{settings['learning_rate']:g}",
        "rows": ", ".join(_mix(one) for group in ("data", "replay") for one in settings[group]),
        "replay share": f"{(seen['replay'] or 0) * settings['epochs'] / total:.1%}" if total else "—",
        "tokens seen": f"{total:,}" if total else "— (a file is missing)",
    }


def _choice(recorded: dict[str, Any], files: Path) -> FileChoice | None:
    """A file of a run's settings, found again by its name; None where it is not there."""
    place = next(iter(sorted(files.rglob(recorded["path"]))), None)
    if place is None:
        return None
    known = {field.name for field in fields(FileChoice)}
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in recorded.items() if k in known}
    return FileChoice(**{**values, "path": place, "columns": tuple(map(tuple, recorded.get("columns") or ()))})


def _tokens(recorded: list[dict[str, Any]], seed: int, files: Path, models: Models) -> int | None:
    found = 0
    for one in recorded:
        choice = _choice(one, files)
        if choice is None:
            return None
        found += choice.passes * sum(len(encode(row, models.prompts).ids) for row in choose_rows(choice, seed))
    return found


def _mix(recorded: dict[str, Any]) -> str:
    limits = [f"{name} {recorded[name]}" for name in ("max_chars", "max_repetition") if recorded.get(name) is not None]
    passes = f" ×{recorded['passes']}" if recorded["passes"] > 1 else ""
    detail = f" ({', '.join(limits)})" if limits else ""
    return f"{recorded['rows'] or 'all'}{passes} {recorded['path'].split('.')[0]}{detail}"


def as_table(rows: list[dict[str, Any]]) -> str:
    """Rows of like keys as a Markdown table."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def main() -> None:
    """Compares what was named and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("adapters", type=Path, nargs="+", metavar="ADAPTER")
    parser.add_argument("--files", type=Path, required=True, metavar="DIR")
    parser.add_argument("--rows", type=int, help="at most so many rows a file, for a quick look")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    chosen = {
        name: choose_rows(parse_choice(f"{arguments.files}/{text}"), seed=1)[: arguments.rows]
        for name, text in LOSS_FILES.items()
    }
    table = []
    for adapter in arguments.adapters:
        models = Models(adapter)
        row = trained_on(adapter, arguments.files, models)
        for name, rows in chosen.items():
            found = loss_figures(models, rows)
            low, high = found["change_95"]
            row[name] = f"{found['change']:+.3f} ({low:+.3f} to {high:+.3f})"
        table.append(row)
        print(row, file=sys.stderr, flush=True)
    text = as_table(table)
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
