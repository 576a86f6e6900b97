"""Builds finished lanes by hand: answers with tokens of given parts."""

from collections.abc import Sequence
from typing import Any

from core.generate.record import LaneAnswer
from core.measure.tokens import TokenScore
from core.present.forks import Fork
from core.present.runs import LaneRun


def lane(
    name: str,
    tokens: Sequence[TokenScore],
    ids: Sequence[int] | None = None,
    finished: str = "length",
    reasoning: bool | None = None,
    fork: Fork | None = None,
) -> LaneRun:
    """A lane of tokens; ids are the tokens' own where not given, `reasoning` whether a reasoning was closed."""
    parts = tuple(token.part for token in tokens)
    whole = b"".join(bytes.fromhex(token.bytes) for token in tokens if token.part != "end").decode()
    fields: dict[str, Any] = dict.fromkeys(("kl_to_base", "kl_to_tuned", "repetition", "tokens_per_second"))
    answer = LaneAnswer(
        name=name, gates=[[0.0, 0.0]], text=whole, ids=tuple(ids or (token.id for token in tokens)), parts=parts,
        finished=finished, reasoning_finished=reasoning, **fields,
    )  # type: ignore[arg-type]  # fmt: skip
    return LaneRun(answer, tuple(tokens), fork)
