"""What every benchmark writes down beside its figures, and the question they ask."""

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")
RESULTS = Path(__file__).parent / "results"
CASE = (
    "A 67-year-old man with type 2 diabetes and high blood pressure comes to the emergency department because of "
    "chest tightness that began two hours ago while he was climbing stairs. He is short of breath and sweating. "
)


def question_of(n_tokens: int, length: Callable[[str], int]) -> str:
    """A question whose prompt, template included, has at least so many tokens, and hardly more.

    Args:
        n_tokens: wanted.
        length: how many tokens the prompt of a question has.
    """
    words = (CASE * 10).split()
    n_words = next(n for n in range(1, len(words)) if length(" ".join(words[:n])) >= n_tokens)
    return " ".join(words[:n_words])


def machine() -> dict[str, Any]:
    """Processor, cores, memory, versions, and the command that was run."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.processor())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    names = ("torch", "transformers", "peft", "streamlit")
    return {
        "processor": model,
        "threads": torch.get_num_threads(),
        "memory_gib": round(memory),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in names if find_spec(name)},
        "command": " ".join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]]),
    }


def in_a_thread(task: Callable[[], Result]) -> Result:
    """Runs a task in a thread that ends with it.

    A thread that has computed keeps helpers of its own for as long as it lives, and where there are more of those than
    processors, OpenMP's waits become slow: the pair's worker takes 1.5 times as long beside them. So what is compared
    with a worker must leave nothing behind.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(task).result()


def now() -> float:
    """Seconds, once the device has done all it was asked."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def in_turn(tasks: dict[str, Callable[[], object]], runs: int, warm: int = 1) -> dict[str, list[float]]:
    """Seconds of each task, one after the other, so many times over, after `warm` times that do not count."""
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    for run in range(runs + warm):
        for name, task in tasks.items():
            started = now()
            task()
            if run >= warm:
                taken[name].append(now() - started)
    return taken


def ratio(median: dict[str, float], one: str, other: str) -> float:
    """How many times as long one took as the other."""
    return round(median[one] / median[other], 2)


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Median, least and most, to the millisecond."""
    return {
        "median": round(statistics.median(seconds), 3),
        "least": round(min(seconds), 3),
        "most": round(max(seconds), 3),
        "n": len(seconds),
    }


def write(name: str, figures: dict[str, Any], print_only: bool = False) -> None:
    """Prints the figures and, unless they are only to be printed, keeps them in `results/NAME.json`."""
    text = json.dumps({"machine": machine(), **figures}, indent=1)
    if not print_only:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(text + "\n")
    print(text)
