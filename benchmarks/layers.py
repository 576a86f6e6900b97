"""How quick the computations behind the Layers page are, on the demo pair: `python -m benchmarks.layers [--runs 3]`.

A sweep and a patch grid are held against one forward pass per plan and per cell: by plain transformers, nnsight and
TransformerLens, on the same text, in the same process, in turn. That all give the same numbers is checked in the run.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import layer_memory
from benchmarks.common import spread, write
from benchmarks.layer_alternatives import Alternatives, alternatives, plain_logits
from benchmarks.layer_text import LayerText, layer_text
from core import load_pair
from core.intervene.grid import grid
from core.intervene.integrated import integrate_k
from core.intervene.mixer import Mixer
from core.intervene.plans import Plan, sweep_plans
from core.intervene.recovery import sweep
from core.intervene.walk import walk
from core.intervene.why import layer_effects, why
from core.measure.divergence import kl_divergence, log_softmax
from core.pair.gates import Gates, format_layers, thirds
from core.pair.pair import Pair

SITE = "resid_post"
RECOVERY_TO = 1e-4
LOGP_TO = 1e-3
GRADIENT_FORWARDS = 20
LONG = (136, 64)


@dataclass(frozen=True)
class Subject:
    """What is measured, and how thoroughly.

    Attributes:
        pair, text, other: the models, the text, and the same models elsewhere.
        runs: repetitions of everything.
        cells: patches that are timed elsewhere; the rest is scaled.
        every: only every so many of the plans and of the grid's positions; 1 takes all.
    """

    pair: Pair
    text: LayerText
    other: Alternatives
    runs: int
    cells: int
    every: int

    @property
    def keep(self) -> Tensor:
        """Positions to unembed."""
        return torch.tensor(self.text.where)

    def ends(self) -> tuple[Tensor, float]:
        """Logits of plain tuned, and plain K(∅): prepared before any clock runs."""
        base, tuned = (plain_logits(m, self.text.ids, self.keep) for m in (self.other.base, self.other.tuned))
        return tuned, float(kl_divergence(tuned, base).mean())


def in_turn(tasks: dict[str, Callable[[], object]], runs: int) -> dict[str, list[float]]:
    """Seconds of each task, one after the other, so many times over."""
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(runs):
        for name, task in tasks.items():
            started = time.perf_counter()
            task()
            taken[name].append(time.perf_counter() - started)
    return taken


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Of the medians."""
    return round(statistics.median(ours) / statistics.median(theirs), 3)


def ratios(subject: Subject, ours: Sequence[float], theirs: dict[str, list[float]]) -> dict[str, float | None]:
    """Of the medians, by alternative; null for what is not installed."""
    return {name: ratio(ours, times) for name, times in theirs.items()} | dict.fromkeys(subject.other.missing)


def drain(items: Iterable[object]) -> None:
    """Takes every item and keeps none."""
    for _ in items:
        pass


def _all_of(use: Callable[[Iterator[Tensor]], object], way: Callable[[], Iterator[Tensor]]) -> None:
    use(way())


def agreed(what: str, apart: float, limit: float) -> float:
    """The difference, if it is within the limit."""
    if not apart <= limit:
        raise ValueError(f"{what}: {apart:.2g} apart, more than {limit:g}; a time for other numbers is worth nothing.")
    return float(f"{apart:.2g}")


def sweep_figures(subject: Subject) -> dict[str, Any]:
    """Thirty single-layer plans, with and without the KL of each from tuned."""
    pair, text, keep = subject.pair, subject.text, subject.keep
    layers = range(0, pair.n_layers, subject.every)
    plans = sweep_plans("single", pair.n_layers)[:: subject.every]
    gates = Gates.stack([plan.gates(pair.n_layers) for plan in plans])
    donor, k_base = subject.ends()

    def walked() -> Iterator[Tensor]:
        return (pair.unembed(states) for states in walk(pair, text.ids, gates, text.where).hidden)

    def with_kl(logits: Iterable[Tensor]) -> list[float]:
        return [1 - float(kl_divergence(donor, own).mean()) / k_base for own in logits]

    def figures(logits: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
        written = torch.tensor(text.ids)[text.predicted].unsqueeze(-1)
        pieces = [(with_kl([own]), log_softmax(own).gather(-1, written)[:, 0]) for own in logits]
        return torch.tensor([recovery for recovery, _ in pieces]).flatten(), torch.stack([logp for _, logp in pieces])

    ways = {name: partial(way.singles, text.ids, keep, layers) for name, way in subject.other.found.items()}
    own_recovery, own_logp = figures(walked())
    swept = torch.tensor([result.recovery for result in sweep(pair, text.ids, text.predicted, plans).results])
    apart = {"graft sweep": {"recovery": agreed("sweep", float((swept - own_recovery).abs().max()), RECOVERY_TO)}}
    for name, way in ways.items():
        recovery, logp = figures(way())
        apart[name] = {
            "recovery": agreed(f"recovery by {name}", float((recovery - own_recovery).abs().max()), RECOVERY_TO),
            "logp": agreed(f"log-probabilities by {name}", float((logp - own_logp).abs().max()), LOGP_TO),
        }
    tasks: dict[str, Callable[[], object]] = {
        "graft": lambda: sweep(pair, text.ids, text.predicted, plans),
        "graft logits": lambda: drain(walked()),
    }
    for name, way in ways.items():
        tasks[name] = partial(_all_of, with_kl, way)
        tasks[f"{name} logits"] = partial(_all_of, drain, way)
    taken = in_turn(tasks, subject.runs)
    return {
        "plans": len(plans),
        "seconds": {name: spread(times) for name, times in taken.items()},
        "ratio": ratios(subject, taken["graft"], {name: taken[name] for name in ways}),
        "ratio_logits": ratios(subject, taken["graft logits"], {name: taken[f"{name} logits"] for name in ways}),
        "largest_difference": apart,
    }


def grid_figures(subject: Subject) -> dict[str, Any]:
    """Patches of every layer: at the positions that predict the answer, and at all that can matter to it."""
    text = subject.text
    return {
        "answer_positions": region_figures(subject, text.where),
        "all_positions": region_figures(subject, range(text.where[-1] + 1)),
    }


def region_figures(subject: Subject, positions: Sequence[int]) -> dict[str, Any]:
    """Every layer at some positions, against one forward pass per cell, of which a seeded sample is timed.

    A forward pass costs the same whatever is patched in it, so a sample stands for all.
    """
    pair, text, keep = subject.pair, subject.text, subject.keep
    ids = text.ids[: text.where[-1] + 1]  # what comes after the last prediction changes nothing
    positions = positions[:: subject.every]
    cells = list(product(range(pair.n_layers), positions))
    sample = random.Random(0).sample(cells, min(subject.cells, len(cells)))
    donors = subject.other.donor_states(ids)
    donor, k_base = subject.ends()
    ways = {name: way.patched for name, way in subject.other.found.items() if way.patched}

    def own() -> dict[tuple[int, int], float]:
        found = grid(pair, text.ids, text.predicted, SITE, range(pair.n_layers), positions)
        return {(cell.layer, cell.pos): cell.kl_recovery for cell in found.cells if cell.kl_recovery is not None}

    taken: dict[str, list[float]] = {name: [] for name in ("graft", *ways, *(f"{name} logits" for name in ways))}
    apart = dict.fromkeys(ways, 0.0)
    for _ in range(subject.runs):
        started = time.perf_counter()
        exact = own()
        taken["graft"].append(time.perf_counter() - started)
        for name, patched in ways.items():
            by_logits = by_kl = 0.0
            for layer, position in sample:
                started = time.perf_counter()
                logits = patched(ids, keep, layer, position, donors[layer])
                between = time.perf_counter()
                recovery = 1 - float(kl_divergence(donor, logits).mean()) / k_base
                by_logits, by_kl = by_logits + between - started, by_kl + time.perf_counter() - started
                apart[name] = max(apart[name], abs(recovery - exact[layer, position]))
            taken[name].append(by_kl / len(sample) * len(cells))
            taken[f"{name} logits"].append(by_logits / len(sample) * len(cells))
    return {
        "cells": len(cells),
        "cells_timed_elsewhere": len(sample),
        "seconds": {name: spread(times) for name, times in taken.items()},
        "ratio": ratios(subject, taken["graft"], {name: taken[name] for name in ways}),
        "ratio_to_logits": ratios(subject, taken["graft"], {name: taken[f"{name} logits"] for name in ways}),
        "largest_difference": {name: agreed(f"cells by {name}", value, RECOVERY_TO) for name, value in apart.items()},
    }


def integrated_figures(subject: Subject) -> dict[str, Any]:
    """Attributions of every gate at every position, against plain forward passes."""
    pair, text = subject.pair, subject.text
    before = pair.forwards
    found = integrate_k(pair, text.ids, text.predicted)
    n_run = pair.forwards - before

    def forwards() -> None:
        for _ in range(GRADIENT_FORWARDS):
            plain_logits(subject.other.base, text.ids, subject.keep)

    forwards()
    taken = in_turn({"graft": lambda: integrate_k(pair, text.ids, text.predicted), "forwards": forwards}, subject.runs)
    return {
        "seconds": spread(taken["graft"]),
        "forwards_run": n_run,
        "forwards_equivalent": found.forwards_equivalent,
        "completeness_error": found.completeness_error,
        f"seconds_of_{GRADIENT_FORWARDS}_forwards": spread(taken["forwards"]),
        f"ratio_to_{GRADIENT_FORWARDS}_forwards": ratio(taken["graft"], taken["forwards"]),
    }


def token_figures(subject: Subject) -> dict[str, Any]:
    """One token questioned and one hybrid mixed, at 200 tokens, against one plain forward pass."""
    pair = subject.pair
    text = layer_text(pair, *LONG)
    pos, upper = len(text.ids) - 1, format_layers(thirds(pair.n_layers)["upper"])
    plan = Plan("upper third", upper)
    mixer = Mixer(pair, text.ids, text.predicted)
    tasks: dict[str, Callable[[], object]] = {
        "forward": lambda: plain_logits(subject.other.base, text.ids, torch.tensor([pos])),
        "why": lambda: why(pair, text.ids, pos),
        "layer_effects": lambda: layer_effects(pair, text.ids, pos),
        "mixer": lambda: Mixer(pair, text.ids, text.predicted),
        "mix": lambda: mixer.mix(plan, plan.gates(pair.n_layers)),
    }
    in_turn(tasks, 1)
    taken = in_turn(tasks, subject.runs)
    return {
        "tokens": len(text.ids),
        "layers_mixed": upper,
        "seconds": {name: spread(times) for name, times in taken.items()},
        "ratio_to_forward": {
            name: ratio(times, taken["forward"]) for name, times in taken.items() if name != "forward"
        },
    }


def memory_figures(_: Subject) -> dict[str, Any]:
    """Peak memory of a sweep and of a grid beside the loaded pair, each in a fresh process."""
    return {kind: layer_memory.peak_of(kind) for kind in layer_memory.KINDS}


PARTS: dict[str, Callable[[Subject], dict[str, Any]]] = {
    "sweep": sweep_figures,
    "grid": grid_figures,
    "integrated": integrated_figures,
    "token": token_figures,
    "memory": memory_figures,
}


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--cells", type=int, default=40, help="patches timed elsewhere, a run")
    parser.add_argument("--every", type=int, default=1, help="take every N-th plan and position: a trial")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="some parts")
    parser.add_argument("--print-only", action="store_true", help="keep no results")
    options = parser.parse_args()
    pair = load_pair("demo")
    other = alternatives(Path(pair.identity.base_path), Path(pair.identity.tuned_path))
    subject = Subject(pair, layer_text(pair), other, options.runs, options.cells, options.every)
    found = [name for name in ("nnsight", "transformer_lens") if name not in other.missing]
    figures: dict[str, Any] = {"alternatives": {name: version(name.replace("_", "-")) for name in found}}
    figures |= {"missing": other.missing} | {name: PARTS[name](subject) for name in options.only}
    write("layers", figures, options.print_only)


if __name__ == "__main__":
    main()
