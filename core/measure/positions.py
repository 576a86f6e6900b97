"""Base against tuned at each position of a text, in bounded memory.

Takes hidden states and gives numbers per position; the logits never leave. Knows the unembedding and the
divergences; knows nothing of words, parts or summaries.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from core.errors import ShapeError
from core.measure.divergence import (
    entropy_from_log,
    js_distance,
    js_from_log,
    kl_from_log,
    log_softmax,
    rank_of,
    tv_from_log,
)
from core.pair.unembed import Unembedding

TOP = 10
# Float64 log-probabilities, probabilities and temporaries of both models, per vocabulary entry.
_BYTES_PER_ENTRY = 160


@dataclass(frozen=True, eq=False)
class PositionScores:
    """Numbers of n positions, on the CPU.

    Attributes:
        values: metric name → (n,) float64; besides the table of metrics, `logp_base`, `logp_tuned`, `rank_base`,
            `rank_tuned` (1 = first) and `end_base`, `end_tuned` (probability of ending the turn).
        top_ids: model ("base", "tuned") → (n, 10) int64, best first.
        top_logp: model → (n, 10) float64.
    """

    values: dict[str, Tensor]
    top_ids: dict[str, Tensor]
    top_logp: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.values["kl_tuned_base"])


def score_positions(
    unembed: Unembedding, hidden_base: Tensor, hidden_tuned: Tensor, ids: Tensor, end_ids: tuple[int, ...]
) -> PositionScores:
    """Compares the two next-token distributions at each position, over the whole vocabulary.

    Args:
        unembed: the pair's unembedding.
        hidden_base, hidden_tuned: (n, d_model) hidden states that predict the tokens `ids`.
        ids: (n,) the tokens that were written.
        end_ids: the ids that end a turn.

    Raises:
        ShapeError: the shapes disagree.
    """
    if hidden_base.shape != hidden_tuned.shape or len(ids) != len(hidden_base):
        raise ShapeError(
            f"Hidden states {tuple(hidden_base.shape)} and {tuple(hidden_tuned.shape)}, ids {tuple(ids.shape)}.",
            "All three must have as many positions.",
        )
    step = unembed.positions_at_once(_BYTES_PER_ENTRY)
    chunks = [
        score_log_probs(
            log_softmax(unembed(hidden_base[a : a + step])),
            log_softmax(unembed(hidden_tuned[a : a + step])),
            ids[a : a + step],
            end_ids,
        )
        for a in range(0, len(ids), step)
    ]
    return concatenate(chunks)


def score_log_probs(log_b: Tensor, log_t: Tensor, ids: Tensor, end_ids: tuple[int, ...]) -> PositionScores:
    """The same from log-probabilities of base and tuned, (n, d_vocab) float64; few positions at a time."""
    own = ids.unsqueeze(-1)
    logp_b, logp_t = log_b.gather(-1, own).squeeze(-1), log_t.gather(-1, own).squeeze(-1)
    js = js_from_log(log_t, log_b)
    p_b, p_t = log_b.exp(), log_t.exp()
    values = {
        "kl_tuned_base": kl_from_log(log_t, log_b),
        "kl_base_tuned": kl_from_log(log_b, log_t),
        "js": js,
        "js_distance": js_distance(js),
        "tv": tv_from_log(log_t, log_b),
        "entropy_base": entropy_from_log(log_b),
        "entropy_tuned": entropy_from_log(log_t),
        "logp_base": logp_b,
        "logp_tuned": logp_t,
        "delta_logp": logp_t - logp_b,
        "rank_base": rank_of(log_b, ids).double(),
        "rank_tuned": rank_of(log_t, ids).double(),
        "end_base": p_b[:, list(end_ids)].sum(dim=-1),
        "end_tuned": p_t[:, list(end_ids)].sum(dim=-1),
    }
    n_top = min(TOP, log_b.shape[-1])
    top = {"base": log_b.topk(n_top), "tuned": log_t.topk(n_top)}
    top_ids, top_logp = ({name: found[part] for name, found in top.items()} for part in (1, 0))  # indices, values
    return PositionScores(
        {name: value.cpu() for name, value in values.items()},
        {name: value.cpu() for name, value in top_ids.items()},
        {name: value.cpu() for name, value in top_logp.items()},
    )


def concatenate(chunks: list[PositionScores]) -> PositionScores:
    """The positions of several chunks after each other."""
    first = chunks[0]
    return PositionScores(
        {name: torch.cat([c.values[name] for c in chunks]) for name in first.values},
        {name: torch.cat([c.top_ids[name] for c in chunks]) for name in first.top_ids},
        {name: torch.cat([c.top_logp[name] for c in chunks]) for name in first.top_logp},
    )
