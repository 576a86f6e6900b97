"""How quick answers are written side by side: `python -m benchmarks.lanes [--runs 3]`, on the demo pair.

`--shape flagship --device cuda` takes a random pair of the flagship's shape on a GPU instead.

Three lanes in one batch against three `generate` calls of plain transformers, one after another: with peft's unmerged
adapter, and with the weights merged. One lane against one such call; scored lanes against lanes without colours, long
and short; eight people asking at once against the same eight in turn. Nothing ends before its length, and in float32
all must write the same tokens.

Beside these, what the processor allows: the time of the bare products with the base's weights, and what follows from it
for colours and for eight at once if everything else took no time; the first token of three lanes; and what the pair
takes of the device's memory.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import in_a_thread, in_turn, now, ratio, spread, write
from benchmarks.flagship import build_flagship
from benchmarks.people import NEW_TOGETHER, PEOPLE, first_token, plain_together, together, together_without_colours
from benchmarks.plain import Plain
from benchmarks.three_lanes import decoded, lanes_of, prompt_of, scored
from core import load_pair
from core.measure.noise import noise_of
from core.pair.few_rows import linear
from core.pair.gated_linear import GatedLinear
from core.pair.pair import Pair
from core.pair.registry import PairSpec, pair_spec

PROMPT_TOKENS = 60
NEW = 32
NEW_LONG = 128


@torch.no_grad()
def products(pair: Pair) -> dict[str, Any]:
    """Seconds of all products of the base's weights with some rows, and what colours and eight at once cost by them.

    An answer of three lanes has four rows that read along, for base and tuned; they read 128 positions at a time.
    """
    weights = [module.weight for module in pair.model.modules() if isinstance(module, GatedLinear)]
    weights.append(pair.model.get_output_embeddings().weight)
    decoded, follow, at_once = 3, 4, 128

    def seconds(n_rows: int) -> float:
        rows = {width: weights[0].new_ones(n_rows, width).normal_() for width in {w.shape[1] for w in weights}}
        taken = []
        for _ in range(6):
            started = now()
            for weight in weights:
                linear(rows[weight.shape[1]], weight)
            taken.append(now() - started)
        return min(taken)

    took = {n_rows: seconds(n_rows) for n_rows in (1, decoded, PEOPLE * decoded, at_once)}
    follower = took[at_once] / at_once
    one, all_ = took[decoded] + follow * follower, took[PEOPLE * decoded] + PEOPLE * follow * follower
    return {
        "milliseconds_by_rows": {n_rows: round(1e3 * value, 2) for n_rows, value in took.items()},
        "time_with_colours_against_without": round(one / took[decoded], 2),
        "speed_at_once_against_in_turn": round(PEOPLE * one / all_, 2),
        "speed_at_once_against_in_turn_without_colours": round(PEOPLE * took[decoded] / took[PEOPLE * decoded], 2),
    }


def side_by_side(pair: Pair, runs: int) -> dict[str, Any]:
    """Three lanes and one, against plain transformers."""
    prompt, lanes = prompt_of(pair, PROMPT_TOKENS), lanes_of(pair)

    def three(models: Plain) -> list[list[int]]:
        return [models.write(prompt.ids, lane.name, NEW) for lane in lanes]

    plain = {"unmerged": Plain(pair, merged=False), "merged": Plain(pair, merged=True)}
    ours = decoded(pair, prompt, lanes, NEW)
    same = {
        kind: [own == theirs for own, theirs in zip(ours, three(models), strict=True)] for kind, models in plain.items()
    }
    tasks: dict[str, Callable[[], object]] = {
        "three lanes": lambda: decoded(pair, prompt, lanes, NEW),
        "three lanes, coloured": lambda: scored(pair, prompt, lanes, NEW),
        "base alone": lambda: decoded(pair, prompt, lanes[:1], NEW),
        "base by generate": lambda: plain["merged"].write(prompt.ids, "base", NEW),
        **{f"three by generate, {kind}": partial(three, models) for kind, models in plain.items()},
    }
    long: dict[str, Callable[[], object]] = {
        "three long lanes": lambda: decoded(pair, prompt, lanes, NEW_LONG),
        "three long lanes, coloured": lambda: scored(pair, prompt, lanes, NEW_LONG),
    }
    taken = in_turn(tasks, runs) | in_turn(long, runs, warm=0)
    median = {name: spread(times)["median"] for name, times in taken.items()}
    return {
        "prompt_tokens": len(prompt.ids),
        "same_tokens_as_generate": same,
        "seconds": {name: spread(times) for name, times in taken.items()},
        "tokens_per_second_of_three_lanes": round(3 * NEW / median["three lanes"], 1),
        "speed_against": {
            "three generate calls, unmerged": ratio(median, "three by generate, unmerged", "three lanes"),
            "three generate calls, merged": ratio(median, "three by generate, merged", "three lanes"),
            "one generate call, base alone": ratio(median, "base by generate", "base alone"),
        },
        "time_with_colours_against_without": {
            NEW: ratio(median, "three lanes, coloured", "three lanes"),
            NEW_LONG: ratio(median, "three long lanes, coloured", "three long lanes"),
        },
    }


def memory(pair: Pair) -> dict[str, Any]:
    """Bytes of the pair, and of two full models."""
    base = sum(p.numel() * p.element_size() for p in pair.model.parameters())
    on_gpu = torch.device(pair.device).type == "cuda"
    return {
        "pair_gb": round(pair.n_bytes / 1e9, 3),
        "two_models_gb": round(2 * base / 1e9, 3),
        "pair_against_two_models": round(pair.n_bytes / (2 * base), 3),
        "allocated_on_device_gb": round(torch.cuda.memory_allocated() / 1e9, 3) if on_gpu else None,
    }


def loaded(spec: PairSpec, device: str, dtype: str) -> Pair:
    """The pair, which never ends an answer."""
    pair = load_pair(spec, device, dtype)
    noise_of(pair)  # before the ends are taken away, one of which pads a prompt there
    pair.prompts.end_ids = ()  # nothing ends early, here or there
    return pair


Part = Callable[[Pair, int], dict[str, Any]]
PARTS: dict[str, Part] = {
    "memory": lambda pair, runs: memory(pair),
    "products": lambda pair, runs: in_a_thread(partial(products, pair)),
    "side_by_side": lambda pair, runs: in_a_thread(partial(side_by_side, pair, runs)),
    "together": lambda pair, runs: together(pair),
    "together_without_colours": lambda pair, runs: in_a_thread(partial(together_without_colours, pair)),
    "plain_together": lambda pair, runs: in_a_thread(partial(plain_together, pair)),
    "first_token": first_token,
}


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shape", choices=("demo", "flagship"), default="demo")
    parser.add_argument("--layers", type=int, help="of the flagship's shape; by default all 28")
    parser.add_argument("--print-only", action="store_true", help="keep no results")
    options = parser.parse_args()
    figures: dict[str, Any] = {"new_tokens": NEW, "new_tokens_together": NEW_TOGETHER}
    with tempfile.TemporaryDirectory() as folder:
        spec = pair_spec("demo")
        if options.shape == "flagship":
            os.environ["GRAFT_HOME"] = folder  # what is noted of a random pair is of no use later
            spec = in_a_thread(partial(build_flagship, Path(folder), options.device, options.layers))
        for dtype in options.dtypes:
            pair = in_a_thread(partial(loaded, spec, options.device, dtype))
            own: dict[str, Any] = {}
            for name in options.only:
                started = now()
                own[name] = PARTS[name](pair, options.runs)
                print(json.dumps({name: own[name], "took": round(now() - started, 1)}), file=sys.stderr, flush=True)
            figures[dtype] = own
            pair.release()
    write("lanes" if options.shape == "demo" else "lanes_flagship", figures, options.print_only)


if __name__ == "__main__":
    main()
