"""What one lane has written so far, and the finished answer made of it.

Filled by whoever runs a decoding, read by whoever shows it. Knows updates and scores; runs nothing.
"""

import time
from dataclasses import dataclass, replace

import torch

from core.generate.lanes import Finished
from core.generate.scored import LaneScores, Update
from core.measure.answers import repetition
from core.measure.tokens import TokenScore, token_scores
from core.pair.gates import Gates
from core.pair.parts import MASKS, Part
from core.pair.prompts import Prompt, PromptBuilder


@dataclass(frozen=True, eq=False)
class Lane:
    """One answer to be written: its name and its gates (one row)."""

    name: str
    gates: Gates


@dataclass(frozen=True)
class LaneAnswer:
    """One answer.

    Attributes:
        name: `base`, `hybrid` or `tuned`.
        gates: n_layers × [attn, mlp].
        text: without the end-of-turn token.
        ids: with it, where the model wrote it.
        parts: the part of each token.
        finished: `end`, `length`, or `stopped` by a person.
        reasoning_finished: whether the reasoning was closed; null where there is none.
        kl_to_base, kl_to_tuned: mean KL(lane‖base) and KL(lane‖tuned) over reasoning and answer tokens, nats.
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


class LaneRecord:
    """Tokens and scores of one lane, in the order they came.

    One thread adds; any thread may read: lists only grow, and a reader takes what is there.

    Attributes:
        lane: what was to be written.
        ids: the tokens.
        scored: the first of them, with their scores; `pos` counts from the beginning of the answer.
        finished: how the lane ended; None while it writes.
    """

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.ids: list[int] = []
        self.scored: list[TokenScore] = []
        self.scores: list[LaneScores] = []
        self.finished: Finished | None = None
        self._first_at = self._last_at = 0.0

    def add(self, number: int, update: Update, prompts: PromptBuilder) -> None:
        """Takes this lane's share of an update."""
        if number in update.tokens:
            now = time.perf_counter()
            self._first_at = self._first_at or now
            self._last_at = now
            self.ids.append(update.tokens[number])
        for found in update.scores:
            if found.lane == number:
                ids = self.ids[found.first : found.first + len(found.positions)]
                tokens = token_scores(prompts, ids, ["answer"] * len(ids), found.positions, first=0)
                self.scored += [replace(token, pos=found.first + token.pos) for token in tokens]
                self.scores.append(found)
        self.finished = update.finished.get(number, self.finished)

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
        ids, scored = tuple(self.ids), list(self.scored)
        parts = prompts.answer_parts(ids, prompt).parts
        bare = token_scores(prompts, ids[len(scored) :], parts[len(scored) :], None, first=0)
        return tuple(
            replace(token, pos=len(prompt.ids) + index, part=parts[index])
            for index, token in enumerate([*scored, *bare])
        )

    def answer(self, prompts: PromptBuilder, prompt: Prompt) -> LaneAnswer:
        """The answer as it stands; one that is still being written counts as stopped."""
        ids = tuple(self.ids)
        parts = prompts.answer_parts(ids, prompt)
        return LaneAnswer(
            name=self.lane.name,
            gates=self.lane.gates.by_part()[0],
            text=prompts.text(ids),
            ids=ids,
            parts=parts.parts,
            finished=self.finished or "stopped",
            reasoning_finished=parts.reasoning_finished,
            kl_to_base=self._mean("kl_to_base", parts.parts),
            kl_to_tuned=self._mean("kl_to_tuned", parts.parts),
            repetition=repetition([i for i in ids if i not in prompts.end_ids]),
            tokens_per_second=self.tokens_per_second,
        )

    def _mean(self, field: str, parts: tuple[Part, ...]) -> float | None:
        scores = list(self.scores)
        if not scores:
            return None
        values = torch.cat([getattr(found, field) for found in scores])
        kept = torch.tensor([part in MASKS["response"] for part in parts[: len(values)]])
        return float(values[kept].mean()) if kept.any() else None
