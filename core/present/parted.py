"""Where another answer leaves base's: how far both are the same, and what each model would have written there.

Up to that token both answers are one text, so base and fine-tuned model are compared on the same words: one row for
each token that was written there or was a model's first choice. Knows answers with their scores; runs nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from core.measure.answers import first_divergence
from core.measure.tokens import Choice, TokenScore
from core.present.forks import Fork
from core.present.runs import LaneRun
from core.present.texts import percent, two_digits

CLOSE = 0.05  # of probability: below it, which of two tokens comes first hangs on little
END = "end of the answer"
_ENDINGS = {"length": "was cut there", "stopped": "was stopped there", "failed": "was cut off there"}


@dataclass(frozen=True)
class PartedToken:
    """One token that could have stood where two answers part.

    Attributes:
        text: the token.
        p_base, p_tuned: its probability; null where a model does not have it among the choices that were kept.
        first_of: the models whose first choice it is, `base` or `tuned`.
        written_by: the sides that wrote it, `base` or `other`.
    """

    text: str
    p_base: float | None
    p_tuned: float | None
    first_of: tuple[str, ...]
    written_by: tuple[str, ...]


@dataclass(frozen=True)
class Parted:
    """Where two answers part.

    Attributes:
        at: how many tokens both begin with; null where the answers are the same.
        kl: KL(tuned‖base) of the token after them, nats; null where it has no score.
        tokens: what was written there, then what each model would have put first.
        least: the smallest probability among the choices kept of base and of tuned: what is not kept is below it.
        written: the tokens base and the other answer have there; null where an answer had no more.
        endings: how the two answers ended.
        n: how many tokens each has.
        fork: where the other answer was begun by hand; null otherwise.
    """

    at: int | None
    kl: float | None
    tokens: tuple[PartedToken, ...]
    least: tuple[float, float]
    written: tuple[str | None, str | None]
    endings: tuple[str, str]
    n: tuple[int, int]
    fork: Fork | None


def where_they_part(base: LaneRun, other: LaneRun) -> Parted:
    """Compares base's answer with another one, token by token."""
    sides = (base, other)
    at = first_divergence(base.answer.ids, other.answer.ids)
    here = [_token(side, at) for side in sides]
    scored = next((token for token in here if token is not None and token.top_base and token.top_tuned), None)
    tops = ((scored.top_base or ()), (scored.top_tuned or ())) if scored is not None else ((), ())
    names = _names(here, [choice for top in tops for choice in top])
    rows = {}
    for index in dict.fromkeys([*(t.id for t in here if t is not None), *(top[0].id for top in tops if top)]):
        own = next((token for token in here if token is not None and token.id == index), None)
        rows[index] = PartedToken(
            names[index],
            _probability(index, tops[0], own.logp_base if own else None),
            _probability(index, tops[1], own.logp_tuned if own else None),
            tuple(model for model, top in zip(("base", "tuned"), tops, strict=True) if top and top[0].id == index),
            tuple(side for side, t in zip(("base", "other"), here, strict=True) if t is not None and t.id == index),
        )
    return Parted(
        at=at,
        kl=scored.kl_tuned_base if scored is not None else None,
        tokens=tuple(rows.values()),
        least=tuple(min((_p(choice.logp) for choice in top), default=1.0) for top in tops),  # type: ignore[arg-type]
        written=tuple(None if token is None else names[token.id] for token in here),  # type: ignore[arg-type]
        endings=(base.answer.finished, other.answer.finished),
        n=(len(base.answer.ids), len(other.answer.ids)),
        fork=other.fork,
    )


def _token(side: LaneRun, at: int | None) -> TokenScore | None:
    return None if at is None or at >= len(side.tokens) else side.tokens[at]


def _p(logp: float) -> float:
    return min(1.0, math.exp(logp))


def _probability(index: int, top: Sequence[Choice], logp: float | None) -> float | None:
    found = next((choice.logp for choice in top if choice.id == index), logp)
    return None if found is None else _p(found)


def _names(here: Sequence[TokenScore | None], choices: Sequence[Choice]) -> dict[int, str]:
    """Each token as it is shown; its spaces count only where two tokens differ in nothing else."""
    texts = {choice.id: choice.text for choice in choices}
    texts |= {token.id: token.text for token in here if token is not None}
    ends = {token.id for token in here if token is not None and token.part == "end"}
    bare = {index: text.replace("\n", "↵").strip() for index, text in texts.items()}
    seen = list(bare.values())
    return {
        index: END
        if index in ends
        else name
        if name and seen.count(name) == 1
        else texts[index].replace("\n", "↵").replace(" ", "␣") or "·"
        for index, name in bare.items()
    }


def parted_words(found: Parted, other: str, noise: float) -> str:
    """Where two answers part, in plain sentences.

    Args:
        found: base's answer and the other one.
        other: what the other one is called.
        noise: KL below this is no difference, nats.
    """
    if not all(found.n):
        return "There are no two answers to compare."
    if found.at is None:
        so_far = "" if set(found.endings) == {"end"} else ", as far as they were written"
        return f"Base and {other} wrote the same answer, token for token{so_far}."
    count = f"the same {found.at} tokens" if found.at > 1 else "the same token"
    start = f"Base and {other} begin with {count}. Then " if found.at else "From the first token on they differ: "
    return f"{start}{_written(found, other)} {_models(found, noise)}"


def _written(found: Parted, other: str) -> str:
    """What each of the two wrote."""
    fork = found.fork
    by_hand = fork is not None and found.at is not None and fork.at <= found.at < fork.at + len(fork.ids)
    parts = []
    for name, text, ending, given in zip(("Base", other), found.written, found.endings, (False, by_hand), strict=True):
        if text is None:
            parts.append(f"{name}'s answer {_ENDINGS.get(ending, 'ends')}")
        elif given:
            parts.append(f"{name} was given {_quoted(text)}")
        else:
            parts.append(f"{name} ends its answer" if text == END else f"{name} writes {_quoted(text)}")
    copied = " That token is still from the answer it was forked off." if fork and (found.at or 0) < fork.at else ""
    return f"{parts[0]}, and {parts[1]}.{copied}"


def _models(found: Parted, noise: float) -> str:
    """What base and fine-tuned model would have put first."""
    firsts = [next((t for t in found.tokens if model in t.first_of), None) for model in ("base", "tuned")]
    base, tuned = firsts
    if found.kl is None or base is None or tuned is None:
        return "The models' choices at this token were not kept."
    if found.kl <= noise:
        return "The two models' predictions there do not differ beyond numerical noise."
    apart = f"KL(tuned‖base) is {two_digits(found.kl)} nats there"
    if base is tuned:
        return (
            f"{apart}, though both models would put {_quoted(base.text)} first: Base gives it "
            f"{percent(base.p_base or 0)}, Fine-tuned {percent(base.p_tuned or 0)}."
        )
    close = all(
        abs((mine or 0) - (its or 0)) < CLOSE
        for mine, its in ((base.p_base, tuned.p_base), (base.p_tuned, tuned.p_tuned))
    )
    return (
        f"{apart}: Base would put {_quoted(base.text)} first ({percent(base.p_base or 0)}), Fine-tuned "
        f"{_quoted(tuned.text)} ({percent(tuned.p_tuned or 0)})."
        + (" It was close: under both models the two are almost equally likely." if close else "")
    )


def _quoted(text: str) -> str:
    return f"the {END}" if text == END else f"“{text}”"


def parted_rows(found: Parted, other: str) -> list[dict[str, str]]:
    """The tokens that could have stood there, for a small table."""
    sides, models = {"base": "Base", "other": other}, {"base": "Base", "tuned": "Fine-tuned"}
    return [
        {
            "token": token.text,
            "under Base": _share(token.p_base, found.least[0]),
            "under Fine-tuned": _share(token.p_tuned, found.least[1]),
            "first choice of": " and ".join(models[name] for name in token.first_of) or "neither",
            "written by": " and ".join(sides[name] for name in token.written_by) or "neither",
        }
        for token in found.tokens
    ]


def _share(probability: float | None, least: float) -> str:
    return percent(probability) if probability is not None else f"< {percent(least).removeprefix('< ')}"
