"""How quick a worker is: eight people at once and in turn, and the first token of three lanes."""

import time
from typing import Any

import torch

from benchmarks.common import in_a_thread, in_turn, ratio, spread
from benchmarks.plain import Plain
from benchmarks.three_lanes import QUESTIONS, decoded, lanes_of, prompt_of
from core.generate.batch import Batch
from core.generate.lanes import start_alone
from core.generate.sampling import Sampling
from core.generate.seat import Seat
from core.generate.worker import Worker
from core.generate.writing import Job, Writing
from core.pair.pair import Pair
from core.pair.prompts import Message

PROMPT_TOKENS_FIRST = 200
NEW_TOGETHER = 64
PEOPLE = len(QUESTIONS)


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
    assert {request.status for request in (*beside, *alone)} == {"done"}
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
        "seconds_until_written_and_scored": {name: round(taken[0], 2) for name, taken in seconds.items()},
        "seconds_until_noise_is_known": {name: round(taken[1], 2) for name, taken in seconds.items()},
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
        "seconds": {name: round(seconds, 2) for name, seconds in taken.items()},
        "speed_at_once_against_in_turn": ratio(taken, "in turn", "at once"),
    }


def plain_together(pair: Pair) -> dict[str, Any]:
    """What plain transformers gains: base without adapters, three rows for each of the eight, at once and in turn."""
    prompts = [pair.prompts.chat([Message(role="user", content=question)]).ids for question in QUESTIONS]
    plain, n_lanes = Plain(pair, merged=True), len(lanes_of(pair))

    def by_turns() -> None:
        for ids in prompts:
            plain.base_rows([ids] * n_lanes, NEW_TOGETHER)

    def at_once() -> None:
        plain.base_rows([ids for ids in prompts for _ in range(n_lanes)], NEW_TOGETHER)

    taken = {name: times[0] for name, times in in_turn({"at once": at_once, "in turn": by_turns}, 1).items()}
    return {
        "seconds": {name: round(seconds, 2) for name, seconds in taken.items()},
        "speed_at_once_against_in_turn": ratio(taken, "in turn", "at once"),
    }


def first_token(pair: Pair, runs: int) -> dict[str, Any]:
    """From asking a worker until one and until all three lanes have a token, against `generate` calls of one token."""
    prompt, lanes = prompt_of(pair, PROMPT_TOKENS_FIRST), lanes_of(pair)
    worker = Worker(pair)

    def seconds() -> tuple[float, float]:
        request = worker.submit(Job(prompt, lanes, Sampling(), 1), "me")
        while not all(record.ids for record in request.records):
            time.sleep(0.002)
        every = time.monotonic() - request.submitted_at
        request.wait()
        return request.first_token_at - request.submitted_at, every

    try:
        ours = [seconds() for _ in range(2 * runs + 1)][1:]
    finally:
        worker.shutdown()

    def by_plain() -> list[float]:
        plain = Plain(pair, merged=False)
        return in_turn({"three": lambda: [plain.write(prompt.ids, lane.name, 1) for lane in lanes]}, 2 * runs)["three"]

    theirs = in_a_thread(by_plain)  # in the main thread it would slow whatever is measured after it
    return {
        "prompt_tokens": len(prompt.ids),
        "seconds": spread([every for _, every in ours]),
        "seconds_of_first_lane": spread([first for first, _ in ours]),
        "seconds_of_plain": spread(theirs),
    }
