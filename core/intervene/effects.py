"""What many patched rows do to predictions, at little more than the price of their unembedding.

Knows hidden states of rows and the two models they lie between; knows nothing of what was patched.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from core.intervene.recovery import Contrast
from core.measure.against import kl_to_rows_

_BYTES_PER_ENTRY = 8


@dataclass(frozen=True)
class Effect:
    """One row held against recipient and donor.

    Attributes:
        k: mean KL(donor‖row) over the predictions, nats.
        kl_recovery: 1 − k/K(∅), or None.
        logit_difference_recovery: of the contrasted tokens, or None.
    """

    k: float
    kl_recovery: float | None
    logit_difference_recovery: float | None


class Effects(Contrast):
    """A `Contrast` for rows by the hundred that share the recipient's first predictions.

    Args:
        pair, recipient, donor, again: as for `Contrast`.
    """

    @property
    def contrasted_ids(self) -> tuple[int, int] | None:
        """The gained and the lost token where there is one prediction; None where each has its own."""
        if len(self._words) != 1:
            return None
        gained, lost = self._words[0].tolist()
        return gained, lost

    def of_rows(self, states: Tensor, first: int) -> list[Effect]:
        """Effects of rows.

        Args:
            states: (rows, predictions − first, d_model) after the final norm.
            first: how many predictions lie before the rows part from the recipient; they count as the recipient's.
        """
        n_rows, n_own, _ = states.shape
        kl = torch.empty(n_own, n_rows, dtype=torch.float64)
        moved = torch.empty(n_own, n_rows, dtype=torch.float64)
        step = max(1, self._pair.unembed.positions_at_once(_BYTES_PER_ENTRY) // n_rows)
        for start in range(0, n_own, step):
            own = slice(start, start + step)
            kl[own], difference = self._figures(states[:, own], slice(first + start, first + start + step))
            moved[own] = difference
        k = (self.kl_base[:first].sum() + kl.sum(0)) / len(self.kl_base)
        recovery = self._recovered(moved, first)
        return [
            Effect(float(k[row]), 1 - float(k[row]) / self.k_base if self.defined else None, recovery[row])
            for row in range(n_rows)
        ]

    def _figures(self, states: Tensor, here: slice) -> tuple[Tensor, Tensor]:
        """(predictions, rows) KL and change of the logit difference of some predictions."""
        unembed, words = self._pair.unembed, self._words[here]
        by_position = states.transpose(0, 1).contiguous()  # else one slow product a position
        logits = unembed(by_position)
        pairs = logits.gather(-1, words.unsqueeze(1).expand(-1, logits.shape[1], -1)).double().cpu()
        difference = pairs[..., 0] - pairs[..., 1] - self._ld_recipient[here].unsqueeze(1)
        return kl_to_rows_(unembed(self._donor[here]), logits).cpu(), difference

    def _recovered(self, moved: Tensor, first: int) -> list[float | None]:
        if not bool(self._counts.any()):
            return [None] * moved.shape[1]
        whole = (self._ld_donor - self._ld_recipient)[self._counts].sum()
        shares: list[float | None] = (moved[self._counts[first:]].sum(0) / whole).tolist()
        return shares
