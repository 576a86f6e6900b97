"""`finetune`: trains a LoRA adapter for a pair's base."""

import argparse
from dataclasses import replace
from pathlib import Path

from core.commands.common import emit, head, say
from core.errors import ArgumentError
from core.pair.fetch import local_folder
from core.pair.files import weights_sha256
from core.pair.registry import named_source, pair_spec
from core.present.charts import loss_chart, write_svg
from core.present.finetune_report import FinetuneReport, finetune_text
from core.train.choice import CHOICE_FORM, parse_choice
from core.train.finetune import finetune
from core.train.preview import preview
from core.train.progress import read_curve
from core.train.settings import TARGETS, FinetuneSettings

_FILE_HELP = f"JSON lines (.gz too): {CHOICE_FORM}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    d = FinetuneSettings(data=(parse_choice("x"),))
    parser.add_argument("--pair", default="demo", metavar="NAME", help="whose base to train on (default: demo)")
    parser.add_argument("--base", metavar="ID|DIR", help="train on this base instead")
    parser.add_argument("--data", nargs="+", action="extend", required=True, metavar="FILE", help=_FILE_HELP)
    parser.add_argument(
        "--replay", nargs="+", action="extend", default=[], metavar="FILE", help="general rows against forgetting"
    )
    parser.add_argument(
        "--heldout", nargs="+", action="extend", default=[], metavar="FILE", help="rows to score, never trained on"
    )
    parser.add_argument("--adapter-dir", "--out", dest="folder", type=Path, metavar="DIR")
    for name, kind in _NUMBERS.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=kind, default=getattr(d, name), help="default: %(default)s"
        )
    parser.add_argument("--gradient-checkpointing", action="store_true", help="less memory, a third more time")
    parser.add_argument("--start-from", type=Path, metavar="DIR", help="train this adapter further")
    parser.add_argument("--dry-run", action="store_true", help="show three rows as they will be trained on, and stop")
    parser.add_argument("--targets", default=",".join(TARGETS), help="projections to adapt")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default=d.dtype)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, nothing else")
    parser.set_defaults(run=run, out=None)


_NUMBERS: dict[str, type] = {
    "rank": int, "alpha": int, "dropout": float, "learning_rate": float, "warmup": float, "clip": float,
    "batch_size": int, "accumulation": int, "epochs": int, "max_steps": int, "heldout_rows": int,
    "heldout_every": int, "checkpoint_every": int, "seed": int, "validation": float, "patience": int,
}  # fmt: skip


def run(arguments: argparse.Namespace) -> None:
    """Trains and reports."""
    if arguments.folder is None and not arguments.dry_run:
        raise ArgumentError("--adapter-dir is missing.", "Say where the adapter is to go, or ask for --dry-run.")
    targets = tuple(arguments.targets.split(","))
    unknown = [name for name in targets if name not in TARGETS]
    if unknown:
        raise ArgumentError(f"--targets names {unknown[0]!r}.", f"Choose from {', '.join(TARGETS)}.")
    settings = FinetuneSettings(
        data=tuple(parse_choice(text) for text in arguments.data),
        replay=tuple(parse_choice(text) for text in arguments.replay),
        heldout=tuple(parse_choice(text) for text in arguments.heldout),
        targets=targets,
        dtype=arguments.dtype,
        start_from=arguments.start_from,
        gradient_checkpointing=arguments.gradient_checkpointing,
        **{name: getattr(arguments, name) for name in _NUMBERS},
    )
    base = named_source(arguments.base, "The base model") if arguments.base else pair_spec(arguments.pair).base
    planned = preview(base, settings, say, arguments.device) if arguments.dry_run else None
    result = None if arguments.dry_run else finetune(base, arguments.folder, settings, say, arguments.device)
    if result is not None:
        write_svg(loss_chart(read_curve(arguments.folder / "curve.jsonl")), arguments.folder / "curve.svg")
    fields = head(arguments, None)
    folder = local_folder(base)
    fields["provenance"] = replace(
        fields["provenance"],
        base_id=base.id,
        base_sha256=weights_sha256(folder, "model.safetensors"),
        tuned_sha256=result.adapter_sha256 if result else None,
        device=arguments.device,
        dtype=settings.dtype,
        adapter_dtype="float32",
        seed=settings.seed,
    )
    report = FinetuneReport(**fields, settings=settings, preview=planned, result=result)
    emit(report, finetune_text(report), arguments)
