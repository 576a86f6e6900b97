"""A pair's layers one at a time over a left-padded text: the numerically different route, layer by layer.

What `padded_prefill` is to `prefill`, this is to `Blocks`. Knows one text; knows no divergence.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from core.pair.blocks import Blocks
from core.pair.pair import Pair
from core.pair.routes import PADDING


class PaddedBlocks(Blocks):
    """The layers of a pair over one text behind end tokens that nothing attends to.

    Args:
        pair: the models.
        ids: the text; its states stand from position `PADDING` on, see `unpadded`.
    """

    def __init__(self, pair: Pair, ids: Sequence[int]) -> None:
        from transformers.masking_utils import create_causal_mask

        super().__init__(pair, (*[pair.prompts.end_ids[0]] * PADDING, *ids))
        seen = torch.ones(1, PADDING + len(ids), dtype=torch.long, device=self._embedded.device)
        seen[:, :PADDING] = 0
        positions = (seen.cumsum(-1) - 1).clamp(min=0)
        self._mask = create_causal_mask(
            config=self._model.config,
            inputs_embeds=self._embedded,
            attention_mask=seen,
            past_key_values=None,
            position_ids=positions,
        )
        self._shared = {
            "position_ids": positions,
            "position_embeddings": self._model.rotary_emb(self._embedded, position_ids=positions),
        }

    @staticmethod
    def unpadded(states: Tensor) -> Tensor:
        """The states of the text's own positions: (rows, pos, d_model)."""
        return states[:, PADDING:]
