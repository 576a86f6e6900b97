"""Answers among others: what each waits for, whose turn it is, and how much a turn may hold.

Knows that they wait; runs nothing.
"""

from collections import Counter
from collections.abc import Collection, Generator, Iterable
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
    """Who comes in first, second, …: of owners with the least in, the one let in the longest ago, then who came first.

    With room for one at a time that is one of each owner in turn.
    """

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._n = 0

    def let_in(self, owner: str) -> None:
        """Remembers that a request of an owner has come in."""
        self._n += 1
        self._last.pop(owner, None)
        self._last[owner] = self._n
        if len(self._last) > OWNERS_REMEMBERED:
            del self._last[next(iter(self._last))]

    def of(self, waiting: Iterable[Request], running: Iterable[str]) -> list[Writing]:
        """Who waits to write, in that order, if nobody leaves meanwhile.

        Args:
            waiting: in the order they came.
            running: the owner of each request that is in already.
        """
        n_in, last = Counter(running), dict(self._last)
        left = [request for request in waiting if isinstance(request, Writing)]
        order: list[Writing] = []
        while left:
            order.append(min(left, key=lambda request: (n_in[request.owner], last.get(request.owner, 0))))
            n_in[order[-1].owner] += 1
            last[order[-1].owner] = self._n + len(order)
            left.remove(order[-1])
        return order


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
