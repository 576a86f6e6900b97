"""Whole answers from lanes: what `ask` returns.

Runs a decoding to its end in the caller's thread. Knows lanes and records; knows nothing of how they are shown.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from core.generate.lane import Lane
from core.generate.lanes import Decoding
from core.generate.record import LaneAnswer, LaneRecord, rows_of
from core.generate.sampling import Sampling
from core.generate.scored import ScoredDecoding
from core.measure.answers import first_divergence
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.prompts import Prompt


@dataclass(frozen=True)
class Answers:
    """All lanes' answers; `first_divergence` is the first token at which base's and tuned's answers differ."""

    lanes: tuple[LaneAnswer, ...]
    first_divergence: int | None


def standard_lanes(pair: Pair, hybrids: Mapping[str, Gates | Lane]) -> tuple[Lane, ...]:
    """Base, the hybrids by lane name, and tuned, in this order."""
    between = (own if isinstance(own, Lane) else Lane(name, own) for name, own in hybrids.items())
    return Lane("base", pair.base_gates()), *between, Lane("tuned", pair.tuned_gates())


def ask(
    pair: Pair,
    prompt: Prompt,
    lanes: Sequence[Lane],
    sampling: Sampling,
    max_new_tokens: int,
    progress: Callable[[int], None] | None = None,
    begun: Sequence[int] = (),
) -> Answers:
    """Decodes every lane to its end.

    Args:
        pair: the models.
        prompt: the question.
        lanes: what to write.
        sampling: how tokens are chosen.
        max_new_tokens: at most so many tokens a lane.
        progress: called with the number of steps done.
        begun: tokens every answer begins with.
    """
    decoding = ScoredDecoding(pair, prompt.ids, lanes, sampling, max_new_tokens, begun)
    records = [LaneRecord(lane, begun) for lane in lanes]
    for step, update in enumerate(decoding, start=1):
        for number, record in enumerate(records):
            record.add(number, update, pair.prompts)
        if progress:
            progress(step)
    if decoding.read is not None:
        for record, read in zip(records, rows_of(lanes, decoding.read), strict=True):
            for _ in record.measure_again(pair, prompt, read):
                pass
    return collect(records, pair, prompt)


def collect(records: Sequence[LaneRecord], pair: Pair, prompt: Prompt) -> Answers:
    """The answers of some lanes, finished or not."""
    answers = tuple(record.answer(pair.prompts, prompt) for record in records)
    ids = {answer.name: answer.ids for answer in answers}
    parted = first_divergence(ids["base"], ids["tuned"]) if {"base", "tuned"} <= set(ids) else None
    return Answers(answers, parted)


def greedy_answer(pair: Pair, prompt: Prompt, gates: Gates, max_new_tokens: int = 128) -> tuple[int, ...]:
    """The greedy answer under one row of gates, end-of-turn token included where it was written."""
    decoding = Decoding(pair, prompt.ids, gates, Sampling(), max_new_tokens)
    for _ in decoding:
        pass
    return tuple(decoding.tokens[0])
