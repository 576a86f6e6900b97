"""Each answer under each model: how likely every model finds what the others wrote.

An answer a model wrote itself is mostly likelier under it than under the others; by how much says how far apart they
write. Knows pairs, gates and texts; knows nothing of how the texts came about.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from core.errors import PromptError, TooLongError
from core.measure.reference import log_likelihoods
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.parts import MASKS, Mask
from core.pair.prompts import Prompt
from core.pair.routes import padded_prefill, prefill


@dataclass(frozen=True)
class CrossScore:
    """One answer under one model.

    Attributes:
        model: whose probabilities.
        nats: mean −log p a token; null where the mask holds no token of the answer.
        noise: by how much that changes by another numerical route; null with it.
    """

    model: str
    nats: float | None
    noise: float | None


@dataclass(frozen=True)
class CrossRow:
    """One answer under every model.

    Attributes:
        answer: whose text.
        n: how many of its tokens the mask holds.
        models: its likelihood under each.
    """

    answer: str
    n: int
    models: tuple[CrossScore, ...]


@dataclass(frozen=True)
class CrossScores:
    """Several answers to one question, each under every model.

    Attributes:
        mask: which of an answer's tokens count.
        answers: one row an answer, in the order given.
    """

    mask: Mask
    answers: tuple[CrossRow, ...]


def cross_scores(
    pair: Pair,
    prompt: Prompt,
    texts: Mapping[str, Sequence[int]],
    models: Mapping[str, Gates],
    mask: Mask = "response",
    progress: Callable[[float], None] | None = None,
) -> CrossScores:
    """Scores every answer under every model; two forward passes for each answer, all models in one batch.

    Args:
        pair: the models.
        prompt: the question all of them answered.
        texts: name → an answer's tokens; it may be empty.
        models: name → gates, one row each.
        mask: which of an answer's own tokens count; those of the prompt never do.
        progress: told the share done, 0..1; may raise to stop.

    Raises:
        TooLongError: prompt and an answer together exceed the context.
        PromptError: there is no such mask.
    """
    if mask not in MASKS:
        raise PromptError(f"There is no mask {mask!r}.", f"Use one of {', '.join(MASKS)}.")
    longest = len(prompt.ids) + max((len(ids) for ids in texts.values()), default=0)
    if longest > pair.max_positions:
        raise TooLongError(
            f"Prompt and answer have {longest:,} tokens; the context holds {pair.max_positions:,}.", "Shorten them."
        )
    rows: list[CrossRow] = []
    for name, ids in texts.items():
        done = partial(_share, progress, len(rows), len(texts))
        rows.append(_cross_row(pair, prompt, name, ids, models, mask, done))
        done(1.0)
    return CrossScores(mask, tuple(rows))


def _share(progress: Callable[[float], None] | None, n: int, of: int, of_this: float) -> None:
    if progress:
        progress((n + of_this) / of)


@torch.no_grad()
def _cross_row(
    pair: Pair,
    prompt: Prompt,
    name: str,
    ids: Sequence[int],
    models: Mapping[str, Gates],
    mask: Mask,
    done: Callable[[float], None],
) -> CrossRow:
    parts = pair.prompts.answer_parts(ids, prompt).parts
    masked = [index for index, part in enumerate(parts) if part in MASKS[mask]]
    if not masked:
        return CrossRow(name, 0, tuple(CrossScore(model, None, None) for model in models))
    gates = Gates.stack(list(models.values()))
    first = -log_likelihoods(pair, prompt, ids, gates, prefill)[:, masked].mean(dim=1)
    done(0.5)
    second = -log_likelihoods(pair, prompt, ids, gates, padded_prefill)[:, masked].mean(dim=1)
    scores = zip(models, first.tolist(), second.tolist(), strict=True)
    return CrossRow(name, len(masked), tuple(CrossScore(model, a, abs(a - b)) for model, a, b in scores))
