"""Answers on their way: one request that reads its prompt, decodes in a shared batch and is scored, piece by piece.

Written as a generator that pauses between pieces, so that many take turns in one thread. Knows its own answers; knows
no queue.
"""

import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

from core.errors import GraftError
from core.generate.batch import Batch
from core.generate.lane import Lane
from core.generate.record import LaneRecord, rows_of
from core.generate.requests import Request, Status
from core.generate.sampling import Sampling
from core.generate.scored import Update
from core.generate.scoring import LaneScores, Scoring, reading_along
from core.generate.seat import Seat, Step
from core.pair.pair import Pair
from core.pair.prompts import Prompt

Pause = Literal["step", "work", "spare"]
"""What a paused answer waits for: the batch's next step, its turn to read its prompt, or spare time for its noise."""


@dataclass(frozen=True, eq=False)
class Job:
    """What answers are asked for.

    Attributes:
        prompt: the question.
        lanes: the answers to write.
        sampling: how tokens are chosen.
        max_new_tokens: at most so many tokens a lane.
        begun: tokens every answer begins with.
    """

    prompt: Prompt
    lanes: tuple[Lane, ...]
    sampling: Sampling
    max_new_tokens: int
    begun: tuple[int, ...] = ()

    @property
    def n_rows(self) -> int:
        """How many rows of keys and values it takes at most: its lanes', and base and tuned reading along."""
        followers = sum((not lane.is_base) + (not lane.is_tuned) for lane in self.lanes)
        return sum(lane.n_rows for lane in self.lanes) + followers

    @property
    def n_prompt_rows(self) -> int:
        """How many rows of the prompt alone are kept besides, to read the answer once more from there."""
        return sum(lane.n_rows for lane in self.lanes) + 2

    @property
    def n_positions(self) -> int:
        """How long each of them gets at most."""
        return len(self.prompt.ids) + max(self.max_new_tokens, len(self.begun) + 1)


class Writing(Request):
    """Answers being written.

    Attributes:
        job: what was asked.
        records: what each lane has written so far; of a long prompt the first lane may have its first token earlier.
        first_token_at: `time.monotonic()` seconds of the first lane's; 0 before.
        seat: its place in the batch; None before and after.
        step: what the batch's last step wrote for it; set by whoever steps.
        at_once: how many (row, position) computations it may make when its turn comes; set by whoever gives turns.
        answered_at: `time.monotonic()` seconds when all was written and scored; 0 before. What follows is its noise.
    """

    def __init__(self, job: Job, owner: str) -> None:
        super().__init__(owner)
        self.job = job
        self.records = [LaneRecord(lane, job.begun) for lane in job.lanes]
        self.first_token_at = self.answered_at = 0.0
        self.seat: Seat | None = None
        self.step: Step | None = None
        self.at_once = 1

    @property
    def n_rows(self) -> int:
        """How many lanes are being written now."""
        return sum(record.finished is None for record in self.records) if self.status == "running" else 0

    def end(self, status: Status, error: GraftError | None = None) -> None:
        """Marks request and lanes as ended."""
        self._stop_lanes(status)
        self.seat = self.step = None
        super().end(status, error)

    def _stop_lanes(self, status: Status) -> None:
        by_person = status == "stopped" and self._closed.is_set()
        for record in self.records:
            record.stop("stopped" if by_person else "failed")

    def pieces(self, pair: Pair, batch: Batch, scoring: Scoring) -> Generator[Pause, None, Status]:
        """Writes the answers, pausing between pieces; returns the status it ended with.

        Before it goes on after `"step"`, `step` holds what was written for it and `scoring` has advanced; after
        `"work"` or `"spare"`, `at_once` holds how many (row, position) computations it may make.
        """
        job = self.job
        seat = self.seat = Seat(
            pair, job.prompt.ids, job.lanes, job.sampling, job.max_new_tokens, job.begun, reading_along(pair)
        )
        try:
            prefill = seat.prefill(first_lane_first=True)
            while not prefill.done:
                yield "work"
                if self.closing:
                    return "stopped"
                prefill.advance(self.at_once // prefill.n_rows)
                self._take(batch.start(seat, prefill), scoring, pair)
            read = prefill.read()
            self._take(scoring.enter(batch, seat, *prefill.result()), scoring, pair)
            for record in self.records:
                record.begins_with_others()
            while seat.writing and not self.closing:
                yield "step"
                if self.step is not None:
                    self._take(self.step, scoring, pair)
            stopped = bool(seat.writing)
            batch.leave(seat)  # the lanes' rows are free before the last tokens are scored
            self._stop_lanes("stopped")
            while scoring.is_beginning(seat):
                yield "work"
                scoring.begin(seat)
            self._add_scores(scoring.finish(seat), pair)
            self.answered_at = time.monotonic()
            if stopped:
                return "stopped"
            for record, own in zip(self.records, rows_of(job.lanes, read), strict=True):
                try:
                    for _ in record.measure_again(pair, job.prompt, own, lambda rows: self.at_once // rows):
                        yield "spare"
                        if self.closing:
                            return "done"  # the answer is whole; only its noise is not known
                except GraftError:  # likewise
                    continue
            return "done"
        finally:
            batch.leave(seat)
            scoring.leave(seat)

    def _take(self, step: Step, scoring: Scoring, pair: Pair) -> None:
        update = Update(step.tokens, step.finished, scoring.take(self.seat) if self.seat else ())
        for number, record in enumerate(self.records):
            record.add(number, update, pair.prompts)
        if step.tokens:
            self.first_token_at = self.first_token_at or time.monotonic()

    def _add_scores(self, scores: tuple[LaneScores, ...], pair: Pair) -> None:
        for number, record in enumerate(self.records):
            record.add_scores(number, scores, pair.prompts)
