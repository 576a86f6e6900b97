"""The command line: `python -m core COMMAND …`.

Exit codes: 0 done; 1 a bug; 2 bad arguments or input; 3 the pair is not available; 4 out of memory; 130 interrupted.
"""

import io
import json
import os
import sys
import traceback
import warnings
from importlib import import_module

from core.errors import GraftError

# Only the command that was typed is imported: training alone takes seconds to import.
COMMANDS = {
    "pairs": "list the known pairs; fetch one",
    "diff": "score every token of an answer under both models",
    "ask": "three answers to one question",
    "why": "question one token of an answer: words, first choices, layers",
    "lens": "read both models after every layer: how far apart they are there, token by token",
    "sweep": "graft many sets of layers on one text: how much of the fine-tune each brings back",
    "grid": "patch one model's activations into the other, layer by position: what each patch brings over",
    "search": "find small sets of layers that bring back most of the fine-tune, and hold them against controls",
    "weights": "measure how much the fine-tune changed every weight matrix",
    "study": "measure both models over many prompts of several corpora, stop, resume, look ahead",
    "finetune": "train a LoRA adapter on question–answer rows",
}


# torch has an error class of its own for CUDA only.
_OUT_OF_MEMORY = ("out of memory", "not enough memory")


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    typed = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in typed
    if not sys.warnoptions:
        warnings.simplefilter("ignore", FutureWarning)  # other libraries' notices to their own developers
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")
        from core.commands.common import Parser

        parser = Parser(prog="python -m core", description="What medical fine-tuning changed in a language model.")
        commands = parser.add_subparsers(dest="name", required=True, parser_class=Parser, metavar="COMMAND")
        for name, words in COMMANDS.items():
            parser_of_command = commands.add_parser(name, help=words)
            if name in typed[:1]:
                import_module(f"core.commands.{name}").add_arguments(parser_of_command)
        arguments = parser.parse_args(typed)
        arguments.typed = typed
        arguments.run(arguments)
        sys.stdout.flush()
        return 0
    except GraftError as error:
        return _fail(as_json, type(error).__name__, error.message, error.remedy, error.exit_code)
    except KeyboardInterrupt:
        return _fail(as_json, "Interrupted", "Interrupted.", "", 130)
    except BrokenPipeError:  # the reader of standard output left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if isinstance(error, MemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY):
            return _fail(as_json, "DeviceMemoryError", f"Out of memory: {error}", "Shorten the text.", 4)
        traceback.print_exc()
        return _fail(as_json, "Bug", f"{type(error).__name__}: {error}", "Please report this with the lines above.", 1)


def _fail(as_json: bool, kind: str, message: str, remedy: str, code: int) -> int:
    if as_json:
        print(json.dumps({"error": {"kind": kind, "message": message, "remedy": remedy}}, ensure_ascii=False))
    else:
        print(f"{message} {remedy}".strip(), file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
