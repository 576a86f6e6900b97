"""How alike two sets of states are whatever rotates or scales them: linear CKA, from sums that any stream can fill.

Only sums over observations are kept, so memory depends on the width of the states and not on how many there were.
Knows pairs of states; knows no model.

Source: Kornblith et al. 2019, eq. 5 of their section 3; without bias as in Song et al. 2012, eq. 5.
"""

import torch
from torch import Tensor

from core.errors import ShapeError


class CrossProducts:
    """Sums over pairs of states (x, y).

    Args:
        width_x, width_y: of the states.

    Attributes:
        n: how many pairs.
    """

    def __init__(self, width_x: int, width_y: int) -> None:
        self.n = 0
        self._widths = (width_x, width_y)
        self._sums = [torch.zeros(width, dtype=torch.float64) for width in self._widths]
        self._squares = [torch.zeros(width, width, dtype=torch.float64) for width in self._widths]
        self._cross = torch.zeros(width_x, width_y, dtype=torch.float64)
        # Of the diagonals of both Gram matrices, a = x·x and b = y·y: Σ a·a, Σ b·b, Σ a·b; and Σ of states by them.
        self._diagonal = torch.zeros(2, 2, dtype=torch.float64)
        self._weighted = [[torch.zeros(width, dtype=torch.float64) for _ in range(2)] for width in self._widths]
        self._traces = torch.zeros(2, dtype=torch.float64)
        self._origin: list[Tensor] = []

    def add(self, x: Tensor, y: Tensor) -> None:
        """Takes pairs in: (pairs, width_x) and (pairs, width_y).

        Raises:
            ShapeError: they do not fit each other or the widths.
        """
        if not len(x) and not len(y):
            return
        if len(x) != len(y) or (x.shape[1], y.shape[1]) != self._widths:
            raise ShapeError(f"States are {tuple(x.shape)} and {tuple(y.shape)}.", f"Widths must be {self._widths}.")
        both = [x.double().cpu(), y.double().cpu()]
        # Counted from the first pair: both figures are the same from any origin, and sums about one that lies far off
        # would cancel.
        self._origin = self._origin or [states[0].clone() for states in both]
        both = [states - origin for states, origin in zip(both, self._origin, strict=True)]
        norms = torch.stack([states.square().sum(dim=1) for states in both])
        self.n += len(x)
        self._cross += both[0].T @ both[1]
        self._diagonal += norms @ norms.T
        self._traces += norms.sum(dim=1)
        for side, states in enumerate(both):
            self._sums[side] += states.sum(dim=0)
            self._squares[side] += states.T @ states
            for other in range(2):
                self._weighted[side][other] += norms[other] @ states

    def cka(self) -> float | None:
        """Linear CKA of the centred states, 0..1; None below two pairs or where one side never varies.

        With fewer pairs than dimensions it lies high whatever the states are; compare equal numbers of pairs.
        """
        if self.n < 2:
            return None
        own, cross = [], self._centred(self._cross, 0, 1).square().sum()
        for side in range(2):
            own.append(self._centred(self._squares[side], side, side).square().sum())
        scale = float((own[0] * own[1]).sqrt())
        return float(cross) / scale if scale > 0 else None

    def cka_unbiased(self) -> float | None:
        """The same from unbiased estimates, about 0 for unrelated states of any number; may lie outside 0..1.

        None below four pairs or where an estimate for one side is not above 0.
        """
        if self.n < 4:
            return None
        own = self._unbiased(0, 0), self._unbiased(1, 1)
        if min(own) <= 0:
            return None
        return float(self._unbiased(0, 1) / (own[0] * own[1]) ** 0.5)

    def _centred(self, products: Tensor, a: int, b: int) -> Tensor:
        return products - torch.outer(self._sums[a], self._sums[b]) / self.n

    def _unbiased(self, a: int, b: int) -> float:
        """The unbiased estimate of HSIC of two sides; Gram matrices without their diagonals."""
        n = self.n
        products = self._cross if a != b else self._squares[a]
        trace = products.square().sum() - self._diagonal[a, b]
        totals = [self._sums[side] @ self._sums[side] - self._traces[side] for side in (a, b)]
        rows = (
            self._sums[a] @ products @ self._sums[b]
            - self._sums[a] @ self._weighted[a][b]
            - self._sums[b] @ self._weighted[b][a]
            + self._diagonal[a, b]
        )
        found = trace + totals[0] * totals[1] / ((n - 1) * (n - 2)) - 2 * rows / (n - 2)
        return float(found) / (n * (n - 3))
