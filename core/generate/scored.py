"""Lanes scored while they are written: how far base and tuned part on every token of every lane.

Base and tuned follow each lane's text in rows of their own, a few tokens at a time, which costs a fraction of
decoding. Knows decoding and position scores; knows nothing of pages.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.generate.cache import RowCache
from core.generate.lanes import Decoding, Finished
from core.generate.sampling import Sampling
from core.measure.divergence import kl_divergence
from core.measure.positions import PositionScores, score_positions
from core.pair.gates import Gates
from core.pair.pair import Pair

CHUNK = 8


@dataclass(frozen=True, eq=False)
class LaneScores:
    """Scores of consecutive tokens of one lane.

    Attributes:
        lane: which.
        first: index into the answer of the first token scored here.
        positions: base against tuned on these tokens.
        kl_to_base, kl_to_tuned: KL(lane‖base) and KL(lane‖tuned) per token, nats.
    """

    lane: int
    first: int
    positions: PositionScores
    kl_to_base: Tensor
    kl_to_tuned: Tensor


@dataclass(frozen=True, eq=False)
class Update:
    """What one step brought: tokens written, lanes ended, and scores of tokens written before.

    Attributes:
        tokens: lane → token.
        finished: lanes that ended, and how.
        scores: newly scored stretches; a lane's scores follow its tokens by at most `CHUNK` tokens.
    """

    tokens: dict[int, int]
    finished: dict[int, Finished]
    scores: tuple[LaneScores, ...]


class ScoredDecoding(Iterator[Update]):
    """Decodes lanes and scores them on the way; closes like `Decoding`.

    Args:
        pair, prompt_ids, sampling, max_new_tokens: as for `Decoding`.
        gates: one row per lane; rows all 0 or all 1 are recognised as base or tuned and need no followers there.
    """

    def __init__(
        self,
        pair: Pair,
        prompt_ids: Sequence[int],
        gates: Gates,
        sampling: Sampling = Sampling(),  # noqa: B008  (frozen)
        max_new_tokens: int = 128,
    ) -> None:
        both = Gates.stack([pair.base_gates(), pair.tuned_gates()])
        self.decoding = Decoding(pair, prompt_ids, gates, sampling, max_new_tokens, extra_gates=both)
        self._pair = pair
        lanes = [gates.take([lane]) for lane in range(gates.n_rows)]
        self._is_base = [lane.is_base() for lane in lanes]
        self._is_tuned = [lane.is_tuned() for lane in lanes]
        self._followers = _Followers(pair, self._is_base, self._is_tuned)
        self._scored = [0] * gates.n_rows
        self._started = False

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self.decoding.closed

    def close(self) -> None:
        """Ends the iteration; safe from any thread."""
        self.decoding.close()

    def finish(self) -> tuple[LaneScores, ...]:
        """Scores the last tokens of stopped lanes and frees the followers; for whoever pulls, when it pulls no more."""
        lanes = [lane for lane, how in enumerate(self.decoding.finished) if how is None and self.decoding.tokens[lane]]
        scores = self._score(lanes) if lanes else ()
        self._followers.release()
        return scores

    def __next__(self) -> Update:
        if not self._started:
            self._started = True
            if not self.decoding.closed:
                cache, states = self.decoding.prefill()
                self._followers.start(cache, states[-2], states[-1])
        try:
            step = next(self.decoding)
        except StopIteration:
            self._followers.release()
            raise
        pending = max(len(self.decoding.tokens[lane]) - self._scored[lane] for lane in step.tokens)
        first = min(len(self.decoding.tokens[lane]) for lane in step.tokens) == 1
        scores = self._score(list(step.tokens)) if first or pending >= CHUNK or step.finished else ()
        self._followers.drop(set(step.finished))
        return Update(step.tokens, step.finished, scores)

    @torch.no_grad()
    def _score(self, lanes: list[int]) -> tuple[LaneScores, ...]:
        """Scores what the writing lanes wrote since the last time; they all wrote equally much."""
        start, stop = self._scored[lanes[0]], len(self.decoding.tokens[lanes[0]])
        if start == stop:
            return ()
        # Token t is predicted after token t − 1; the first one after the prompt.
        fed = {lane: self.decoding.tokens[lane][max(start - 1, 0) : stop - 1] for lane in lanes}
        followed = self._followers.follow(fed)
        result = []
        for lane in lanes:
            own = torch.stack(self.decoding.hidden[lane][start:stop])
            base = own if self._is_base[lane] else followed[lane, "base"]
            tuned = own if self._is_tuned[lane] else followed[lane, "tuned"]
            result.append(self._compare(lane, start, stop, own, base, tuned))
            self._scored[lane] = stop
            self.decoding.hidden[lane][start:stop] = [torch.empty(0)] * (stop - start)
        return tuple(result)

    def _compare(self, lane: int, start: int, stop: int, own: Tensor, base: Tensor, tuned: Tensor) -> LaneScores:
        written = self._pair.ids([self.decoding.tokens[lane][start:stop]])[0]
        unembed = self._pair.unembed
        positions = score_positions(unembed, base, tuned, written, self._pair.prompts.end_ids)
        zero = torch.zeros(stop - start, dtype=torch.float64)
        if self._is_base[lane]:
            to_base, to_tuned = zero, positions.values["kl_base_tuned"]
        elif self._is_tuned[lane]:
            to_base, to_tuned = positions.values["kl_tuned_base"], zero
        else:
            logits = unembed(own)
            to_base = kl_divergence(logits, unembed(base)).cpu()
            to_tuned = kl_divergence(logits, unembed(tuned)).cpu()
        return LaneScores(lane, start, positions, to_base, to_tuned)


class _Followers:
    """Rows of base and tuned that read what the lanes wrote."""

    def __init__(self, pair: Pair, is_base: list[bool], is_tuned: list[bool]) -> None:
        self._pair = pair
        self._rows = [(lane, "base") for lane, here in enumerate(is_base) if not here]
        self._rows += [(lane, "tuned") for lane, here in enumerate(is_tuned) if not here]
        self._cache: RowCache | None = None
        self._first: dict[str, Tensor] = {}

    def start(self, prompt_cache: RowCache, base_state: Tensor, tuned_state: Tensor) -> None:
        """Takes over the prompt's keys and values: the last two rows of the prefill are base and tuned."""
        n_rows = prompt_cache.layers[0].keys.shape[0]
        source = {"base": n_rows - 2, "tuned": n_rows - 1}
        self._cache = prompt_cache.copy([source[model] for _, model in self._rows])
        self._first = {"base": base_state, "tuned": tuned_state}

    def follow(self, fed: dict[int, list[int]]) -> dict[tuple[int, str], Tensor]:
        """Hidden states predicting each lane's new tokens, (n, d_model) by lane and model.

        Args:
            fed: lane → the tokens to read, equally many for each lane; the very first time the first token's
                prediction comes from the prompt.
        """
        prompt_states = dict(self._first)
        self._first = {}
        states: dict[tuple[int, str], Tensor] = {}
        n_fed = len(next(iter(fed.values())))
        read = None
        if n_fed:
            values = [0.0 if model == "base" else 1.0 for _, model in self._rows]
            gates = Gates.stack([Gates.uniform(self._pair.n_layers, v) for v in values])
            read = self._pair.hidden(self._pair.ids([fed[lane] for lane, _ in self._rows]), gates, cache=self._cache)
        for row, (lane, model) in enumerate(self._rows):
            found = [prompt_states[model].unsqueeze(0)] if prompt_states else []
            states[lane, model] = torch.cat(found + ([read[row]] if read is not None else []))
        return states

    def drop(self, lanes: set[int]) -> None:
        """Lets the followers of finished lanes go."""
        kept = [row for row, (lane, _) in enumerate(self._rows) if lane not in lanes]
        if len(kept) < len(self._rows):
            self._rows = [self._rows[row] for row in kept]
            if kept and self._cache is not None:
                self._cache.keep(kept)

    def release(self) -> None:
        """Frees the cache."""
        self._cache = None
