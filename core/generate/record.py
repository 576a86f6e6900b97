"""What one lane has written so far, and the finished answer made of it.

Filled by whoever runs a decoding, read by whoever shows it. Knows updates and scores; runs nothing.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from core.generate.lane import Kind, Lane, LanePatch
from core.generate.lanes import POSITIONS_AT_ONCE
from core.generate.prefill import Prefill, PromptRead
from core.generate.scored import Update
from core.generate.scoring import LaneScores
from core.generate.seat import Finished
from core.measure.answers import repetition
from core.measure.noise import noise_of
from core.measure.positions import kl_of_states
from core.measure.tokens import TokenScore, token_scores
from core.pair.gates import Gates
from core.pair.memory import memory_for
from core.pair.pair import Pair
from core.pair.parts import MASKS, Part
from core.pair.prompts import Prompt, PromptBuilder

AGAIN_AT_ONCE = 24
"""How many positions a pass of the second reading has. The size makes the route, so it must not follow the load."""


@dataclass(frozen=True)
class LaneAnswer:
    """One answer.

    Attributes:
        name: `base`, `tuned`, or `hybrid`, `hybrid-2` and so on; forks are `fork-1` and so on.
        gates: n_layers × [attn, mlp]; of a patched lane the recipient's, of an amplified one the fine-tuned model's.
        text: without the end-of-turn token.
        ids: with it, where the model wrote it.
        parts: the part of each token.
        finished: `end`, `length`, `stopped` by a person, or `failed`: cut off by an error or the time allowed.
        reasoning_finished: whether the reasoning was closed; null where there is none.
        kl_to_base, kl_to_tuned: mean KL(lane‖base) and KL(lane‖tuned) over reasoning and answer tokens, nats. As for
            all means here, tokens it was begun with do not count; null where it has no others.
        kl_to_base_noise, kl_to_tuned_noise: how much these means change when the answer is read again from the end of
            the question, 24 positions at a time, and never less than the noise floor; 0 for itself; null where the
            answer was stopped, or where that reading failed.
        repetition: share of repeated 4-grams, 0..1; null below four tokens.
        tokens_per_second: of this lane, from when every lane had its first token.
        kind: `graft`; `patch` where activations of a donor were put in; `amplify` where logits were extrapolated.
        patch: what was put in; null without a donor.
        alpha: the amplification; null for other kinds.
        begun: how many tokens it was given to begin with.
        mean_tv: mean total variation between what base and fine-tuned model draw from on this text, after temperature
            and top-p, 0..1; no way of sharing noise parts them less often. Null where sampling is not coupled.
        parting_rate: share of tokens at which base and fine-tuned model would have chosen differently under the
            lanes' shared noise; null where sampling is not coupled.
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
    kl_to_base_noise: float | None = None
    kl_to_tuned_noise: float | None = None
    kind: Kind = "graft"
    patch: LanePatch | None = None
    alpha: float | None = None
    begun: int = 0
    mean_tv: float | None = None
    parting_rate: float | None = None


class LaneRecord:
    """Tokens and scores of one lane, in the order they came.

    One thread adds; any thread may read: lists only grow, and a reader takes what is there.

    Attributes:
        lane: what was to be written.
        ids: the tokens.
        scored: the first of them, with their scores; `pos` counts from the beginning of the answer.
        finished: how the lane ended; None while it writes.
        again: the means of KL to base and to tuned by another numerical route, once `measure_again` has run.
    """

    def __init__(self, lane: Lane, begun: Sequence[int] = ()) -> None:
        self.lane, self.n_begun = lane, len(begun)
        self.ids: list[int] = list(begun)
        self.scored: list[TokenScore] = []
        self.scores: list[LaneScores] = []
        self.finished: Finished | None = None
        self.again: tuple[float | None, float | None] | None = None
        self._floor = 0.0
        self._first_at = self._last_at = 0.0

    def add(self, number: int, update: Update, prompts: PromptBuilder) -> None:
        """Takes this lane's share of an update."""
        if number in update.tokens:
            now = time.perf_counter()
            self._first_at = self._first_at or now
            self._last_at = now
            self.ids.append(update.tokens[number])
        self.add_scores(number, update.scores, prompts)
        self.finished = update.finished.get(number, self.finished)

    def add_scores(self, number: int, scores: Sequence[LaneScores], prompts: PromptBuilder) -> None:
        """Takes this lane's share of newly scored stretches."""
        for found in scores:
            if found.lane == number:
                ids = self.ids[found.first : found.first + len(found.positions)]
                tokens = token_scores(prompts, ids, ["answer"] * len(ids), found.positions, first=0)
                self.scored += [replace(token, pos=found.first + token.pos) for token in tokens]
                self.scores.append(found)

    def begins_with_others(self) -> None:
        """Counts its speed from now on: its first token was written while others' prompts were being read."""
        if self._first_at:
            self._first_at = self._last_at = time.perf_counter()

    def renamed(self, name: str) -> "LaneRecord":
        """The same tokens and scores as another lane; for a lane that has ended."""
        other = copy(self)
        other.lane = replace(self.lane, name=name)
        return other

    def stop(self, how: Finished = "stopped") -> None:
        """Marks the lane as stopped, or as failed, unless it had ended."""
        self.finished = self.finished or how

    @property
    def tokens_per_second(self) -> float | None:
        """Speed from when every lane had its first token; None below two. What it was begun with does not count."""
        seconds, written = self._last_at - self._first_at, len(self.ids) - self.n_begun
        return (written - 1) / seconds if written > 1 and seconds > 0 else None

    def tokens(self, prompts: PromptBuilder, prompt: Prompt) -> tuple[TokenScore, ...]:
        """Every token written so far with its part; the last few may not have their scores yet.

        `pos` counts from the beginning of the prompt.
        """
        scored = list(self.scored)  # before the ids: tokens may be added meanwhile, and never outnumber them
        ids = tuple(self.ids)
        parts = prompts.answer_parts(ids, prompt).parts
        bare = token_scores(prompts, ids[len(scored) :], parts[len(scored) :], None, first=0)
        return tuple(
            replace(token, pos=len(prompt.ids) + index, part=parts[index])
            for index, token in enumerate([*scored, *bare])
        )

    def measure_again(
        self, pair: Pair, prompt: Prompt, read: PromptRead, at_once: Callable[[int], int] = lambda _: POSITIONS_AT_ONCE
    ) -> Iterator[None]:
        """Reads the finished text in passes of its own, for the noise of this lane's figures; pauses between them.

        Args:
            pair: the models.
            prompt: the question.
            read: the question as this lane's rows, base and tuned have read it. All but its last token is not read
                again: what is read by another route is the answer.
            at_once: asked after each pause how many positions may be read until the next, for a number of rows. It
                decides how many passes are made, one at least, never how long they are.

        Raises:
            DeviceMemoryError: the device ran out of memory.
        """
        rows = Gates.stack([self.lane.gates, pair.base_gates(), pair.tuned_gates()])
        ids = (*prompt.ids, *self.ids)[:-1]
        reading = Prefill(pair, ids, rows, len(prompt.ids) - 1, self.lane.patches(0), read)
        while not reading.done:
            yield
            for _ in range(max(1, at_once(reading.n_rows) // AGAIN_AT_ONCE)):
                if not reading.done:
                    reading.advance(AGAIN_AT_ONCE)
        self._floor = noise_of(pair).kl
        with memory_for("Tokens of a finished answer, read once more,"):
            self.again = self._means_again(pair, prompt, reading.result()[1])

    @torch.no_grad()
    def _means_again(self, pair: Pair, prompt: Prompt, states: Tensor) -> tuple[float | None, float | None]:
        parts = pair.prompts.answer_parts(self.ids, prompt).parts
        kept = _counted(parts, self.n_begun).to(states.device)
        if not kept.any():
            return None, None
        weights = torch.tensor(self.lane.weights, device=states.device)
        own = torch.tensordot(weights, states[:-2].float(), 1)[kept]
        means = []
        for other, itself in zip(states[-2:], (self.lane.is_base, self.lane.is_tuned), strict=True):
            means.append(0.0 if itself else float(kl_of_states(pair.unembed, own, other[kept]).mean()))
        return means[0], means[1]

    def answer(self, prompts: PromptBuilder, prompt: Prompt) -> LaneAnswer:
        """The answer as it stands; one that is still being written counts as stopped."""
        scores = list(self.scores)
        ids = tuple(self.ids)
        parts = prompts.answer_parts(ids, prompt)
        counted = _counted(parts.parts, self.n_begun)
        to_base = _mean_of([found.kl_to_base for found in scores], counted)
        to_tuned = _mean_of([found.kl_to_tuned for found in scores], counted)
        again = self.again or (None, None)
        return LaneAnswer(
            name=self.lane.name,
            gates=self.lane.gates.take([0]).by_part()[0],
            text=prompts.text(ids),
            ids=ids,
            parts=parts.parts,
            finished=self.finished or "stopped",
            reasoning_finished=parts.reasoning_finished,
            kl_to_base=to_base,
            kl_to_tuned=to_tuned,
            kl_to_base_noise=_change(to_base, again[0], 0.0 if self.lane.is_base else self._floor),
            kl_to_tuned_noise=_change(to_tuned, again[1], 0.0 if self.lane.is_tuned else self._floor),
            repetition=repetition([i for i in ids if i not in prompts.end_ids]),
            tokens_per_second=self.tokens_per_second,
            kind=self.lane.kind,
            patch=self.lane.patch,
            alpha=self.lane.alpha,
            begun=self.n_begun,
            mean_tv=_mean_of([found.drawn_tv for found in scores if found.drawn_tv is not None], counted),
            parting_rate=_mean_of([found.parted for found in scores if found.parted is not None], counted),
        )


def rows_of(lanes: Sequence[Lane], read: PromptRead) -> list[PromptRead]:
    """Of each lane, what its own rows, base and tuned have read."""
    firsts = [sum(lane.n_rows for lane in lanes[:number]) for number in range(len(lanes))]
    return [read.rows(first, lane.n_rows) for first, lane in zip(firsts, lanes, strict=True)]


def _counted(parts: Sequence[Part], n_begun: int) -> Tensor:
    """Which tokens of an answer its means are over: reasoning and answer, without what it was begun with."""
    return torch.tensor(
        [part in MASKS["response"] and index >= n_begun for index, part in enumerate(parts)], dtype=torch.bool
    )


def _mean_of(pieces: Sequence[Tensor], counted: Tensor) -> float | None:
    """Mean over the tokens that count of what was scored piece by piece."""
    if not pieces:
        return None
    values = torch.cat(list(pieces)).double()
    kept = counted[: len(values)]
    return float(values[kept].mean()) if kept.any() else None


def _change(value: float | None, again: float | None, floor: float) -> float | None:
    return None if value is None or again is None else max(abs(value - again), floor)
