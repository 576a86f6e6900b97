"""Whole answers from lanes: what `ask` returns.

Runs a decoding to its end and sums it up. Knows lanes and scores; knows nothing of how they are shown.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from core.generate.lanes import Decoding, Finished
from core.generate.sampling import Sampling
from core.generate.scored import LaneScores, ScoredDecoding
from core.measure.answers import first_divergence, repetition
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.parts import MASKS, Part
from core.pair.prompts import Prompt


@dataclass(frozen=True, eq=False)
class Lane:
    """One answer to be written: its name and its gates (one row)."""

    name: str
    gates: Gates


@dataclass(frozen=True)
class LaneAnswer:
    """One finished answer.

    Attributes:
        name: `base`, `hybrid` or `tuned`.
        gates: n_layers × [attn, mlp].
        text: without the end-of-turn token.
        ids: with it, where the model wrote it.
        parts: the part of each token.
        finished: `end` or `length`.
        reasoning_finished: whether the reasoning was closed; null where there is none.
        kl_to_base, kl_to_tuned: mean KL(lane‖base) and KL(lane‖tuned) over reasoning and answer tokens, nats.
        repetition: share of repeated 4-grams, 0..1; null below four tokens.
        tokens_per_second: of this lane, from the end of the prefill.
    """

    name: str
    gates: list[list[float]]
    text: str
    ids: tuple[int, ...]
    parts: tuple[Part, ...]
    finished: Finished
    reasoning_finished: bool | None
    kl_to_base: float | None
    kl_to_tuned: float | None
    repetition: float | None
    tokens_per_second: float | None


@dataclass(frozen=True)
class Answers:
    """All lanes' answers; `first_divergence` is the first token at which base's and tuned's answers differ."""

    lanes: tuple[LaneAnswer, ...]
    first_divergence: int | None


def standard_lanes(pair: Pair, hybrid: Gates) -> tuple[Lane, Lane, Lane]:
    """Base, hybrid and tuned, in this order."""
    return Lane("base", pair.base_gates()), Lane("hybrid", hybrid), Lane("tuned", pair.tuned_gates())


def ask(
    pair: Pair,
    prompt: Prompt,
    lanes: Sequence[Lane],
    sampling: Sampling,
    max_new_tokens: int,
    progress: Callable[[int], None] | None = None,
) -> Answers:
    """Decodes every lane to its end.

    Args:
        pair: the models.
        prompt: the question.
        lanes: what to write.
        sampling: how tokens are chosen.
        max_new_tokens: at most so many tokens a lane.
        progress: called with the number of steps done.
    """
    decoding = ScoredDecoding(pair, prompt.ids, Gates.stack([lane.gates for lane in lanes]), sampling, max_new_tokens)
    scores: list[list[LaneScores]] = [[] for _ in lanes]
    first_at = 0.0
    ended_at: dict[int, float] = {}
    for step, update in enumerate(decoding):
        now = time.perf_counter()
        first_at = first_at or now
        ended_at |= dict.fromkeys(update.finished, now)
        for found in update.scores:
            scores[found.lane].append(found)
        if progress:
            progress(step + 1)
    answers = tuple(
        _answer(pair, prompt, lane, decoding.decoding, number, scores[number], ended_at[number] - first_at)
        for number, lane in enumerate(lanes)
    )
    by_name = {answer.name: answer.ids for answer in answers}
    parted = first_divergence(by_name["base"], by_name["tuned"]) if {"base", "tuned"} <= set(by_name) else None
    return Answers(answers, parted)


def _answer(
    pair: Pair, prompt: Prompt, lane: Lane, decoding: Decoding, number: int, scores: list[LaneScores], seconds: float
) -> LaneAnswer:
    ids = tuple(decoding.tokens[number])
    parts = pair.prompts.answer_parts(ids, prompt)
    kept = torch.tensor([part in MASKS["response"] for part in parts.parts])
    means = []
    for values in (torch.cat([s.kl_to_base for s in scores]), torch.cat([s.kl_to_tuned for s in scores])):
        means.append(float(values[kept].mean()) if kept.any() else None)
    finished = decoding.finished[number]
    assert finished is not None
    return LaneAnswer(
        name=lane.name,
        gates=lane.gates.by_part()[0],
        text=pair.prompts.text(ids),
        ids=ids,
        parts=parts.parts,
        finished=finished,
        reasoning_finished=parts.reasoning_finished,
        kl_to_base=means[0],
        kl_to_tuned=means[1],
        repetition=repetition([i for i in ids if i not in pair.prompts.end_ids]),
        tokens_per_second=(len(ids) - 1) / seconds if len(ids) > 1 else None,
    )


def greedy_answer(pair: Pair, prompt: Prompt, gates: Gates, max_new_tokens: int = 128) -> tuple[int, ...]:
    """The greedy answer under one row of gates, end-of-turn token included where it was written."""
    decoding = Decoding(pair, prompt.ids, gates, Sampling(), max_new_tokens)
    for _ in decoding:
        pass
    return tuple(decoding.tokens[0])
