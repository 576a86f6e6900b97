"""Each answer under each model, in plain sentences made from the table.

Likelihoods of one text under several models can be compared straight away; those of several texts under one model also
differ because texts do. Knows the scores; computes none.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from core.measure.cross import CrossRow, CrossScore, CrossScores
from core.present.texts import told_apart, two_digits

LIMITS = (
    "Lower is likelier. A model mostly finds its own answer likeliest, since it chose those tokens; by how much says "
    "how far apart the models write. Compare along a row first: it is one text. A likely answer is not a right one."
)
_HARDLY = 0.05  # nats: a factor that would read as 1.0


@dataclass(frozen=True)
class Names:
    """What the lanes of a run are called.

    Attributes:
        called: lane → its name.
        own: lane → the model that wrote its answer, where that is one of those scored.
    """

    called: Mapping[str, str]
    own: Mapping[str, str]


def cross_words(found: CrossScores, names: Names) -> str:
    """Which answers are likeliest under their own model, which one base finds likeliest, how far off the other is."""
    rows = [row for row in found.answers if row.n]
    if not rows:
        return "There is no answer with a token to score."
    said = [_own_words(rows, names), _of_base(rows, names), *_each_other(rows, names)]
    return " ".join(sentence for sentence in said if sentence)


def _own_words(rows: list[CrossRow], names: Names) -> str:
    """Whether answers are likeliest under the model that wrote them."""
    owned = [row for row in rows if row.answer in names.own]
    strangers = [(row, likelier) for row in owned if (likelier := _likelier_than_own(row, names.own[row.answer]))]
    if not owned:
        return ""
    if not strangers:
        if len(owned) == 1:
            return f"{names.called[owned[0].answer]}'s answer is likeliest under the model that wrote it."
        every = "Each answer" if len(owned) == len(rows) else "Each answer that a single model wrote"
        return f"{every} is likeliest under the model that wrote it."
    return " ".join(_stranger_words(row, names, likelier) for row, likelier in strangers)


def _stranger_words(row: CrossRow, names: Names, likelier: str) -> str:
    other, own = told_apart(_nats(_score(row, likelier)), _nats(_score(row, names.own[row.answer])))
    return (
        f"{names.called[row.answer]}'s answer is likelier under {names.called[likelier]} than under the model that "
        f"wrote it ({other} against {own} nats a token)."
    )


def _likelier_than_own(row: CrossRow, own: str) -> str | None:
    """The model under which an answer is likeliest, if that is not its own beyond noise."""
    mine = _score(row, own)
    best = min(row.models, key=lambda score: _nats(score))
    return None if _nats(mine) - _nats(best) <= _noise(mine) + _noise(best) else best.model


def _of_base(rows: list[CrossRow], names: Names) -> str:
    """Which answer base finds likeliest, and which least likely."""
    if len(rows) < 2:
        return ""
    ordered = sorted((_score(row, "base") for row in rows), key=_nats)
    first, last = ordered[0], ordered[-1]
    if _nats(last) - _nats(first) <= _noise(first) + _noise(last):
        return "The base model finds all answers equally likely a token."
    by_score = {id(_score(row, "base")): names.called[row.answer] for row in rows}
    least, most = told_apart(_nats(first), _nats(last))
    return (
        f"To the base model a token of {by_score[id(first)]}'s answer is on average the likeliest "
        f"({least} nats), one of {by_score[id(last)]}'s the least likely ({most})."
    )


def _each_other(rows: list[CrossRow], names: Names) -> list[str]:
    """How likely base and fine-tuned model find each other's answer, against their own."""
    by_answer = {row.answer: row for row in rows}
    said = []
    for mine, other in (("tuned", "base"), ("base", "tuned")):
        if mine not in by_answer:
            continue
        own, its = _score(by_answer[mine], mine), _score(by_answer[mine], other)
        apart, noise = _nats(its) - _nats(own), _noise(its) + _noise(own)
        whose = f"{names.called[mine]}'s answer"
        if abs(apart) <= noise:
            said.append(f"{whose} is equally likely under both models.")
            continue
        how = "less" if apart > 0 else "more"
        if abs(apart) < _HARDLY:
            under = told_apart(_nats(its), _nats(own))
            said.append(
                f"{whose} is slightly {how} likely a token under {names.called[other]} than under {names.called[mine]} "
                f"({under[0]} against {under[1]} nats)."
            )
            continue
        said.append(
            f"{whose} is {two_digits(math.exp(abs(apart)))} times {how} likely a token under {names.called[other]} "
            f"than under {names.called[mine]}."
        )
    return said


def _score(row: CrossRow, model: str) -> CrossScore:
    return next(score for score in row.models if score.model == model)


def _nats(score: CrossScore) -> float:
    assert score.nats is not None  # rows without tokens are left out before
    return score.nats


def _noise(score: CrossScore) -> float:
    return score.noise or 0.0
