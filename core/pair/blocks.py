"""A pair's layers one at a time, for whoever walks through them.

The same computation as `Pair.hidden` without a cache, cut at the layer boundaries. Knows one text and its positions;
decides nothing about what runs where.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import ArgumentError
from core.pair.gated_linear import GatedLinear, bound_gates
from core.pair.gates import Gates, LayerGates
from core.pair.memory import memory_for
from core.pair.pair import Pair
from core.pair.twin import with_replaced


def unwalkable(pair: Pair, n_tokens: int) -> str | None:
    """Why the layers of this model cannot be run one at a time over so long a text; None where they can."""
    model = getattr(pair.model, "model", None)
    missing = [name for name in ("embed_tokens", "rotary_emb", "layers", "norm") if not hasattr(model, name)]
    if missing:
        return f"it has no {', '.join(missing)}"
    config = pair.model.config
    window = getattr(config, "sliding_window", None)
    slides = any(kind != "full_attention" for kind in getattr(config, "layer_types", None) or ())
    if slides or (window is not None and not getattr(config, "layer_types", None)):
        if window is None:
            return "its layers attend in different ways"
        if n_tokens > window:
            return f"its layers look back {window:,} tokens only, and the text has {n_tokens:,}"
    return None


class Blocks:
    """The layers of a pair over one unpadded text.

    Args:
        pair: the models.
        ids: the text.

    Attributes:
        n_rows_run: how many (row, layer) computations were made.

    Raises:
        ArgumentError: the layers of this architecture cannot be run one at a time.
    """

    def __init__(self, pair: Pair, ids: Sequence[int]) -> None:
        from transformers.masking_utils import create_causal_mask

        reason = unwalkable(pair, len(ids))
        if reason:
            raise ArgumentError(
                f"The layers of this model cannot be run one at a time: {reason}.",
                "Sweeps and searches still work; for what looks inside the layers, shorten the text or use another "
                "model.",
            )
        self._pair, self._model = pair, pair.model.model
        self._past: Any = None
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
        with self._running(number, states, gates):
            after: Tensor = self._model.layers[number](
                states, attention_mask=self._mask, past_key_values=self._past, use_cache=False, **self._shared
            )
        return after

    def plain(
        self,
        number: int,
        states: Tensor,
        replaced: Callable[[Any], nn.Module],
        kinds: tuple[type[nn.Module], ...] = (GatedLinear,),
    ) -> Tensor:
        """What layer `number` makes of states when something else stands in place of its gated layers.

        No gates are bound here. With other `kinds`, the modules of those kinds are replaced.
        """
        block = with_replaced(self._model.layers[number], replaced, kinds)
        after: Tensor = block(states, attention_mask=self._mask, past_key_values=None, use_cache=False, **self._shared)
        return after

    def attention(self, number: int, states: Tensor, gates: Gates, cache: Any = None) -> Tensor:
        """What the attention of layer `number` adds to (rows, pos, d_model), its `attn_out`.

        Args:
            number: of the layer.
            states: what enters it, its `resid_pre`.
            gates: one row each.
            cache: a transformers cache that keeps the layer's keys and values; None keeps none.
        """
        block = self._model.layers[number]
        with self._running(number, states, gates):
            added: Tensor = block.self_attn(
                hidden_states=block.input_layernorm(states),
                attention_mask=self._mask,
                past_key_values=self._past if cache is None else cache,
                use_cache=cache is not None,
                **self._shared,
            )[0]
        return added

    def mlp(self, number: int, states: Tensor, gates: Gates) -> Tensor:
        """What the MLP of layer `number` adds to its `resid_mid`, (rows, pos, d_model): its `mlp_out`."""
        block = self._model.layers[number]
        with self._running(number, states, gates):
            added: Tensor = block.mlp(block.post_attention_layernorm(states))
        return added

    def suffix(self, start: int, keys: Sequence[Tensor], values: Sequence[Tensor]) -> "Blocks":
        """The same layers over the text from `start` on only.

        Args:
            start: index of the first position that is run.
            keys, values: of each layer over the whole text, (1, heads, pos, d_head); what lies before `start` is read
                by every row.
        """
        end = self._embedded.shape[1]
        part = copy(self)
        part._embedded = self._embedded[:, start:]
        part._past = _Past([k[:, :, :start] for k in keys], [v[:, :, :start] for v in values])
        part._shared = {
            "position_ids": self._shared["position_ids"][:, start:],
            "position_embeddings": tuple(table[:, start:] for table in self._shared["position_embeddings"]),
        }
        unseen = torch.full((end - start, end), float("-inf"), dtype=self._embedded.dtype, device=self._embedded.device)
        # One position sees everything before it: without a mask attention need not repeat keys for every head.
        part._mask = unseen.triu(start + 1)[None, None] if end - start > 1 else None
        part.n_rows_run = 0
        return part

    def finish(self, states: Tensor) -> Tensor:
        """The final norm; what `unembed` turns into logits."""
        normed: Tensor = self._model.norm(states)
        return normed

    @contextmanager
    def _running(self, number: int, states: Tensor, gates: Gates) -> Iterator[None]:
        what = f"{len(states)} × {states.shape[1]} tokens in layer {number}"
        with memory_for(what, "Shorten the text."), bound_gates(LayerGates(gates.to(self._pair.device), number)):
            yield


class _Past:
    """Keys and values before the positions that run, in the form in which attention asks for them."""

    def __init__(self, keys: Sequence[Tensor], values: Sequence[Tensor]) -> None:
        self._keys, self._values = keys, values

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any) -> tuple[Tensor, Tensor]:
        """What is before and what is new, for every row; keeps nothing."""
        rows = len(keys)
        before = (self._keys[layer].expand(rows, -1, -1, -1), self._values[layer].expand(rows, -1, -1, -1))
        return torch.cat([before[0], keys], dim=2), torch.cat([before[1], values], dim=2)
