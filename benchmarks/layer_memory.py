"""The most memory a sweep or a grid takes beside the loaded pair, in a process of its own.

`python -m benchmarks.layer_memory sweep|grid` prints bytes. Knows Linux's account of a process; takes no times.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.layer_text import layer_text
from core import load_pair
from core.intervene.grid import grid
from core.intervene.plans import sweep_plans
from core.intervene.recovery import sweep

KINDS = ("sweep", "grid")
_ROOT = Path(__file__).resolve().parents[1]
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_of(kind: str) -> dict[str, float | str | None]:
    """Gigabytes (10⁹ bytes) that `kind` takes at its peak beyond what is resident before, from a fresh process."""
    command = [sys.executable, "-m", "benchmarks.layer_memory", kind]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"gb": None, "reason": done.stderr.strip().splitlines()[-1]}
    return {"gb": round(int(done.stdout) / 1e9, 2), "reason": None}


def extra_bytes(task: Callable[[], object]) -> int:
    """The peak of the resident set during a task, less what was resident before it."""
    _RESET.write_text("5")  # the peak so far, that of loading, is forgotten
    before = _kilobytes("VmRSS")
    task()
    return (_kilobytes("VmHWM") - before) * 1024


def _kilobytes(field: str) -> int:
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def main() -> None:
    """Loads, measures, prints."""
    pair = load_pair("demo")
    text = layer_text(pair)
    tasks: dict[str, Callable[[], object]] = {
        "sweep": lambda: sweep(pair, text.ids, text.predicted, sweep_plans("single", pair.n_layers)),
        "grid": lambda: grid(pair, text.ids, text.predicted, "resid_post", range(pair.n_layers), text.where),
    }
    print(extra_bytes(tasks[sys.argv[1]]))


if __name__ == "__main__":
    main()
