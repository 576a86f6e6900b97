"""How likely a reference answer is under several models: −log p, teacher-forced.

Knows pairs, gates and the divergences; knows nothing of who wrote the answer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.measure.diff import diff
from core.measure.divergence import log_softmax
from core.measure.tokens import TokenScore
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.prompts import Prompt
from core.pair.routes import padded_prefill, prefill


@dataclass(frozen=True)
class Likelihood:
    """One model on the reference answer.

    Attributes:
        name: whose.
        nats: mean −log p a token.
        noise: by how much that changes by another numerical route.
    """

    name: str
    nats: float
    noise: float


@dataclass(frozen=True)
class Reference:
    """A reference answer under several models.

    Attributes:
        text: as given.
        tokens: its tokens with base against tuned, as for any answer.
        models: its likelihood under each.
    """

    text: str
    tokens: tuple[TokenScore, ...]
    models: tuple[Likelihood, ...]


@torch.no_grad()
def score_reference(
    pair: Pair,
    prompt: Prompt,
    text: str,
    ids: Sequence[int],
    models: Mapping[str, Gates],
    progress: Callable[[float], None] | None = None,
) -> Reference:
    """Scores a given answer.

    Args:
        pair: the models.
        prompt: the question.
        text, ids: the answer, and its tokens without an end-of-turn token.
        models: name → gates, one row each.
        progress: told the share done, 0..1, between forward passes; may raise to stop.

    Raises:
        TooLongError: prompt and answer together exceed the context.
        PromptError: the answer is empty.
    """
    tell = progress or (lambda share: None)
    tokens = diff(pair, prompt, ids).tokens[len(prompt.ids) :]
    tell(0.4)
    gates = Gates.stack(list(models.values()))
    first = _mean_nats(pair, prompt, ids, gates, prefill)
    tell(0.7)
    second = _mean_nats(pair, prompt, ids, gates, padded_prefill)
    return Reference(
        text,
        tokens,
        tuple(
            Likelihood(name, float(a), abs(float(a) - float(b)))
            for name, a, b in zip(models, first, second, strict=True)
        ),
    )


def log_likelihoods(
    pair: Pair, prompt: Prompt, ids: Sequence[int], gates: Gates, route: Callable[..., Tensor] = prefill
) -> Tensor:
    """log p of each token of an answer under each row of gates, nats, (rows, tokens) float64 on the CPU."""
    states = route(pair, (*prompt.ids, *ids), gates)[:, len(prompt.ids) - 1 : -1]
    written = pair.ids([list(ids)])[0]
    found = torch.empty(states.shape[:2], dtype=torch.float64)
    step = pair.unembed.positions_at_once(24)
    for row in range(len(states)):
        for start in range(0, len(ids), step):
            here = slice(start, start + step)
            logp = log_softmax(pair.unembed(states[row, here]))
            found[row, here] = logp.gather(-1, written[here, None])[:, 0]
    return found


def _mean_nats(pair: Pair, prompt: Prompt, ids: Sequence[int], gates: Gates, route: Callable[..., Tensor]) -> Tensor:
    return -log_likelihoods(pair, prompt, ids, gates, route).mean(dim=1)
