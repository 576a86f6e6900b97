"""Rows that read the same ids, with each layer run once for all rows whose gates agree up to it.

Base and a hybrid of upper layers are one row until the first grafted layer. Knows gates, layers and a cache; knows
nothing of prompts or answers.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from core.pair.blocks import unwalkable
from core.pair.gated_linear import bound_gates
from core.pair.gates import Gates, LayerGates
from core.pair.memory import memory_for
from core.pair.pair import Pair
from core.pair.prefixes import prefix_levels


class SharedRows:
    """Rows of gates over one text, read a piece at a time.

    Args:
        pair: the models.
        gates: one row each, without a position axis.

    Attributes:
        shares: whether some layer runs fewer rows than there are.
        rows: by layer, which of its rows each row of `gates` is.
    """

    def __init__(self, pair: Pair, gates: Gates) -> None:
        self._pair, self._levels = pair, prefix_levels(gates)
        self._gates = [
            LayerGates(gates.take(level.firsts).to(pair.device), layer) for layer, level in enumerate(self._levels)
        ]
        self.rows = [list(level.node_of) for level in self._levels]
        self.shares = any(len(level.parents) < gates.n_rows for level in self._levels)

    @torch.no_grad()
    def hidden(self, ids: Sequence[int], cache: Any) -> Tensor:
        """Reads some ids on: (rows, pos, d_model) hidden states after the final norm.

        Args:
            ids: the same for all rows.
            cache: a transformers cache, to be used with these rows alone: layers hold as many rows as they run.

        Raises:
            DeviceMemoryError: the device ran out of memory.
        """
        with memory_for(f"{len(self.rows[-1])} × {len(ids)} tokens in one forward pass"):
            states = self._hidden(ids, cache)
        return states

    def _hidden(self, ids: Sequence[int], cache: Any) -> Tensor:
        from transformers.masking_utils import create_causal_mask

        model = self._pair.model.model
        states: Tensor = model.embed_tokens(self._pair.ids([ids]))
        past = cache.get_seq_length()
        positions = torch.arange(past, past + len(ids), device=states.device).unsqueeze(0)
        shared: dict[str, Any] = {
            "attention_mask": create_causal_mask(
                config=model.config,
                inputs_embeds=states,
                attention_mask=None,
                past_key_values=cache,
                position_ids=positions,
            ),
            "position_ids": positions,
            "position_embeddings": model.rotary_emb(states, position_ids=positions),
            "past_key_values": cache,
            "use_cache": True,
        }
        self._pair.count_forward()
        for layer, level, gates in zip(model.layers, self._levels, self._gates, strict=True):
            if level.parents != tuple(range(len(states))):
                states = states[list(level.parents)]
            with bound_gates(gates):
                states = layer(states, **shared)
        found: Tensor = model.norm(states)[self.rows[-1]]
        return found


def sharing(pair: Pair, gates: Gates, n_positions: int) -> SharedRows | None:
    """Rows that share layers; None where they do not, or where this model's layers cannot be run one at a time."""
    if gates.n_rows == 1 or unwalkable(pair, n_positions):
        return None
    rows = SharedRows(pair, gates)
    return rows if rows.shares else None
