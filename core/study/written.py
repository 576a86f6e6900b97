"""What both models write to many questions at once: greedy answers, decoded together in one batch.

Every question has a seat with two lanes, base and tuned. Knows decoding; scores nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.generate.batch import Batch
from core.generate.lane import Lane
from core.generate.lanes import start_alone
from core.generate.sampling import Sampling
from core.generate.seat import Finished, Seat
from core.pair.pair import Pair
from core.pair.prompts import Prompt

LANES = ("base", "tuned")


@dataclass(frozen=True)
class Written:
    """One model's answer.

    Attributes:
        ids: its tokens, end of turn included where it was written.
        finished: `end` or `length`.
    """

    ids: tuple[int, ...]
    finished: Finished


def written_answers(
    pair: Pair, prompts: Sequence[Prompt], max_new_tokens: int, progress: Callable[[float], None] | None = None
) -> tuple[dict[str, Written], ...]:
    """Greedy answers of base and tuned to every prompt, in their order.

    Args:
        pair: the models.
        prompts: the questions; all of them decode in one batch.
        max_new_tokens: at most so many tokens an answer.
        progress: told the share of the steps done, 0..1, at most; may raise to stop.

    Raises:
        TooLongError: a prompt leaves no room for a single token.
        DeviceMemoryError: the batch does not fit.
    """
    lanes = (Lane("base", pair.base_gates()), Lane("tuned", pair.tuned_gates()))
    seats = [Seat(pair, prompt.ids, lanes, Sampling(), max_new_tokens) for prompt in prompts]
    batch = Batch(pair)
    for seat in seats:
        start_alone(batch, seat)
        if progress:
            progress(0.0)
    steps = 0
    while batch.n_rows:
        batch.step()
        steps += 1
        if progress:
            progress(steps / max_new_tokens)
    return tuple(
        {
            name: Written(tuple(ids), how or "stopped")
            for name, ids, how in zip(LANES, s.tokens, s.finished, strict=True)
        }
        for s in seats
    )
