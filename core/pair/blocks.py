"""A pair's layers one at a time, for whoever walks through them.

The same computation as `Pair.hidden` without a cache, cut at the layer boundaries. Knows one text and its positions;
decides nothing about what runs where.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from core.errors import DeviceMemoryError
from core.pair.gated_linear import bound_gates
from core.pair.gates import Gates, LayerGates
from core.pair.pair import Pair


class Blocks:
    """The layers of a pair over one unpadded text.

    Args:
        pair: the models.
        ids: the text.

    Attributes:
        n_rows_run: how many (row, layer) computations were made.
    """

    def __init__(self, pair: Pair, ids: Sequence[int]) -> None:
        from transformers.masking_utils import create_causal_mask

        self._pair, self._model = pair, pair.model.model
        input_ids = pair.ids([ids])
        self._embedded: Tensor = self._model.embed_tokens(input_ids)
        positions = torch.arange(len(ids), device=self._embedded.device).unsqueeze(0)
        self._mask = create_causal_mask(
            config=self._model.config,
            inputs_embeds=self._embedded,
            attention_mask=None,
            past_key_values=None,
            position_ids=positions,
        )
        self._shared: dict[str, Any] = {
            "position_ids": positions,
            "position_embeddings": self._model.rotary_emb(self._embedded, position_ids=positions),
        }
        self.n_rows_run = 0

    def start(self) -> Tensor:
        """What enters layer 0: (1, pos, d_model)."""
        return self._embedded

    def layer(self, number: int, states: Tensor, gates: Gates) -> Tensor:
        """What layer `number` makes of (rows, pos, d_model) under the gates it has in each row."""
        self.n_rows_run += len(states)
        try:
            with bound_gates(LayerGates(gates, number)):
                after: Tensor = self._model.layers[number](
                    states, attention_mask=self._mask, past_key_values=None, use_cache=False, **self._shared
                )
        except torch.OutOfMemoryError as error:
            raise DeviceMemoryError(
                f"Layer {number} over {len(states)} × {states.shape[1]} tokens does not fit on {self._pair.device}.",
                "Shorten the text.",
            ) from error
        return after

    def finish(self, states: Tensor) -> Tensor:
        """The final norm; what `unembed` turns into logits."""
        normed: Tensor = self._model.norm(states)
        return normed
