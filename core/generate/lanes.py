"""Lanes: answers to one prompt decoded side by side, each under its own gates.

One forward pass a step for all lanes that are still writing. An iterator without a thread: to stop is not to
pull, or to close. Knows one prompt; decoding itself is `Batch`'s business.
"""

import threading
from collections.abc import Iterator, Sequence

import torch

from core.generate.batch import Batch
from core.generate.lane import Lane
from core.generate.sampling import Sampling
from core.generate.seat import Seat, Step
from core.pair.gates import Gates
from core.pair.pair import Pair

POSITIONS_AT_ONCE = 1024
"""Of a prompt that nobody else waits for."""


def lanes_of(gates: Gates) -> tuple[Lane, ...]:
    """A lane a row, named by its number."""
    return tuple(Lane(str(row), gates.take([row])) for row in range(gates.n_rows))


class Decoding(Iterator[Step]):
    """Decodes lanes of one prompt, each under its own gates.

    The first step includes the prefill. May be closed from another thread: the step in hand is finished, the
    next one ends the iteration and the cache is released.

    Args:
        pair: the models.
        prompt_ids: the prompt, the same for all lanes.
        lanes: the answers to write, or one row of gates for each.
        sampling: how tokens are chosen; as for `Seat`.
        max_new_tokens: at most so many tokens a lane.
        begun: tokens every answer begins with.

    Raises:
        TooLongError: there is no room for a single token.
        ArgumentError: no lanes, or no tokens asked for.
    """

    def __init__(
        self,
        pair: Pair,
        prompt_ids: Sequence[int],
        lanes: Gates | Sequence[Lane],
        sampling: Sampling = Sampling(),  # noqa: B008  (frozen)
        max_new_tokens: int = 128,
        begun: Sequence[int] = (),
    ) -> None:
        chosen = lanes_of(lanes) if isinstance(lanes, Gates) else lanes
        self.seat = Seat(pair, prompt_ids, chosen, sampling, max_new_tokens, begun)
        self._batch: Batch | None = Batch(pair)
        self._started = False
        self._closed = threading.Event()
        self._stepping = threading.Lock()

    @property
    def tokens(self) -> list[list[int]]:
        """Per lane, the tokens so far, end-of-turn token included."""
        return self.seat.tokens

    @property
    def finished(self) -> list[str | None]:
        """Per lane, how it ended; None while it writes."""
        return list(self.seat.finished)

    def close(self) -> None:
        """Ends the iteration; safe from any thread. Memory is freed as soon as no step is running."""
        self._closed.set()
        if self._stepping.acquire(blocking=False):
            try:
                self._batch = None
            finally:
                self._stepping.release()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed.is_set()

    def __next__(self) -> Step:
        try:
            with self._stepping:
                if self._closed.is_set() or not self.seat.writing or self._batch is None:
                    self._batch = None
                    raise StopIteration
                if self._started:
                    return self._batch.step()[self.seat]
                self._started = True
                return start_alone(self._batch, self.seat)
        finally:
            if self._closed.is_set():  # closed meanwhile: free what the step has kept alive
                self.close()


@torch.no_grad()
def start_alone(batch: Batch, seat: Seat) -> Step:
    """Reads a prompt that nobody waits for, and lets the seat in."""
    prefill = seat.prefill()
    while not prefill.done:
        prefill.advance(POSITIONS_AT_ONCE)
    return batch.join(seat, *prefill.result())
