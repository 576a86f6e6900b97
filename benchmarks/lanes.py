"""How quick answers are written side by side, on the demo pair: `python -m benchmarks.lanes [--runs 3]`.

Three lanes in one batch against three `generate` calls of plain transformers, one after another: with peft's unmerged
adapter, and with the weights merged. One lane against one such call; scored lanes against lanes without colours, long
and short; eight people asking at once against the same eight in turn. Nothing ends before its length, and in float32
all must write the same tokens.

Beside these, what the processor allows: the time of the bare products with the base's weights, and what follows from it
for colours and for eight at once if everything else took no time.
"""

import argparse
import json
import time
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.ask_page import question_of
from benchmarks.common import in_a_thread, spread, write
from core import load_pair
from core.generate.batch import Batch
from core.generate.lane import Lane
from core.generate.lanes import Decoding, start_alone
from core.generate.sampling import Sampling
from core.generate.scored import ScoredDecoding
from core.generate.seat import Seat
from core.generate.worker import Worker
from core.generate.writing import Job, Writing
from core.measure.noise import noise_of
from core.pair.few_rows import linear
from core.pair.gated_linear import GatedLinear
from core.pair.gates import Gates, thirds
from core.pair.pair import Pair
from core.pair.prompts import Message, Prompt

PROMPT_TOKENS = 60
NEW = 32
NEW_LONG = 128
NEW_TOGETHER = 64
PEOPLE = 8
PARTS = ("products", "side_by_side", "together")
QUESTIONS = (
    "What is asthma and how is it treated?",
    "Why does a heart attack cause pain in the left arm?",
    "How is anaemia diagnosed?",
    "What are the side effects of ibuprofen?",
    "Which symptoms come with a migraine?",
    "How do vaccines work?",
    "What should a person with gout avoid eating?",
    "When is a fever dangerous in a small child?",
)


class Plain:
    """The same three models by plain transformers and peft."""

    def __init__(self, pair: Pair, dtype: torch.dtype, merged: bool) -> None:
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        folder, adapter = Path(pair.identity.base_path), Path(pair.identity.tuned_path)
        base: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        base.generation_config.eos_token_id = None  # nothing ends early
        self._upper = set(thirds(pair.n_layers)["upper"])
        if merged:
            self._models = {"base": base}
            for name in ("hybrid", "tuned"):
                own = PeftModel.from_pretrained(deepcopy(base), adapter, torch_device="cpu")
                if name == "hybrid":
                    self._close_lower(own)
                self._models[name] = own.merge_and_unload().eval()
        else:
            self._tuned: Any = PeftModel.from_pretrained(base, adapter, torch_device="cpu").eval()
        self._merged = merged

    def write(self, ids: tuple[int, ...], lane: str) -> list[int]:
        """One answer of the benchmark's length."""
        if self._merged:
            return self._generate(self._models[lane], ids)
        if lane == "base":
            with self._tuned.disable_adapter():
                return self._generate(self._tuned, ids)
        closed = self._close_lower(self._tuned) if lane == "hybrid" else []
        try:
            return self._generate(self._tuned, ids)
        finally:
            for layer, scaling in closed:
                layer.scaling["default"] = scaling

    def _close_lower(self, model: Any) -> list[tuple[Any, float]]:
        closed = []
        for name, layer in model.named_modules():
            of_adapter = isinstance(getattr(layer, "scaling", None), dict)
            if of_adapter and int(name.split("layers.")[1].split(".")[0]) not in self._upper:
                closed.append((layer, layer.scaling["default"]))
                layer.scaling["default"] = 0.0
        return closed

    @staticmethod
    @torch.no_grad()
    def _generate(model: Any, ids: tuple[int, ...]) -> list[int]:
        prompt = torch.tensor([ids])
        out = model.generate(
            input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=NEW,
            do_sample=False, pad_token_id=0,
        )  # fmt: skip
        return [int(token) for token in out[0, len(ids) :]]


def lanes_of(pair: Pair) -> tuple[Lane, ...]:
    """Base, a hybrid of the upper third, tuned."""
    upper = Gates.graft(pair.n_layers, thirds(pair.n_layers)["upper"])
    return Lane("base", pair.base_gates()), Lane("hybrid", upper), Lane("tuned", pair.tuned_gates())


def in_turn(tasks: dict[str, Callable[[], object]], runs: int, warm: int = 1) -> dict[str, list[float]]:
    """Seconds of each task, one after the other, so many times over, after `warm` times that do not count."""
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    for run in range(runs + warm):
        for name, task in tasks.items():
            started = time.perf_counter()
            task()
            if run >= warm:
                taken[name].append(time.perf_counter() - started)
    return taken


def decoded(pair: Pair, prompt: Prompt, lanes: tuple[Lane, ...], n_new: int = NEW) -> list[list[int]]:
    """Answers without scores."""
    decoding = Decoding(pair, prompt.ids, lanes, max_new_tokens=n_new)
    for _ in decoding:
        pass
    return decoding.tokens


def scored(pair: Pair, prompt: Prompt, lanes: tuple[Lane, ...], n_new: int = NEW) -> None:
    """Answers with the colours of every token."""
    for _ in ScoredDecoding(pair, prompt.ids, lanes, max_new_tokens=n_new):
        pass


@torch.no_grad()
def products(pair: Pair) -> dict[str, Any]:
    """Seconds of all products of the base's weights with some rows, and what colours and eight at once cost by them.

    An answer of three lanes has four rows that read along, for base and tuned; they read 128 positions at a time.
    """
    weights = [module.weight for module in pair.model.modules() if isinstance(module, GatedLinear)]
    weights.append(pair.model.get_output_embeddings().weight)
    decoded, follow, at_once = 3, 4, 128

    def seconds(n_rows: int) -> float:
        rows = {width: torch.randn(n_rows, width, dtype=weights[0].dtype) for width in {w.shape[1] for w in weights}}
        taken = []
        for _ in range(6):
            started = time.perf_counter()
            for weight in weights:
                linear(rows[weight.shape[1]], weight)
            taken.append(time.perf_counter() - started)
        return min(taken)

    took = {n_rows: seconds(n_rows) for n_rows in (1, decoded, PEOPLE * decoded, at_once)}
    follower = took[at_once] / at_once
    one, all_ = took[decoded] + follow * follower, took[PEOPLE * decoded] + PEOPLE * follow * follower
    return {
        "milliseconds_by_rows": {n_rows: round(1e3 * value, 1) for n_rows, value in took.items()},
        "time_with_colours_against_without": round(one / took[decoded], 2),
        "speed_at_once_against_in_turn": round(PEOPLE * one / all_, 2),
        "speed_at_once_against_in_turn_without_colours": round(PEOPLE * took[decoded] / took[PEOPLE * decoded], 2),
    }


def side_by_side(pair: Pair, prompt: Prompt, runs: int) -> dict[str, Any]:
    """Three lanes and one, against plain transformers."""
    dtype = getattr(torch, pair.dtype)
    lanes = lanes_of(pair)
    plain = {"unmerged": Plain(pair, dtype, merged=False), "merged": Plain(pair, dtype, merged=True)}
    ours = decoded(pair, prompt, lanes)
    same = {
        kind: [own == models.write(prompt.ids, lane.name) for own, lane in zip(ours, lanes, strict=True)]
        for kind, models in plain.items()
    }
    tasks: dict[str, Callable[[], object]] = {
        "three lanes": lambda: decoded(pair, prompt, lanes),
        "three lanes, coloured": lambda: scored(pair, prompt, lanes),
        "three long lanes": lambda: decoded(pair, prompt, lanes, NEW_LONG),
        "three long lanes, coloured": lambda: scored(pair, prompt, lanes, NEW_LONG),
        "base alone": lambda: decoded(pair, prompt, lanes[:1]),
        "base by generate": lambda: plain["merged"].write(prompt.ids, "base"),
        **{
            f"three by generate, {kind}": lambda models=models: [models.write(prompt.ids, lane.name) for lane in lanes]  # type: ignore[misc]
            for kind, models in plain.items()
        },
    }
    taken = in_turn(tasks, runs)
    median = {name: spread(times)["median"] for name, times in taken.items()}
    return {
        "same_tokens_as_generate": same,
        "seconds": {name: spread(times) for name, times in taken.items()},
        "tokens_per_second_of_three_lanes": round(3 * NEW / median["three lanes"], 1),
        "speed_against": {
            "three generate calls, unmerged": _ratio(median, "three by generate, unmerged", "three lanes"),
            "three generate calls, merged": _ratio(median, "three by generate, merged", "three lanes"),
            "one generate call, base alone": _ratio(median, "base by generate", "base alone"),
        },
        "time_with_colours_against_without": {
            NEW: _ratio(median, "three lanes, coloured", "three lanes"),
            NEW_LONG: _ratio(median, "three long lanes, coloured", "three long lanes"),
        },
    }


def _ratio(median: dict[str, float], one: str, other: str) -> float:
    return round(median[one] / median[other], 2)


def together(pair: Pair) -> dict[str, Any]:
    """Eight people, three coloured lanes each, at once and in turn, once each."""
    prompts = [pair.prompts.chat([Message(role="user", content=question)]) for question in QUESTIONS]
    lanes = lanes_of(pair)
    worker = Worker(pair)

    def ask(number: int) -> Writing:
        return worker.submit(Job(prompts[number], lanes, Sampling(), NEW_TOGETHER), f"person {number}")

    try:
        ask(0).wait()  # does not count
        started = time.monotonic()
        beside = [ask(number) for number in range(PEOPLE)]
        for request in beside:
            request.wait()
        alone = []
        for number in range(PEOPLE):
            alone.append(ask(number))
            alone[-1].wait()
    finally:
        worker.shutdown()
    seconds = {
        "at once": [max(getattr(r, end) for r in beside) - started for end in ("answered_at", "ended_at")],
        "in turn": [sum(getattr(r, end) - r.submitted_at for r in alone) for end in ("answered_at", "ended_at")],
    }
    same = [
        a.ids == b.ids
        for one, other in zip(beside, alone, strict=True)
        for a, b in zip(one.records, other.records, strict=True)
    ]
    n_tokens = PEOPLE * len(lanes) * NEW_TOGETHER
    return {
        "people": PEOPLE,
        "prompt_tokens": [len(prompt.ids) for prompt in prompts],
        "seconds_until_written_and_scored": {name: round(taken[0], 1) for name, taken in seconds.items()},
        "seconds_until_noise_is_known": {name: round(taken[1], 1) for name, taken in seconds.items()},
        "tokens_per_second": {name: round(n_tokens / taken[0], 1) for name, taken in seconds.items()},
        "speed_at_once_against_in_turn": {
            "written and scored": round(seconds["in turn"][0] / seconds["at once"][0], 2),
            "noise included": round(seconds["in turn"][1] / seconds["at once"][1], 2),
        },
        "lanes_that_wrote_what_they_write_alone": sum(same),
        "lanes": len(same),
    }


@torch.no_grad()
def together_without_colours(pair: Pair) -> dict[str, Any]:
    """The same eight in one batch and in turn, unscored, in this thread: what decoding together gains by itself."""
    prompts = [pair.prompts.chat([Message(role="user", content=question)]) for question in QUESTIONS]
    lanes = lanes_of(pair)

    def at_once() -> None:
        batch = Batch(pair)
        for prompt in prompts:
            start_alone(batch, Seat(pair, prompt.ids, lanes, Sampling(), NEW_TOGETHER))
        while batch.n_rows:
            batch.step()

    def by_turns() -> None:
        for prompt in prompts:
            decoded(pair, prompt, lanes, NEW_TOGETHER)

    taken = {name: times[0] for name, times in in_turn({"at once": at_once, "in turn": by_turns}, 1, warm=0).items()}
    return {
        "seconds": {name: round(seconds, 1) for name, seconds in taken.items()},
        "speed_at_once_against_in_turn": _ratio(taken, "in turn", "at once"),
    }


def _loaded(dtype: str) -> Pair:
    pair = load_pair("demo", dtype=dtype)
    noise_of(pair)  # before the ends are taken away, one of which pads a prompt there
    pair.prompts.end_ids = ()  # nothing ends early, here or there
    return pair


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--print-only", action="store_true", help="keep no results")
    options = parser.parse_args()
    figures: dict[str, Any] = {"new_tokens": NEW, "new_tokens_together": NEW_TOGETHER}
    for dtype in options.dtypes:
        pair = in_a_thread(partial(_loaded, dtype))
        prompt = pair.prompts.chat([Message(role="user", content=question_of(PROMPT_TOKENS))])
        own: dict[str, Any] = {"prompt_tokens": len(prompt.ids)}
        if "products" in options.only:
            own["products_alone"] = in_a_thread(partial(products, pair))
        if "side_by_side" in options.only:
            own |= in_a_thread(partial(side_by_side, pair, prompt, options.runs))
        if "together" in options.only:
            own["together"] = together(pair)
            own["together_without_colours"] = in_a_thread(partial(together_without_colours, pair))
        figures[dtype] = own
    if options.print_only:
        print(json.dumps(figures, indent=1))
    else:
        write("lanes", figures)


if __name__ == "__main__":
    main()
