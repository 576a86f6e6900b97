"""Runs the command line, in this process or in one of its own."""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from pydantic import TypeAdapter

from core.__main__ import main

PROJECT = Path(__file__).resolve().parents[1]
MODULE = (sys.executable, "-W", "ignore", "-m", "core")


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        """Standard output, which must be one JSON object on one line and nothing else."""
        assert self.out.count("\n") == 1, self.out
        assert self.out.endswith("}\n")
        found = json.loads(self.out, parse_constant=_no_number)
        assert isinstance(found, dict)
        return found

    @property
    def error(self) -> dict[str, str]:
        """The error object, which must stand alone."""
        assert set(self.report) == {"error"}
        error: dict[str, str] = self.report["error"]
        assert set(error) == {"kind", "message", "remedy"}
        return error


def _no_number(word: str) -> None:
    raise AssertionError(f"{word} is not JSON")


def run_command(*arguments: str) -> Outcome:
    """`python -m core …` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(arguments))
    return Outcome(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def small_models(home: Path) -> Iterator[None]:
    """Uses `home` as the cache folder, and one thread: models too small for two are many times slower with two."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAFT_HOME", str(home))
        yield
    torch.set_num_threads(threads)


def environment(**variables: str | Path) -> dict[str, str]:
    """This process's environment with some variables set; one thread, for models too small for two."""
    return {**os.environ, "OMP_NUM_THREADS": "1", **{name: str(value) for name, value in variables.items()}}


def run_process(*arguments: str, timeout: float = 120, **variables: str | Path) -> Outcome:
    """`python -m core …` in a process of its own."""
    done = subprocess.run(
        [*MODULE, *arguments],
        cwd=PROJECT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def check_schema(outcome: Outcome, kind: type) -> None:
    jsonschema.validate(outcome.report, TypeAdapter(kind).json_schema(mode="serialization"))
