"""How much of its time a study spends on the models, and whether its memory stays flat.

`python -m benchmarks.study [--rows 8] [--swept 2] [--only speed memory] [--print-only]`. Speed: a study of the demo
pair against the same answers, scores, sweeps, shares, random adapters and sets asked for directly, on the same prompts,
in the same process; nothing is labelled, tabled or kept there. Memory: what is resident after 100 and after 1,000
prompts of a study, on a small random pair of the demo pair's architecture; with `OMP_NUM_THREADS=1` it takes minutes
instead of an hour. Take the figures on an otherwise idle machine.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks.common import write
from core import load_pair
from core.generate.sampling import Sampling, coupled_partings
from core.intervene.controls import random_sets
from core.intervene.grid import grid
from core.intervene.integrated import integrate_k, slope_of_k
from core.intervene.plans import EACH, sweep_plans
from core.intervene.random_adapter import random_adapter
from core.intervene.recovery import sweep
from core.intervene.set_function import SetFunction
from core.intervene.sets import units_of
from core.intervene.shapley import draw_permutations, shapley_shares
from core.intervene.smallest import greedy_backward, greedy_forward
from core.measure.cross import cross_scores
from core.measure.diff import diff
from core.measure.positions import extreme_terms
from core.pair.pair import Pair
from core.study.choice import parse_corpus
from core.study.corpora import read_corpora
from core.study.engines import LocalEngine
from core.study.layer_tables import WINDOWS
from core.study.measure_prompt import prompt_of, reference_ids, swept_text
from core.study.prompts import StudyPrompt, batches, study_prompts
from core.study.runner import StudyProgress, run_study
from core.study.search_tables import SITE
from core.study.settings import REACHES, StudySettings
from core.study.state_table import state_rows
from core.study.written import models_of, written_answers

SHARE_WANTED = 0.8
COUNTS = (100, 1000)
_KINDS = {"single": "single", "without": "leave-one-out", "prefix": "prefix"}


def speed(rows: int, swept: int) -> dict[str, Any]:
    """A study's prompts a second against what the models alone reach; sets are sought where there are two halves."""
    pair = load_pair("demo")
    corpora = tuple(parse_corpus(f"shipped:{kind},rows={rows}") for kind in ("medical", "general"))
    settings = StudySettings(
        corpora, max_new_tokens=32, sweep_prompts=swept, sweep_tokens=24, control_prompts=1, random_adapters=4
    )
    if swept < 2:
        settings = replace(settings, measurements=tuple(name for name in settings.measurements if name != "sets"))
    prompts = study_prompts(read_corpora(corpora, 0), settings)
    alone(pair, prompts[:2], replace(settings, random_adapters=1))  # memory is taken and kernels are chosen once
    started = time.perf_counter()
    alone(pair, prompts, settings)
    direct = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        outcome = run_study(LocalEngine(pair), settings, Path(folder) / "study")
        whole = time.perf_counter() - started
    return {
        "prompts": len(prompts),
        "swept": sum(prompt.swept for prompt in prompts),
        "visits": outcome.progress.sets_done,
        "study_seconds": round(whole, 1),
        "alone_seconds": round(direct, 1),
        "share": round(direct / whole, 3),
        "wanted": SHARE_WANTED,
    }


def alone(pair: Pair, prompts: Sequence[StudyPrompt], settings: StudySettings) -> None:
    """The same work of the models, nothing else."""
    for batch in batches(prompts, settings.batch):
        asked = [prompt_of(pair, prompt, settings) for prompt in batch]
        written = written_answers(pair, asked, models_of(pair, settings.writes), settings.max_new_tokens)
        for prompt, own, answers in zip(batch, asked, written, strict=True):
            reference = reference_ids(pair, own, prompt.row)
            texts = {"reference": reference, **{model: one.ids for model, one in answers.items()}}
            cross_scores(pair, own, texts, models_of(pair, settings.writes))
            for ids in texts.values():
                words = partial(extremes, pair, len(own.ids))
                diff(pair, own, ids, look=words)
            ids, predicted = swept_text(pair, own, reference, settings)
            state_rows(pair, (*own.ids, *reference), range(len(own.ids), len(own.ids) + len(reference)))
            if prompt.swept:
                layers(pair, ids, predicted, settings, prompt.place)
            if prompt.controlled:
                controls(pair, ids, predicted, settings)


def extremes(pair: Pair, n_prompt: int, states: Tensor) -> None:
    """What gained and lost most at every token of an answer, and whether both models would draw the same."""
    sampling = Sampling(temperature=1.0, coupled=True)
    extreme_terms(pair.unembed, *states[:, n_prompt - 1 : -1], partial(coupled_partings, sampling))


def controls(pair: Pair, ids: Sequence[int], predicted: Sequence[int], settings: StudySettings) -> None:
    """Sweeps of random adapters, and a set for every reach in each and in the fine-tune."""
    plans = [p for kind in settings.control_kinds for p in sweep_plans(_KINDS[kind], pair.n_layers)]
    third = units_of(pair.n_layers, "layer")[::3]
    adapters = [pair, *(random_adapter(pair, number) for number in range(settings.random_adapters))]
    for changed in adapters[1:]:
        sweep(changed, ids, predicted, plans)
    for changed in adapters if settings.measures("sets") else ():
        SetFunction(changed, ids, predicted).k([third] * len(REACHES))


def layers(pair: Pair, ids: Sequence[int], predicted: Sequence[int], settings: StudySettings, seed: int) -> None:
    """Sweeps, shares and as many sets as a study grafts on one text; any sets cost about the same."""
    kinds = [(kind, "both") for kind in (*_KINDS.values(), "suffix")]
    kinds += [(kind, part) for kind in ("single", "leave-one-out") for part in EACH]
    plans = [plan for kind, part in kinds for plan in sweep_plans(kind, pair.n_layers, part)]
    plans += [plan for width in WINDOWS for plan in sweep_plans("window", pair.n_layers, width=width)]
    sweep(pair, ids, predicted, plans)
    slope_of_k(pair, ids, predicted)
    integrate_k(pair, ids, predicted)
    parts = units_of(pair.n_layers, "part")
    function = SetFunction(pair, ids, predicted)
    shapley_shares(function, parts, draw_permutations(len(parts), settings.permutations, seed))
    units = units_of(pair.n_layers, "layer")
    function = SetFunction(pair, ids, predicted)
    steps = (
        *greedy_forward(function, units, max(REACHES), len(units), lambda share: None, lambda steps: None),
        *greedy_backward(function, units, min(REACHES), lambda share: None, lambda steps: None),
    )
    random_sets(function, units, steps[-1].size, 2 * len(REACHES) * settings.random_sets, seed)
    grid(pair, ids, predicted, SITE, range(pair.n_layers), range(max(predicted)))
    if not settings.measures("sets"):
        return
    orders = draw_permutations(len(units), len(REACHES) * (1 + settings.random_sets), seed)
    SetFunction(pair, ids, predicted).k([[units[k] for k in orders[0][:size]] for size in range(1, len(units) + 1)])
    SetFunction(pair, ids, predicted).k([[units[k] for k in order[: len(units) // 3]] for order in orders])


def memory() -> dict[str, Any]:
    """What is resident after some prompts of one study, in GB (10⁹ bytes)."""
    from tests.conftest import TinyFolders
    from tests.tiny import build_adapter, build_base

    resident: dict[int, float] = {}

    def look(told: StudyProgress) -> None:
        if told.done in COUNTS and told.done not in resident:
            kilobytes = Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0]
            resident[told.done] = int(kilobytes) * 1024 / 1e9

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = build_base(folder / "base", "llama")
        pair = load_pair(TinyFolders(base, build_adapter(base, folder / "tuned")).spec())
        lines = [
            json.dumps({"id": f"{k}", "question": f"What is disease {k}?", "answer": f"Disease {k} is of the lungs."})
            for k in range(COUNTS[-1])
        ]
        (folder / "rows.jsonl").write_text("\n".join(lines))
        corpus = parse_corpus(f"{folder / 'rows.jsonl'},kind=medical")
        settings = StudySettings((corpus,), max_new_tokens=8, sweep_prompts=4, control_prompts=0)
        run_study(LocalEngine(pair), settings, folder / "study", look)
    first, last = (resident[count] for count in COUNTS)
    return {
        "prompts": list(COUNTS),
        "resident_gb": [round(first, 3), round(last, 3)],
        "growth_mb_per_100_prompts": round(1e3 * (last - first) / (COUNTS[1] - COUNTS[0]) * 100, 2),
    }


def main() -> None:
    """Measures what was asked for and writes it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=8, help="of each corpus, for the speed")
    parser.add_argument("--swept", type=int, default=2, help="of each corpus, prompts whose layers are measured")
    parser.add_argument("--only", nargs="+", choices=("speed", "memory"), default=["speed", "memory"])
    parser.add_argument("--print-only", action="store_true", help="keep nothing in results/")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {}
    if "speed" in arguments.only:
        figures["speed"] = speed(arguments.rows, arguments.swept)
    if "memory" in arguments.only:
        figures["memory"] = memory()
    write("study", figures, arguments.print_only)


if __name__ == "__main__":
    main()
