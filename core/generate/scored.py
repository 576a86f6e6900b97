"""Lanes of one prompt scored while they are written, in the caller's thread.

Knows decoding and scoring; knows nothing of pages.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.generate.batch import Batch
from core.generate.lane import Lane
from core.generate.lanes import POSITIONS_AT_ONCE
from core.generate.prefill import PromptRead
from core.generate.sampling import Sampling
from core.generate.scoring import LaneScores, Scoring, reading_along
from core.generate.seat import Finished, Seat, Step
from core.pair.pair import Pair


@dataclass(frozen=True, eq=False)
class Update:
    """What one step brought: tokens written, lanes ended, and scores of tokens written before.

    Attributes:
        tokens: lane → token.
        finished: lanes that ended, and how.
        scores: newly scored stretches; a lane's scores follow its tokens by at most `LONGEST` tokens, and its first
            ones by at most `CHUNK`.
    """

    tokens: dict[int, int]
    finished: dict[int, Finished]
    scores: tuple[LaneScores, ...]


class ScoredDecoding(Iterator[Update]):
    """Decodes lanes of one prompt and scores them on the way, in the caller's thread.

    Args:
        pair, prompt_ids, lanes, sampling, max_new_tokens, begun: as for `Seat`.

    Attributes:
        seat: what has been written.
        read: the prompt as all rows have read it; None before the first step.
    """

    def __init__(
        self,
        pair: Pair,
        prompt_ids: Sequence[int],
        lanes: Sequence[Lane],
        sampling: Sampling = Sampling(),  # noqa: B008  (frozen)
        max_new_tokens: int = 128,
        begun: Sequence[int] = (),
    ) -> None:
        self.seat = Seat(pair, prompt_ids, lanes, sampling, max_new_tokens, begun, reading_along(pair))
        self.read: PromptRead | None = None
        self._batch, self._scoring = Batch(pair), Scoring(pair)

    def __next__(self) -> Update:
        if not self.seat.writing:
            self._scoring.leave(self.seat)
            raise StopIteration
        if self.read is None:
            prefill = self.seat.prefill(first_lane_first=True)  # as `Writing` reads it, so that both write the same
            first = Step({}, {})
            while not prefill.done:
                prefill.advance(POSITIONS_AT_ONCE)
                first = self._batch.start(self.seat, prefill).after(first)
            self.read = prefill.read()
            step = self._scoring.enter(self._batch, self.seat, *prefill.result()).after(first)
        else:
            self._scoring.begin(self.seat)
            step = self._batch.step()[self.seat]
            self._scoring.advance()
        if not self.seat.writing:
            while self._scoring.is_beginning(self.seat):
                self._scoring.begin(self.seat)
            self._scoring.advance()
        return Update(step.tokens, step.finished, self._scoring.take(self.seat))
