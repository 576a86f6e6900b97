"""Answers among others: what each waits for, whose turn it is, and how much a turn may hold.

Knows that they wait; runs nothing.
"""

from collections.abc import Collection, Generator
from dataclasses import dataclass

from core.generate.requests import Status
from core.generate.writing import Pause, Writing

WORK_BESIDE_OTHERS = 96
"""How many (row, position) computations an answer may make between two steps of the others."""
WORK_ALONE = 4096
WORK_WHILE_NOBODY_WRITES = 512
PIECES_A_TURN = 4
"""How many prompts are read on with between two steps, where so many wait."""
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
