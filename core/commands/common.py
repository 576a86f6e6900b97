"""Arguments and manners that commands share.

Knows argparse and where output goes; knows no numbers.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from core.errors import ArgumentError
from core.measure.tokens import TokenScore
from core.pair.load import slow_dtype
from core.pair.open import load_pair
from core.pair.pair import Pair
from core.pair.prompts import Message, Prompt
from core.pair.registry import PairSpec, pair_spec, spec_of
from core.present.figures import Exportable
from core.present.provenance import SCHEMA_VERSION, command_line, provenance_of
from core.present.report import to_json
from core.present.reports import DiffReport


class Parser(argparse.ArgumentParser):
    """An argument parser that takes no abbreviations and whose complaints are `ArgumentError`s."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        """Raises instead of leaving, so that `--json` gets its error object."""
        raise ArgumentError(f"{message[0].upper()}{message[1:]}.", f"See `{self.prog} --help`.")


def say(line: str) -> None:
    """One line of progress, on standard error."""
    print(line, file=sys.stderr, flush=True)


def add_output(parser: argparse.ArgumentParser) -> None:
    """`--json` and `--out`."""
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, nothing else")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="also write the report to FILE.json, or the command's figure, where it has one, to FILE.csv, .png, .svg, "
        ".pdf or .html",
    )


def add_pair(parser: argparse.ArgumentParser) -> None:
    """Which two models, and where they run."""
    parser.add_argument("--pair", default="demo", metavar="NAME", help="a registered pair (default: demo)")
    parser.add_argument("--base", metavar="ID|DIR", help="base model: hub id[@commit] or folder; needs --tuned")
    parser.add_argument("--tuned", metavar="ID|DIR", help="adapter: hub id[@commit] or folder; needs --base")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="float32 on CPU, bfloat16 on CUDA")


def add_question(parser: argparse.ArgumentParser) -> None:
    """What is asked, and how it is put to the models."""
    parser.add_argument("question", metavar="QUESTION", help="the question, or with --raw the text to continue")
    add_asked(parser)


def add_asked(parser: argparse.ArgumentParser) -> None:
    """How a question is put to the models."""
    parser.add_argument("--system", metavar="TEXT", help="system prompt")
    parser.add_argument("--raw", action="store_true", help="no chat template")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-new-tokens", type=int, default=128, metavar="N")


def chosen_spec(arguments: argparse.Namespace) -> PairSpec:
    """The pair the arguments name."""
    if bool(arguments.base) != bool(arguments.tuned):
        raise ArgumentError("--base and --tuned go together.", "Give both, or --pair.")
    return spec_of(arguments.base, arguments.tuned) if arguments.base else pair_spec(arguments.pair)


def open_pair(arguments: argparse.Namespace) -> Pair:
    """Loads the pair the arguments name."""
    pair = load_pair(chosen_spec(arguments), arguments.device, arguments.dtype)
    say(f"{pair.spec.title} on {pair.device} in {pair.dtype}; {pair.adapter.banner}")
    if slow := slow_dtype(pair.device, pair.dtype):
        say(slow)
    return pair


def build_prompt(arguments: argparse.Namespace, pair: Pair) -> Prompt:
    """The prompt the arguments describe."""
    if arguments.raw:
        if arguments.system:
            raise ArgumentError("--raw takes no --system.", "Put everything into the text.")
        return pair.prompts.raw(arguments.question)
    messages = [Message(role="user", content=arguments.question)]
    if arguments.system:
        messages.insert(0, Message(role="system", content=arguments.system))
    return pair.prompts.chat(messages)


def head(arguments: argparse.Namespace, pair: Pair | None) -> dict[str, Any]:
    """The fields every report begins with."""
    return {
        "schema_version": SCHEMA_VERSION,
        "command": command_line(arguments.typed),
        "provenance": provenance_of(pair, getattr(arguments, "seed", None)),
    }


def check_out(path: Path | None, kinds: Sequence[str]) -> None:
    """Refuses an unusable `--out` before anything is computed."""
    if path is None:
        return
    if path.suffix.lstrip(".") not in kinds:
        raise ArgumentError(
            f"--out {path.name}: {path.suffix or 'no ending'} is not a known form.", f"Use {', '.join(kinds)}."
        )
    if not path.parent.is_dir():
        raise ArgumentError(f"--out {path}: the folder does not exist.", "Make it first.")


def emit(report: Any, text: str, arguments: argparse.Namespace, figure: Exportable | None = None) -> None:
    """Prints a report and writes it to `--out`; as a picture or page it is the figure that is written."""
    if arguments.out is not None:
        try:
            if figure is not None and not _as_report(report, arguments.out):
                arguments.out.write_bytes(figure.as_file(arguments.out.suffix.lstrip(".")))
            else:
                write_report(report, arguments.out)
        except OSError as error:
            raise ArgumentError(f"Cannot write {arguments.out}: {error.strerror}.", "Choose another file.") from error
    print(to_json(report) if arguments.json else text)


def _as_report(report: Any, path: Path) -> bool:
    return path.suffix == ".json" or (path.suffix == ".csv" and isinstance(report, DiffReport))


def write_report(report: Any, path: Path) -> None:
    """Writes a report as JSON, or a diff's tokens as CSV."""
    if path.suffix == ".csv" and isinstance(report, DiffReport):
        with path.open("w", newline="", encoding="utf-8") as file:
            write_tokens(report.tokens, file)
    else:
        path.write_text(to_json(report, indent=1), encoding="utf-8")


def write_tokens(tokens: Sequence[TokenScore], file: Any) -> None:
    """One line a token; the ten first choices stay in the JSON."""
    rows = [{k: v for k, v in asdict(token).items() if not k.startswith("top_")} for token in tokens]
    writer = csv.DictWriter(file, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
