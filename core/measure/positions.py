"""Base against tuned at each position of a text, in bounded memory.

Takes hidden states and gives numbers per position; the logits never leave. Knows the unembedding and the
divergences; knows nothing of words, parts or summaries.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from core.errors import ShapeError
from core.measure.distributions import ENTRIES_AT_ONCE, Distributions, Room, compare, kl, word_extremes
from core.measure.divergence import js_distance
from core.pair.unembed import Unembedding

TOP = 10
POSITIONS_AT_ONCE = 96
# Logits of both models, per vocabulary entry; what they are compared in is small.
_BYTES_PER_ENTRY = 16


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


@dataclass(frozen=True, eq=False)
class ExtremeTerms:
    """The word that gained most and the one that lost most at each of n positions, on the CPU.

    Attributes:
        gained_ids, lost_ids: (n) int64.
        gained, lost: (n) float64, nats: the largest and the least of the terms p_t ln(p_t/p_b), which sum to
            KL(tuned‖base).
    """

    gained_ids: Tensor
    gained: Tensor
    lost_ids: Tensor
    lost: Tensor


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
        score_logits(
            unembed(hidden_base[a : a + step]), unembed(hidden_tuned[a : a + step]), ids[a : a + step], end_ids
        )[0]
        for a in range(0, len(ids), step)
    ]
    return concatenate(chunks)


def score_logits(
    base: Tensor, tuned: Tensor, ids: Tensor, end_ids: tuple[int, ...], other: Tensor | None = None
) -> tuple[PositionScores, tuple[Tensor, Tensor] | None]:
    """The same from logits.

    Args:
        base, tuned: (n, d_vocab) float32.
        ids: (n,) the tokens that were written.
        end_ids: the ids that end a turn.
        other: logits of a third distribution, such as a hybrid's.

    Returns:
        The scores, and KL(other‖base) and KL(other‖tuned) of the third, (n) float64 each on the CPU; None without it.
    """
    room = Room()
    step = max(1, ENTRIES_AT_ONCE // base.shape[-1])
    chunks, distances = [], []
    for a in range(0, len(ids), step):
        at = slice(a, a + step)
        b, t = Distributions.of(base[at], room, "base"), Distributions.of(tuned[at], room, "tuned")
        chunks.append(_score(b, t, ids[at], end_ids, room))
        if other is not None:
            o = Distributions.of(other[at], room, "other")
            distances.append(torch.stack([kl(o, b, room), kl(o, t, room)]).cpu())
    if other is None:
        return concatenate(chunks), None
    to_base, to_tuned = torch.cat(distances, dim=1)
    return concatenate(chunks), (to_base, to_tuned)


def kl_of_states(unembed: Unembedding, hidden_p: Tensor, hidden_q: Tensor) -> Tensor:
    """KL(P‖Q) at each position, (n) float64 nats on the CPU, from (n, d_model) hidden states that predict it."""
    room = Room()
    found = []
    for a in range(0, len(hidden_p), POSITIONS_AT_ONCE):
        p, q = (unembed(hidden[a : a + POSITIONS_AT_ONCE]) for hidden in (hidden_p, hidden_q))
        step = max(1, ENTRIES_AT_ONCE // p.shape[-1])
        for one, other in zip(torch.split(p, step), torch.split(q, step), strict=True):
            found.append(kl(Distributions.of(one, room, "p"), Distributions.of(other, room, "q"), room).cpu())
    return torch.cat(found)


def extreme_terms(
    unembed: Unembedding,
    hidden_base: Tensor,
    hidden_tuned: Tensor,
    look: Callable[[Tensor, Tensor], None] | None = None,
) -> ExtremeTerms:
    """What each prediction's divergence is mostly about.

    Args:
        unembed: of the pair.
        hidden_base, hidden_tuned: (n, d_model) states of both models.
        look: shown the (positions, d_vocab) logits of both, a few consecutive positions at a time.
    """
    room, found = Room(), []
    for a in range(0, len(hidden_base), POSITIONS_AT_ONCE):
        base, tuned = (unembed(hidden[a : a + POSITIONS_AT_ONCE]) for hidden in (hidden_base, hidden_tuned))
        step = max(1, ENTRIES_AT_ONCE // base.shape[-1])
        for one, other in zip(torch.split(base, step), torch.split(tuned, step), strict=True):
            if look is not None:
                look(one, other)
            b, t = Distributions.of(one, room, "base"), Distributions.of(other, room, "tuned")
            found.append([values.cpu() for values in word_extremes(t, b, room)])
    gained, gained_ids, lost, lost_ids = (torch.cat(column) for column in zip(*found, strict=True))
    return ExtremeTerms(gained_ids, gained, lost_ids, lost)


def _score(b: Distributions, t: Distributions, ids: Tensor, end_ids: tuple[int, ...], room: Room) -> PositionScores:
    found = compare(t, b, room)
    n_top = min(TOP, b.logits.shape[-1])
    top = {"base": b.best(n_top), "tuned": t.best(n_top)}
    written, ends = ids.unsqueeze(-1), ids.new_tensor(list(end_ids)).expand(len(ids), -1)
    logp_b, logp_t = b.log_prob(written).squeeze(-1), t.log_prob(written).squeeze(-1)
    values = {
        "kl_tuned_base": found.kl_pq,
        "kl_base_tuned": found.kl_qp,
        "js": found.js,
        "js_distance": js_distance(found.js),
        "tv": found.tv,
        "entropy_base": b.entropy(room),
        "entropy_tuned": t.entropy(room),
        "logp_base": logp_b,
        "logp_tuned": logp_t,
        "delta_logp": logp_t - logp_b,
        "rank_base": b.rank_of(ids, top["base"]).double(),
        "rank_tuned": t.rank_of(ids, top["tuned"]).double(),
        "end_base": b.log_prob(ends).exp().sum(dim=-1),
        "end_tuned": t.log_prob(ends).exp().sum(dim=-1),
    }
    return PositionScores(
        {name: value.cpu() for name, value in values.items()},
        {name: ids.cpu() for name, ids in top.items()},
        {"base": b.log_prob(top["base"]).cpu(), "tuned": t.log_prob(top["tuned"]).cpu()},
    )


def concatenate(chunks: list[PositionScores]) -> PositionScores:
    """The positions of several chunks after each other."""
    first = chunks[0]
    return PositionScores(
        {name: torch.cat([c.values[name] for c in chunks]) for name in first.values},
        {name: torch.cat([c.top_ids[name] for c in chunks]) for name in first.top_ids},
        {name: torch.cat([c.top_logp[name] for c in chunks]) for name in first.top_logp},
    )
