"""What both models, and a hybrid where one is asked for, write to many questions at once: greedy answers, decoded
together in one batch.

Every question has a seat with a lane a model. Knows decoding; scores nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from core.errors import ArgumentError, DeviceMemoryError
from core.generate.batch import Batch
from core.generate.lane import Lane
from core.generate.lanes import start_alone
from core.generate.sampling import Sampling
from core.generate.seat import Finished, Seat
from core.pair.gates import Gates, parse_layers, thirds
from core.pair.pair import Pair
from core.pair.prompts import Prompt

BOTH = ("base", "tuned")


@dataclass(frozen=True)
class Written:
    """One model's answer.

    Attributes:
        ids: its tokens, end of turn included where it was written.
        finished: `end` or `length`.
    """

    ids: tuple[int, ...]
    finished: Finished


def models_of(pair: Pair, hybrid: str | None) -> dict[str, Gates]:
    """Who writes, by name: base, the hybrid where there is one, tuned.

    Args:
        pair: the models.
        hybrid: the layers grafted in it: `lower`, `middle` or `upper` third, or in the layer grammar; None for none.

    Raises:
        ArgumentError: the layers are not understood, are none or all, or the pair has not so many.
    """
    base, tuned = pair.base_gates(), pair.tuned_gates()
    if hybrid is None:
        return {"base": base, "tuned": tuned}
    layers = _layers(hybrid.strip().lower(), pair.n_layers)
    if not 0 < len(layers) < pair.n_layers:
        raise ArgumentError(
            f"A hybrid of {len(layers)} of {pair.n_layers} layers is {'the fine-tuned model' if layers else 'base'}.",
            "Graft some layers, not all.",
        )
    return {"base": base, "hybrid": Gates.graft(pair.n_layers, layers), "tuned": tuned}


def _layers(hybrid: str, n_layers: int) -> tuple[int, ...]:
    named = thirds(n_layers)
    if hybrid in named:
        return named[hybrid]
    try:
        return parse_layers(hybrid, n_layers)
    except ArgumentError as error:
        remedy = f"Write {', '.join(named)}, or layers such as 3,7,20-22."
        raise ArgumentError(error.message, remedy) from error


def written_answers(
    pair: Pair,
    prompts: Sequence[Prompt],
    models: Mapping[str, Gates],
    max_new_tokens: int,
    progress: Callable[[float], None] | None = None,
) -> tuple[dict[str, Written], ...]:
    """Greedy answers of every model to every prompt, in their order.

    Args:
        pair: the models.
        models: who writes, as `models_of` has them.
        prompts: the questions; all of them decode in one batch.
        max_new_tokens: at most so many tokens an answer.
        progress: told the share of the steps done, 0..1, at most; may raise to stop.

    Raises:
        TooLongError: a prompt leaves no room for a single token.
        DeviceMemoryError: the batch does not fit.
    """
    lanes = tuple(Lane(name, gates) for name, gates in models.items())
    seats = [Seat(pair, prompt.ids, lanes, Sampling(), max_new_tokens) for prompt in prompts]
    batch = Batch(pair)
    with _memory_for(len(seats)):
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
            for name, ids, how in zip(models, s.tokens, s.finished, strict=True)
        }
        for s in seats
    )


@contextmanager
def _memory_for(n_prompts: int) -> Iterator[None]:
    """Says what a study can do where its answers do not fit."""
    try:
        yield
    except DeviceMemoryError as error:
        fewer = f"fewer than {n_prompts} answers at once (--batch)" if n_prompts > 1 else "shorter answers"
        raise DeviceMemoryError(error.message, f"Begin the study anew with {fewer}.") from error
