"""How alike two sets of states are whatever their rotation: linear CKA, from products gathered text by text.

Knows states of two models on the same tokens; keeps none of them, so memory does not grow with the corpus.
"""

import torch
from torch import Tensor

from core.errors import ShapeError


class CrossProducts:
    """Centred products of two models' states, summed over texts; (d, d) numbers thrice, whatever the number of tokens.

    Args:
        d_model: width of the states of the first model.
        d_other: of the second; the same where not given.
        device: where to sum.
    """

    def __init__(self, d_model: int, d_other: int | None = None, device: str = "cpu") -> None:
        d_other = d_other or d_model
        self.n = 0
        self._means = [torch.zeros(d, dtype=torch.float64, device=device) for d in (d_model, d_other)]
        self._own = [torch.zeros(d, d, dtype=torch.float64, device=device) for d in (d_model, d_other)]
        self._across = torch.zeros(d_model, d_other, dtype=torch.float64, device=device)

    def add_(self, states: Tensor, others: Tensor) -> None:
        """Takes the states of one text in.

        Args:
            states, others: (tokens, d) of the two models, the same tokens in the same order; leave position 0 out,
                whose huge states would be all that counts.

        Raises:
            ShapeError: the numbers of tokens differ.

        Source: Chan, Golub & LeVeque 1979, eq. 2.1: sums about the mean, so large means cost no digits.
        """
        if states.shape[0] != others.shape[0]:
            raise ShapeError(f"There are {states.shape[0]} and {others.shape[0]} states.", "They must pair up.")
        if not states.shape[0]:
            return
        both, new = (states.double(), others.double()), states.shape[0]
        means = [x.mean(dim=0) for x in both]
        x, y = (values - mean for values, mean in zip(both, means, strict=True))
        dx, dy = (mean - before for mean, before in zip(means, self._means, strict=True))
        weight, total = self.n * new / (self.n + new), self.n + new
        self._own[0] += x.T @ x + weight * torch.outer(dx, dx)
        self._own[1] += y.T @ y + weight * torch.outer(dy, dy)
        self._across += x.T @ y + weight * torch.outer(dx, dy)
        self._means[0] += dx * (new / total)
        self._means[1] += dy * (new / total)
        self.n = total

    def cka(self) -> float | None:
        """Linear CKA, 0..1: 1 where one set of states is the other up to rotation, size and shift.

        With few tokens against d_model it lies near 1 whatever the states: compare values of equally many tokens.

        Returns:
            None under two tokens, or where states do not vary.

        Source: Kornblith et al. 2019, eq. 5 in feature space: ‖XᵀY‖² / (‖XᵀX‖ ‖YᵀY‖), Frobenius norms.
        """
        size = float(torch.linalg.matrix_norm(self._own[0]) * torch.linalg.matrix_norm(self._own[1]))
        return float(self._across.square().sum()) / size if self.n > 1 and size > 0 else None
