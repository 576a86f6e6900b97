"""Answers among others: what each waits for, whose turn it is, and how much a turn may hold.

Knows that they wait; runs nothing.
"""

import time
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.generate.requests import Request, Status
from core.generate.writing import Pause, Writing

WORK_BESIDE_OTHERS = 96
"""How many (row, position) computations an answer may make between two steps of the others."""
WORK_ALONE = 4096
WORK_WHILE_NOBODY_WRITES = 512
PIECES_A_TURN = 4
"""How many prompts are read on with between two steps, where so many wait."""
OWNERS_REMEMBERED = 1000
SPARE_EVERY = 4
"""While others write, what can wait gets every so manieth turn."""


@dataclass(eq=False)
class Answer:
    """A request that is being written.

    Attributes:
        request: which.
        pieces: its work.
        waits: what for.
    """

    request: Writing
    pieces: Generator[Pause, None, Status]
    waits: Pause = "work"


class FairOrder:
    """Who comes in next: of owners with the least in, the one let in the longest ago, then who came first.

    An owner that was never let in counts as one let in when its request came, so nobody who comes later goes before
    another for long. With room for one at a time it is one of each owner in turn.
    """

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def let_in(self, request: Request) -> None:
        """Remembers that a request has come in."""
        self._last.pop(request.owner, None)
        self._last[request.owner] = time.monotonic()
        if len(self._last) > OWNERS_REMEMBERED:
            del self._last[next(iter(self._last))]

    def first(self, waiting: Iterable[Request], running: Iterable[str]) -> Writing | None:
        """Who comes in next of those that wait to write; None where nobody does.

        Args:
            waiting: in the order they came; what else they wait for is left out.
            running: the owner of each request that is in already.
        """
        return _fairest(_writing(waiting), Counter(running), self._last)

    def before(self, request: Request, waiting: Iterable[Request], running: Iterable[str]) -> int:
        """How many come in before one that waits, if whoever has been in the longest leaves each time.

        Args:
            request: one of those that wait.
            waiting: as for `first`.
            running: as for `first`, who has been in the longest first.
        """
        inside, last, left = list(running), dict(self._last), _writing(waiting)
        n_before = 0
        while (chosen := _fairest(left, Counter(inside[1:]), last)) is not None and chosen is not request:
            inside = [*inside[1:], chosen.owner]
            last[chosen.owner] = time.monotonic() + n_before
            left.remove(chosen)
            n_before += 1
        return n_before


def _writing(waiting: Iterable[Request]) -> list[Writing]:
    return [request for request in waiting if isinstance(request, Writing)]


def _fairest(waiting: Sequence[Writing], n_in: Mapping[str, int], last: Mapping[str, float]) -> Writing | None:
    def rank(request: Writing) -> tuple[int, float]:
        return n_in.get(request.owner, 0), last.get(request.owner, request.submitted_at)

    return min(waiting, key=rank, default=None)


def next_to_work(answers: Collection[Answer], turn: int, decoding: bool) -> list[Answer]:
    """Who may compute something of its own now: prompts before noise, which can wait while others write.

    Args:
        answers: those who have waited longest first.
        turn: the number of this turn.
        decoding: whether a batch is stepping beside.
    """
    reading = [answer for answer in answers if answer.waits == "work"]
    if reading or (decoding and turn % SPARE_EVERY):
        return reading[:PIECES_A_TURN]
    return [answer for answer in answers if answer.waits == "spare"][:1]


def waiting_for_step(answers: Collection[Answer]) -> list[Answer]:
    """Who cannot go on before the batch has stepped; the last to come is the last."""
    return sorted((answer for answer in answers if answer.waits == "step"), key=lambda one: one.request.started_at)
