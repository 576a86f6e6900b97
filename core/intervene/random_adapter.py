"""Random adapters: pairs whose fine-tune has the same strength in every module and points anywhere.

Each module keeps the singular values of its change and gets random singular vectors: what a perturbation of that size
does at that depth, whatever was learned. Knows gated layers and their factors; runs no model.
"""

import copy

import torch
from torch import Tensor

from core.errors import AdapterError
from core.measure.weights import singular_values
from core.pair.gated_linear import GatedLinear, LowRankChange
from core.pair.pair import Pair
from core.pair.twin import with_gated_replaced


def random_adapter(pair: Pair, seed: int) -> Pair:
    """A pair with the same base weights, in the same memory, and a random adapter in place of the fine-tune.

    The pair given is not changed, and both can run at the same time: only the gated layers and the modules that hold
    them are new. A changed bias keeps its length and gets a random direction. `adapter` of the new pair is still the
    report on the original.

    Args:
        pair: the models.
        seed: of the vectors; the same seed gives the same adapter on any device.

    Raises:
        AdapterError: a module's change is not low-rank, or there is none.
    """
    generator = torch.Generator().manual_seed(seed)
    model = with_gated_replaced(pair.model, lambda gated: _rotated(gated, generator))
    if model is pair.model:
        raise AdapterError("The pair has no gated layer.", "Random adapters need an adapter to take the strength from.")
    twin = copy.copy(pair)
    twin.model = model
    return twin


def random_frame(size: int, rank: int, generator: torch.Generator) -> Tensor:
    """`rank` orthonormal columns in `size` dimensions, uniform among all such frames; (size, rank) float32.

    Source: Mezzadri 2007: the Q of a Gaussian matrix, with the signs of R's diagonal taken out.
    """
    q, r = torch.linalg.qr(torch.randn(size, rank, generator=generator))
    frame: Tensor = q * torch.where(r.diagonal() < 0, -1.0, 1.0)
    return frame


def _rotated(gated: GatedLinear, generator: torch.Generator) -> GatedLinear:
    """The same base layer with a random change of the same singular values."""
    values = singular_values(gated.down, gated.up, gated.scaling).float()
    up = random_frame(gated.out_features, len(values), generator) * values
    down = random_frame(gated.in_features, len(values), generator).T.contiguous()
    bias = gated.change_bias
    if bias is not None:
        direction = random_frame(len(bias), 1, generator)[:, 0].to(bias.device)
        bias = direction * bias.norm()
    change = LowRankChange(down.to(gated.down.device), up.to(gated.up.device), 1.0, bias)
    twin = GatedLinear(gated.base, change, gated.layer, gated.projection)
    twin.training = gated.training  # not .train(), which would reach into the shared base layer
    return twin
