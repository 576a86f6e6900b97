"""Writes docs/contract.md: what goes into the command line and what comes out of it.

Fields and types come from the report dataclasses, their meanings from the Attributes sections of those classes'
docstrings or, where a class has none, from contract_meanings.toml. Run `make docs` after a change.
"""

# ruff: noqa: E402
import argparse
import dataclasses
import inspect
import itertools
import json
import re
import sys
import tomllib
import types
import typing
from importlib import import_module
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))  # to run as a file, from any folder

import core.__main__ as command_line
from core import errors
from core.commands.common import Parser
from core.measure.tokens import Choice, TokenScore
from core.pair.gates import MAX_STRENGTH
from core.pair.parts import MASKS, Part
from core.present.all_reports import REPORTS
from core.present.provenance import SCHEMA_VERSION, Provenance, Versions
from core.present.report import Report
from core.study.settings import StudySettings
from core.train.settings import FinetuneSettings

TARGET = FOLDER / "contract.md"

EXIT_CODES = {
    0: "done",
    1: "a bug; the traceback is on standard error",
    2: "an argument or the input cannot be used",
    3: "the pair is not available: not fetched, offline, or a folder is gone",
    4: "out of memory",
    130: "interrupted",
}

MEANINGS: dict[str, dict[str, str]] = tomllib.loads((FOLDER / "contract_meanings.toml").read_text())


def paragraphs(text: str) -> str:
    """Text on one line."""
    return " ".join(text.split())


def attributes(kind: type) -> dict[str, str]:
    """Meanings of a dataclass's fields, from its docstring and from `MEANINGS`."""
    doc = inspect.cleandoc(kind.__doc__ or "")
    _, found, section = doc.partition("Attributes:\n")
    written = re.findall(r"^ {4}(\w[\w, ]*): ((?:.|\n(?! {4}\S))*)", section, re.MULTILINE) if found else []
    meanings: dict[str, str] = {}
    for names, meaning in [*written, *MEANINGS.get(kind.__name__, {}).items()]:
        for name in names.split(", "):
            if name in meanings or name not in {field.name for field in dataclasses.fields(kind)}:
                raise SystemExit(f"{kind.__name__}.{name} has two meanings, or is no field.")
            meanings[name] = re.sub(r"\bNone\b", "null", paragraphs(meaning)).removesuffix(".")
    return meanings


def meaning_of(kind: type, name: str) -> str:
    """What a field means; looked up in the class that declares it."""
    for owner in kind.__mro__:
        if name in inspect.get_annotations(owner):
            meanings = attributes(owner)
            if name not in meanings:
                raise SystemExit(f"{owner.__name__}.{name} has no meaning: give it one in its docstring.")
            return meanings[name]
    raise SystemExit(f"{kind.__name__} has no field {name}.")


PLAIN = {int: "integer", float: "number", str: "text", bool: "true/false", type(None): "null", Path: "text"}


def type_in_words(hint: Any) -> str:
    """A field's JSON type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in PLAIN:
        return PLAIN[hint]
    if dataclasses.is_dataclass(hint):
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(type_in_words(argument) for argument in arguments)
    if origin is dict:
        return f"object of {type_in_words(arguments[1])} by name"
    if origin in (tuple, list):
        return f"list of {type_in_words(arguments[0])}"
    raise SystemExit(f"There are no words for the type {hint}.")


def nested(hint: Any) -> list[type]:
    """The dataclasses in a type."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return [hint]
    return [kind for argument in typing.get_args(hint) for kind in nested(argument)]


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def field_table(kind: type, without: frozenset[str] = frozenset()) -> str:
    """Fields, types and meanings of a dataclass."""
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind) if field.name not in without]
    described = [(name, (type_in_words(hints[name]), meaning_of(kind, name))) for name in names]
    rows = [
        (", ".join(f"`{name}`" for name, _ in alike), *words)
        for words, alike in itertools.groupby(described, key=lambda pair: pair[1])
    ]
    return table(("field", "type", "meaning"), rows)


def summary_of(kind: type) -> str:
    """A docstring without its sections."""
    return paragraphs(re.split(r"\n(?:Attributes|Args|Raises|Source):", inspect.cleandoc(kind.__doc__ or ""))[0])


def nested_sections(kind: type, done: set[type]) -> list[str]:
    """One section for each dataclass inside another that has none yet."""
    sections: list[str] = []
    for hint in typing.get_type_hints(kind).values():
        for inner in nested(hint):
            if inner not in done:
                done.add(inner)
                sections.append(f"### {inner.__name__}\n\n{summary_of(inner)}\n\n{field_table(inner)}")
                sections += nested_sections(inner, done)
    return sections


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command."""
    found = {name: Parser() for name in command_line.COMMANDS}
    for name, parser in found.items():
        import_module(f"core.commands.{name}").add_arguments(parser)
    return found


def option_row(action: argparse.Action, known: dict[str, str]) -> tuple[str, str]:
    """An argument as it is typed, and what it does."""
    value = action.metavar or ("|".join(action.choices) if action.choices else action.dest.upper())
    value = "" if action.nargs == 0 else f" {value}{' …' if action.nargs == '+' else ''}"
    typed = " or ".join(f"`{name}{value}`" for name in action.option_strings) or f"`{value.strip()}`"
    written = "" if (action.help or "").startswith("default") else action.help
    words = written or known.get(action.dest)
    if not words:
        raise SystemExit(f"{typed} has no help text.")
    if action.required and action.option_strings:
        words += " (required)"
    elif action.default is not None and action.default is not False and "default" not in words:
        words += f" (default: {action.default})"
    return typed, words


def option_table(name: str, parser: argparse.ArgumentParser) -> str:
    """What a command takes."""
    settings = {"finetune": FinetuneSettings, "study": StudySettings}
    known = MEANINGS["options"] | (attributes(settings[name]) if name in settings else {})
    rows = [option_row(action, known) for action in parser._actions if action.dest != "help"]
    return table(("argument", "meaning"), rows)


def report_sections() -> str:
    """Every command with its arguments and fields."""
    done: set[type] = {Provenance, Versions}
    common = frozenset(field.name for field in dataclasses.fields(Report))
    sections = [f"## Every report\n\n{field_table(Report)}"]
    sections += [f"### {kind.__name__}\n\n{summary_of(kind)}\n\n{field_table(kind)}" for kind in (Provenance, Versions)]
    commands = parsers()
    if set(commands) != set(REPORTS):
        raise SystemExit(f"Commands {sorted(commands)} and reports {sorted(REPORTS)} differ.")
    for name, kind in REPORTS.items():
        sections += [f"## {name}", f"{summary_of(kind)} {MEANINGS['notes'][name]}".strip()]
        sections += [
            option_table(name, commands[name]),
            f"Beside the fields of every report:\n\n{field_table(kind, common)}",
        ]
        sections += nested_sections(kind, done)
    return "\n\n".join(sections)


def error_kinds() -> str:
    """Kinds of errors with their exit codes."""
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.GraftError)]
    rows = [(f"`{k.__name__}`", str(k.exit_code), summary_of(k)) for k in kinds if k is not errors.GraftError]
    return table(("kind", "exit code", "meaning"), [*rows, ("`Interrupted`", "130", "Stopped from the keyboard."),
                                                    ("`Bug`", "1", "Anything else.")])  # fmt: skip


def example() -> dict[str, Any]:
    """A shortened diff report; its fields exist, its numbers are invented."""
    choice = Choice(id=504, text="The", logp=-0.81)
    yes = TokenScore(
        pos=2, id=10539, text="Yes", bytes="596573", part="answer", kl_tuned_base=0.412, js=0.061, rank_base=3,
        top_base=(choice,),
    )  # fmt: skip
    first = TokenScore(pos=0, id=1, text="<|im_start|>", bytes=b"<|im_start|>".hex(), part="template")
    kept = {name: value for name, value in dataclasses.asdict(yes).items() if value is not None}
    return {
        "schema_version": SCHEMA_VERSION,
        "command": "python -m core diff 'Is ibuprofen safe?' --answer Yes. --json",
        "provenance": {"pair": "demo", "dtype": "float32", "noise_floor": 3.1e-09},
        "prompt_ids": [1, 9690],
        "answer_ids": [10539, 30],
        "answer_text": "Yes.",
        "mask": "response",
        "units": {"kl_tuned_base": "nats", "tv": "1"},
        "tokens": [{k: v for k, v in dataclasses.asdict(first).items() if k in (*kept, "kl_tuned_base")}, kept],
    }


def page() -> str:
    """The whole page."""
    return (FOLDER / "contract_template.md").read_text().format(
        commands=", ".join(f"[`{name}`](#{name})" for name in REPORTS),
        schema_version=SCHEMA_VERSION,
        exit_codes=table(("code", "meaning"), [(str(code), words) for code, words in EXIT_CODES.items()]),
        error_kinds=error_kinds(),
        parts=", ".join(f"`{part}`" for part in typing.get_args(Part)),
        masks=table(
            ("mask", "parts"), [(f"`{mask}`", ", ".join(f"`{p}`" for p in parts)) for mask, parts in MASKS.items()]
        ),
        max_strength=MAX_STRENGTH,
        reports=report_sections(),
        example=json.dumps(example(), indent=1, ensure_ascii=False),
    )  # fmt: skip


if __name__ == "__main__":
    TARGET.write_text(page())
