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
        self._pair = pair
        self.rows: list[list[int]] = []
        self._parents: list[list[int]] = []
        self._gates: list[LayerGates] = []
        node_of = [0] * gates.n_rows
        for layer in range(pair.n_layers):
            numbers: dict[tuple[int, bytes], int] = {}
            examples: list[int] = []  # a row that goes through each node
            parents: list[int] = []
            for row, parent in enumerate(node_of):
                key = (parent, gates.values[row, layer].cpu().numpy().tobytes())
                if key not in numbers:
                    numbers[key] = len(examples)
                    examples.append(row)
                    parents.append(parent)
                node_of[row] = numbers[key]
            self.rows.append(list(node_of))
            self._parents.append(parents)
            self._gates.append(LayerGates(gates.take(examples).to(pair.device), layer))
        self.shares = any(len(parents) < gates.n_rows for parents in self._parents)

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
        for layer, parents, gates in zip(model.layers, self._parents, self._gates, strict=True):
            if parents != list(range(len(states))):
                states = states[parents]
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
