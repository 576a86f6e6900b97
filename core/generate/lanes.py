"""Lanes: answers to one prompt decoded side by side, each under its own gates.

One forward pass a step for all lanes that are still writing. An iterator without a thread: to stop is not to
pull, or to close. Knows gates, cache and sampling; knows nothing of scores or pages.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from core.errors import ArgumentError, TooLongError
from core.generate.cache import RowCache
from core.generate.sampling import RowSampler, Sampling
from core.pair.gates import Gates
from core.pair.pair import Pair

Finished = Literal["end", "length", "stopped"]


@dataclass(frozen=True)
class Step:
    """What one step wrote.

    Attributes:
        tokens: lane → the token it wrote.
        finished: lanes that ended with this step, and how.
    """

    tokens: dict[int, int]
    finished: dict[int, Finished]


class Decoding(Iterator[Step]):
    """Decodes rows of one prompt, each under its own gates.

    The first step includes the prefill. May be closed from another thread: the step in hand is finished, the
    next one ends the iteration and the cache is released.

    Args:
        pair: the models.
        prompt_ids: the prompt, the same for all lanes.
        gates: one row per lane.
        sampling: how tokens are chosen; each lane has its own generator.
        max_new_tokens: at most so many tokens a lane.
        extra_gates: further rows to prefill but not to decode, for whoever calls `prefill`.

    Attributes:
        tokens: per lane, the tokens written so far, end-of-turn token included.
        hidden: per lane, the (d_model,) hidden states that predicted its tokens, in order.
        finished: per lane, how it ended; None while it writes.

    Raises:
        TooLongError: there is no room for a single token.
        ArgumentError: no lanes, or no tokens asked for.
    """

    def __init__(
        self,
        pair: Pair,
        prompt_ids: Sequence[int],
        gates: Gates,
        sampling: Sampling = Sampling(),  # noqa: B008  (frozen)
        max_new_tokens: int = 128,
        extra_gates: Gates | None = None,
    ) -> None:
        if max_new_tokens < 1:
            raise ArgumentError(f"max_new_tokens is {max_new_tokens}.", "Ask for at least one token.")
        room = pair.max_positions - len(prompt_ids)
        if room < 1:
            raise TooLongError(
                f"The prompt has {len(prompt_ids):,} tokens; the context holds {pair.max_positions:,}.", "Shorten it."
            )
        self.pair = pair
        self.tokens: list[list[int]] = [[] for _ in range(gates.n_rows)]
        self.finished: list[Finished | None] = [None] * gates.n_rows
        self.hidden: list[list[Tensor]] = [[] for _ in range(gates.n_rows)]
        self._prompt_ids, self._gates = tuple(prompt_ids), gates.to(pair.device)
        self._extra = None if extra_gates is None else extra_gates.to(pair.device)
        self._limit = min(max_new_tokens, room)
        self._samplers = [RowSampler(sampling) for _ in range(gates.n_rows)]
        self._cache: RowCache | None = None
        self._prompt: tuple[RowCache, Tensor] | None = None
        self._row_gates = self._gates
        self._writing = list(range(gates.n_rows))
        self._closed = threading.Event()
        self._stepping = threading.Lock()

    def close(self) -> None:
        """Ends the iteration; safe from any thread. Memory is freed as soon as no step is running."""
        self._closed.set()
        if self._stepping.acquire(blocking=False):
            try:
                self._release()
            finally:
                self._stepping.release()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed.is_set()

    def __next__(self) -> Step:
        try:
            with self._stepping:
                if self._closed.is_set() or not self._writing:
                    self._release()
                    raise StopIteration
                with torch.no_grad():
                    return self._step()
        finally:
            if self._closed.is_set():  # closed meanwhile: free what the step has kept alive
                self.close()

    def prefill(self) -> tuple[RowCache, Tensor]:
        """Runs the prompt for lanes and extra rows.

        Returns:
            The cache of all those rows, and (rows, d_model) hidden states that predict the first tokens. The lanes'
            rows of the cache are used up by the next step; copy what is wanted before.
        """
        with self._stepping, torch.no_grad():
            return self._prefill()

    def _prefill(self) -> tuple[RowCache, Tensor]:
        gates = self._gates if self._extra is None else Gates.stack([self._gates, self._extra])
        distinct, which = gates.distinct()
        cache = RowCache()
        input_ids = self.pair.ids([self._prompt_ids] * len(distinct))
        states = self.pair.hidden(input_ids, gates.take(distinct), cache=cache)[which, -1]
        if len(distinct) < gates.n_rows:
            cache.keep(which)
        self._cache, self._prompt = cache, (cache, states)
        return cache, states

    def _step(self) -> Step:
        if not any(self.tokens):
            cache, first = self._prompt or self._prefill()
            self._prompt = None
            if self._extra is not None:
                cache.keep(self._writing)
            states = first[: len(self._writing)]
        else:
            last = self.pair.ids([[self.tokens[lane][-1]] for lane in self._writing])
            states = self.pair.hidden(last, self._row_gates, cache=self._cache)[:, -1]
        logits = self.pair.unembed(states)
        written: dict[int, int] = {}
        ended: dict[int, Finished] = {}
        for row, lane in enumerate(self._writing):
            token = self._samplers[lane].choose(logits[row])
            self.tokens[lane].append(token)
            self.hidden[lane].append(states[row])
            written[lane] = token
            if token in self.pair.prompts.end_ids:
                ended[lane] = "end"
            elif len(self.tokens[lane]) == self._limit:
                ended[lane] = "length"
            self.finished[lane] = ended.get(lane)
        self._drop(ended)
        return Step(written, ended)

    def _drop(self, ended: dict[int, Finished]) -> None:
        """Takes finished lanes out of the batch."""
        kept = [row for row, lane in enumerate(self._writing) if lane not in ended]
        if not ended:
            return
        self._writing = [self._writing[row] for row in kept]
        if kept and self._cache is not None:
            self._cache.keep(kept)
            self._row_gates = self._gates.take(self._writing)

    def _release(self) -> None:
        self._cache = self._prompt = None
        self._writing = []
