"""What one lane has written so far, and the finished answer made of it.

Filled by whoever runs a decoding, read by whoever shows it. Knows updates and scores; runs nothing.
"""

import time
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace

import torch

from core.generate.lanes import Finished
from core.generate.scored import LaneScores, Update
from core.measure.answers import repetition
from core.measure.divergence import kl_divergence
from core.measure.tokens import TokenScore, token_scores
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.parts import MASKS, Part
from core.pair.prompts import Prompt, PromptBuilder
from core.pair.routes import prefill


@dataclass(frozen=True, eq=False)
class Lane:
    """One answer to be written: its name and its gates (one row)."""

    name: str
    gates: Gates


@dataclass(frozen=True)
class LaneAnswer:
    """One answer.

    Attributes:
        name: `base`, `tuned`, or `hybrid`, `hybrid-2`, `hybrid-3`.
        gates: n_layers × [attn, mlp].
        text: without the end-of-turn token.
        ids: with it, where the model wrote it.
        parts: the part of each token.
        finished: `end`, `length`, or `stopped` by a person.
        reasoning_finished: whether the reasoning was closed; null where there is none.
        kl_to_base, kl_to_tuned: mean KL(lane‖base) and KL(lane‖tuned) over reasoning and answer tokens, nats.
        kl_to_base_noise, kl_to_tuned_noise: how much these means change when the text is run in one pass instead of
            token by token; null where the answer was stopped.
        repetition: share of repeated 4-grams, 0..1; null below four tokens.
        tokens_per_second: of this lane, from its first token on.
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

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.ids: list[int] = []
        self.scored: list[TokenScore] = []
        self.scores: list[LaneScores] = []
        self.finished: Finished | None = None
        self.again: tuple[float | None, float | None] | None = None
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

    def renamed(self, name: str) -> "LaneRecord":
        """The same tokens and scores as another lane; for a lane that has ended."""
        other = copy(self)
        other.lane = replace(self.lane, name=name)
        return other

    def stop(self) -> None:
        """Marks the lane as stopped unless it had ended."""
        self.finished = self.finished or "stopped"

    @property
    def tokens_per_second(self) -> float | None:
        """Speed from the first token on; None below two tokens."""
        seconds = self._last_at - self._first_at
        return (len(self.ids) - 1) / seconds if len(self.ids) > 1 and seconds > 0 else None

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

    @torch.no_grad()
    def measure_again(self, pair: Pair, prompt: Prompt) -> None:
        """Runs the finished text in one pass, for the noise of this lane's figures. One forward of three rows."""
        ids = tuple(self.ids)
        rows = Gates.stack([self.lane.gates, pair.base_gates(), pair.tuned_gates()])
        states = prefill(pair, (*prompt.ids, *ids), rows)[:, len(prompt.ids) - 1 : -1]
        parts = pair.prompts.answer_parts(ids, prompt).parts
        kept = torch.tensor([part in MASKS["response"] for part in parts], device=states.device)
        if not kept.any():
            self.again = (None, None)
            return
        step = pair.unembed.positions_at_once(160)
        own, base, tuned = (state[kept].split(step) for state in states)
        means = [
            torch.cat([kl_divergence(pair.unembed(a), pair.unembed(b)) for a, b in zip(own, other, strict=True)]).mean()
            for other in (base, tuned)
        ]
        self.again = (float(means[0]), float(means[1]))

    def answer(self, prompts: PromptBuilder, prompt: Prompt) -> LaneAnswer:
        """The answer as it stands; one that is still being written counts as stopped."""
        scores = list(self.scores)
        ids = tuple(self.ids)
        parts = prompts.answer_parts(ids, prompt)
        to_base, to_tuned = (self._mean(scores, field, parts.parts) for field in ("kl_to_base", "kl_to_tuned"))
        again = self.again or (None, None)
        return LaneAnswer(
            name=self.lane.name,
            gates=self.lane.gates.by_part()[0],
            text=prompts.text(ids),
            ids=ids,
            parts=parts.parts,
            finished=self.finished or "stopped",
            reasoning_finished=parts.reasoning_finished,
            kl_to_base=to_base,
            kl_to_tuned=to_tuned,
            kl_to_base_noise=_change(to_base, again[0]),
            kl_to_tuned_noise=_change(to_tuned, again[1]),
            repetition=repetition([i for i in ids if i not in prompts.end_ids]),
            tokens_per_second=self.tokens_per_second,
        )

    @staticmethod
    def _mean(scores: Sequence[LaneScores], field: str, parts: tuple[Part, ...]) -> float | None:
        if not scores:
            return None
        values = torch.cat([getattr(found, field) for found in scores])
        kept = torch.tensor([part in MASKS["response"] for part in parts[: len(values)]])
        return float(values[kept].mean()) if kept.any() else None


def _change(value: float | None, again: float | None) -> float | None:
    return None if value is None or again is None else abs(value - again)
