"""The lanes of a finished run by name: what each is called, forks included, and whose model wrote it.

Knows reports; computes nothing.
"""

from core.present.forks import coloured_lane, fork_title
from core.present.hybrids import lane_title, lane_word
from core.present.runs import LaneRun, RunReport


def lane_run(report: RunReport, name: str) -> LaneRun:
    """The lane of a name."""
    return next(lane for lane in report.lanes if lane.answer.name == name)


def model_of(report: RunReport, name: str) -> str:
    """The lane whose model writes: a fork's is that of the lane it was given to, any other lane's its own."""
    fork = lane_run(report, name).fork
    return name if fork is None else fork.model


def coloured(report: RunReport, name: str) -> str:
    """The lane's name as colours and marks go by it."""
    return coloured_lane(name, lane_run(report, name).fork)


def called(report: RunReport, name: str) -> str:
    """What a lane is called: Base, Fine-tuned, a hybrid's own name, or Fork 1."""
    return lane_word(name, report.settings.hybrids)


def titled(report: RunReport, name: str) -> str:
    """What a lane is called, with what makes a hybrid or a fork one."""
    lane, hybrids = lane_run(report, name), report.settings.hybrids
    return lane_title(name, hybrids) if lane.fork is None else fork_title(name, lane.fork, lane.tokens, hybrids)
