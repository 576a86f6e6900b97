"""Which layers a change hangs on, at once: the gradient of a figure with respect to the gates.

One forward and one backward pass rank all layers and projections. Knows gates and one position; grafts nothing.

Source: attribution patching (Nanda 2023), with gates in place of activations; first order in the gate at 0, so it says
nothing about what happens when a layer is left out of the full fine-tune.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.pair.gates import PARTS, PROJECTIONS, Gates
from core.pair.pair import Pair


@dataclass(frozen=True, eq=False)
class Attribution:
    """First-order effect of opening each gate.

    Attributes:
        by_projection: (n_layers, 7) float64: change of the figure per unit of gate, at gates 0.
    """

    by_projection: Tensor

    def by_part(self) -> Tensor:
        """(n_layers, 2): attn and mlp."""
        columns = [[PROJECTIONS.index(name) for name in PARTS[part]] for part in ("attn", "mlp")]
        return torch.stack([self.by_projection[:, own].sum(-1) for own in columns], dim=-1)


def attribute_contrast(pair: Pair, ids: Sequence[int], predicted: int, gained: int, lost: int) -> Attribution:
    """Gradient of the logit difference of two tokens at one position.

    Args:
        pair: the models.
        ids: the text.
        predicted: index of the token whose prediction is asked about; at least 1.
        gained, lost: the two tokens; what is attributed is logit(gained) − logit(lost).
    """
    values = torch.zeros(1, pair.n_layers, len(PROJECTIONS), device=pair.device, requires_grad=True)
    with torch.enable_grad():
        states = pair.hidden(pair.ids([ids[:predicted]]), Gates(values))[0, -1]
        logits = pair.unembed(states)
        difference = logits[gained] - logits[lost]
    (gradient,) = torch.autograd.grad(difference, values)
    return Attribution(gradient[0].double().cpu())
