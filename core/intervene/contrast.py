"""Recipient and donor at some positions of a text, and any hybrid or patched row held against them.

Rows come by the dozen and share what is prepared once for all: the donor's distributions. Knows hidden states of rows
and the two models they lie between; knows nothing of what was grafted or patched.

Source: recovery as a ratio of mean divergences, 1 − K(S)/K(∅); logit difference as in Zhang & Nanda 2023.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.measure.against import kl_to_rows_
from core.measure.noise import noise_of
from core.pair.pair import Pair

UNDEFINED_UNDER = 5.0
"""Recovery is undefined where the change itself is under so many noise floors."""
_BYTES_PER_ENTRY = 12
_BYTES_PER_ENTRY_CONTRAST = 64


@dataclass(frozen=True)
class Effect:
    """One row held against recipient and donor.

    Attributes:
        k: mean KL(donor‖row) over the predictions, nats.
        kl: KL(donor‖row) at each prediction the row has of its own, nats.
        kl_recovery: 1 − k/K(∅), or None.
        logit_difference_recovery: of the contrasted tokens, or None.
        logp: mean log-probability of the written tokens, nats; None where they were not given.
        logp_recovery: how much of the change of `logp` from recipient to donor comes back; None where that change is
            under five times its noise.
    """

    k: float
    kl: tuple[float, ...]
    kl_recovery: float | None
    logit_difference_recovery: float | None
    logp: float | None
    logp_recovery: float | None


@dataclass(frozen=True, eq=False)
class _Figures:
    """Of rows at some predictions, (predictions, rows).

    Attributes:
        kl: KL(donor‖row).
        difference: of the contrasted logits.
        logp: log-probability of the written token; 0 where those are not known.
    """

    kl: Tensor
    difference: Tensor
    logp: Tensor


class Contrast:
    """Two models at some positions, and the measure of everything between them.

    Args:
        pair: for the unembedding and the noise floor.
        recipient, donor: (positions, d_model) hidden states.
        again: the same two by another numerical route, (2, positions, d_model).
        written: ids of the tokens that stand after these positions; None where their likelihood is not wanted.

    Attributes:
        kl_base: KL(donor‖recipient) at each position, (positions,) float64 on the CPU.
        k_base, k_noise: its mean, and by how much that changes by the other route.
        defined: whether there is a difference to recover.
    """

    def __init__(
        self, pair: Pair, recipient: Tensor, donor: Tensor, again: Tensor, written: Sequence[int] | None = None
    ) -> None:
        self._pair, self._donor = pair, donor
        self._written = None if written is None else torch.tensor(list(written), device=donor.device)
        self._words = self._contrasted(recipient)
        ends = self._figures(torch.stack([recipient, donor]), 0, donor)
        others = self._figures(again, 0, again[1])
        self.kl_base = ends.kl[:, 0]
        self.k_base = float(self.kl_base.mean())
        self.k_noise = abs(self.k_base - float(others.kl[:, 0].mean()))
        self.defined = self.k_base >= UNDEFINED_UNDER * noise_of(pair).kl
        noise = (ends.difference - others.difference).abs().amax(dim=1)
        self._ld_recipient, self._ld_donor = ends.difference.unbind(dim=1)
        self._counts = (self._ld_donor - self._ld_recipient).abs() > UNDEFINED_UNDER * noise
        means, again_means = ends.logp.mean(dim=0), others.logp.mean(dim=0)
        self._logp_recipient, self._logp_donor = means.tolist()
        moved = abs(self._logp_donor - self._logp_recipient)
        self._logp_moves = moved > UNDEFINED_UNDER * float((means - again_means).abs().max())

    @property
    def contrasted_ids(self) -> tuple[int, int] | None:
        """The gained and the lost token where there is one prediction; None where each has its own."""
        if len(self._words) != 1:
            return None
        gained, lost = self._words[0].tolist()
        return gained, lost

    def of_rows(self, states: Tensor, first: int = 0) -> list[Effect]:
        """Effects of rows.

        Args:
            states: (rows, predictions − first, d_model) after the final norm.
            first: how many predictions lie before the rows part from the recipient; they count as the recipient's.
        """
        at_once = self._pair.unembed.positions_at_once(_BYTES_PER_ENTRY)
        return [effect for rows in torch.split(states, at_once) for effect in self._effects(rows, first)]

    def noise(self, k: float) -> float | None:
        """By how much a recovery moves with the noise of k and K(∅); None where there is none."""
        return self.k_noise * (1 + abs(k) / self.k_base) / self.k_base if self.defined else None

    def _effects(self, states: Tensor, first: int) -> list[Effect]:
        found = self._figures(states, first, self._donor)
        k = ((self.kl_base[:first].sum() + found.kl.sum(dim=0)) / len(self.kl_base)).tolist()
        moved = found.difference - self._ld_recipient[first:].unsqueeze(1)
        differences = self._recovered(moved, first)
        whole = self._written is not None and not first
        written = found.logp.mean(dim=0).tolist() if whole else [None] * len(states)
        return [
            Effect(
                k=k[row],
                kl=tuple(found.kl[:, row].tolist()),
                kl_recovery=1 - k[row] / self.k_base if self.defined else None,
                logit_difference_recovery=differences[row],
                logp=written[row],
                logp_recovery=self._logp_recovery(written[row]),
            )
            for row in range(len(states))
        ]

    def _figures(self, states: Tensor, first: int, donor: Tensor) -> _Figures:
        """Figures of (rows, predictions − first, d_model)."""
        n_rows, n_own, _ = states.shape
        step = max(1, self._pair.unembed.positions_at_once(_BYTES_PER_ENTRY) // n_rows)
        pieces = [
            self._piece(states[:, start : start + step], slice(first + start, first + min(start + step, n_own)), donor)
            for start in range(0, n_own, step)
        ]
        return _Figures(*(torch.cat(parts) for parts in zip(*pieces, strict=True)))

    def _piece(self, states: Tensor, here: slice, donor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        unembed = self._pair.unembed
        logits = unembed(states.transpose(0, 1).contiguous())  # by position, else one slow product each
        rows = logits.shape[1]
        pairs = logits.gather(-1, self._words[here].unsqueeze(1).expand(-1, rows, -1)).double().cpu()
        logp = torch.zeros(logits.shape[:2], dtype=torch.float64)
        if self._written is not None:
            of_written = logits.gather(-1, self._written[here, None, None].expand(-1, rows, -1))[..., 0]
            logp = (of_written - torch.logsumexp(logits, dim=-1)).double().cpu()
        return kl_to_rows_(unembed(donor[here]), logits).cpu(), pairs[..., 0] - pairs[..., 1], logp

    def _contrasted(self, recipient: Tensor) -> Tensor:
        """Per position the token with the largest gained and the one with the largest lost term, (positions, 2)."""
        found = []
        step = self._pair.unembed.positions_at_once(_BYTES_PER_ENTRY_CONTRAST)
        for start in range(0, len(recipient), step):
            here = slice(start, start + step)
            donor, own = (torch.log_softmax(self._pair.unembed(s[here]).double(), -1) for s in (self._donor, recipient))
            terms = donor.exp() * (donor - own)
            found.append(torch.stack([terms.argmax(-1), terms.argmin(-1)], dim=-1))
        return torch.cat(found)

    def _recovered(self, moved: Tensor, first: int) -> list[float | None]:
        if not bool(self._counts.any()):
            return [None] * moved.shape[1]
        whole = (self._ld_donor - self._ld_recipient)[self._counts].sum()
        shares: list[float | None] = (moved[self._counts[first:]].sum(0) / whole).tolist()
        return shares

    def _logp_recovery(self, logp: float | None) -> float | None:
        if logp is None or not self._logp_moves:
            return None
        return float((logp - self._logp_recipient) / (self._logp_donor - self._logp_recipient))
