"""The same numbers by numerically different routes.

A float model run as one prefill, as a left-padded row of a larger batch and token by token never agrees exactly;
how much it differs is the noise every figure is held against. Knows forward passes; knows no divergence.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.patches import RowPatch

PADDING = 7


@torch.no_grad()
def prefill(pair: Pair, ids: Sequence[int], gates: Gates, patches: Sequence[RowPatch] = ()) -> Tensor:
    """Hidden states of one text under each row of gates: (rows, pos, d_model). Equal rows are computed once."""
    if patches:
        return pair.hidden(pair.ids([ids] * gates.n_rows), gates, patches=patches)
    distinct, which = gates.distinct()
    states = pair.hidden(pair.ids([ids] * len(distinct)), gates.take(distinct))
    return states if len(distinct) == gates.n_rows else states[which]


@torch.no_grad()
def padded_prefill(pair: Pair, ids: Sequence[int], gates: Gates, patches: Sequence[RowPatch] = ()) -> Tensor:
    """As `prefill`, but left-padded and in a batch with one row more."""
    pad = pair.prompts.end_ids[0]
    rows = gates.n_rows + 1
    input_ids = pair.ids([[pad] * PADDING + list(ids)] * rows)
    mask = torch.ones_like(input_ids)
    mask[:, :PADDING] = 0
    batch = Gates.stack([gates, Gates.uniform(pair.n_layers, 0.0)])
    return pair.hidden(input_ids, batch, attention_mask=mask, patches=patches)[:-1, PADDING:]


@torch.no_grad()
def token_by_token(pair: Pair, ids: Sequence[int], gates: Gates) -> Tensor:
    """As `prefill`, but one position at a time through a cache."""
    from transformers import DynamicCache

    cache: Any = DynamicCache()
    states = [pair.hidden(pair.ids([[i]] * gates.n_rows), gates, cache=cache) for i in ids]
    return torch.cat(states, dim=1)


ROUTES = {"prefill": prefill, "left-padded": padded_prefill, "token by token": token_by_token}
