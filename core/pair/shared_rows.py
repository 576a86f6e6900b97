"""Rows that read the same ids, with each layer run once for all rows whose gates agree up to it.

Base and a hybrid of upper layers are one row until the first grafted layer. Rows are run together, or some of them
before the others so that they have read everything in half the time. Knows gates, layers and a cache; knows nothing of
prompts or answers.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from core.pair.blocks import unwalkable
from core.pair.gated_linear import bound_gates
from core.pair.gates import Gates, LayerGates
from core.pair.memory import memory_for
from core.pair.pair import Pair
from core.pair.prefixes import prefix_levels

IN_TURN_FROM = 160
"""With fewer positions a CPU takes much longer for some rows before the others than for all together."""


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
        model = self._pair.model.model
        states, shared = _entered(self._pair, ids, cache)
        self._pair.count_forward()
        for layer, level, gates in zip(model.layers, self._levels, self._gates, strict=True):
            if level.parents != tuple(range(len(states))):
                states = states[list(level.parents)]
            with bound_gates(gates):
                states = layer(states, past_key_values=cache, **shared)
        found: Tensor = model.norm(states)[self.rows[-1]]
        return found


class RowsInTurn:
    """Rows of gates over a whole text, read group by group; each goes on from the layer where it parts from others.

    Args:
        pair: the models.
        gates: one row each, all different, without a position axis.
        ids: the text.
        groups: how many of the rows are read at a time.

    Attributes:
        states: of the rows read so far, the (pos, d_model) hidden states after the final norm.
        rows: by layer, which of the rows it runs each row of `gates` is.
    """

    def __init__(self, pair: Pair, gates: Gates, ids: Sequence[int], groups: Sequence[int]) -> None:
        self._pair, self._ids, self._levels = pair, tuple(ids), prefix_levels(gates)
        self._gates, self._groups = gates.to(pair.device), list(groups)
        self.states: list[Tensor] = []
        self.rows = [list(level.node_of) for level in self._levels]
        self._left: dict[tuple[int, int], Tensor] = {}
        self._caches: list[Cache] = []

    @property
    def done(self) -> bool:
        """Whether every row has been read."""
        return len(self._caches) == len(self._groups)

    @torch.no_grad()
    def read_next(self, cache: Cache) -> None:
        """Reads the next group of rows.

        Args:
            cache: an empty transformers cache, for what no group before has run.

        Raises:
            DeviceMemoryError: the device ran out of memory; the next time reads the same group.
        """
        start = len(self.states)
        rows = range(start, start + self._groups[len(self._caches)])
        with memory_for(f"{len(rows)} × {len(self._ids)} tokens in one forward pass"):
            states = self._read(rows, cache)
        self._caches.append(cache)
        self.states += list(states)

    def _read(self, rows: range, cache: Cache) -> Tensor:
        model = self._pair.model.model
        states, shared = _entered(self._pair, self._ids, cache)
        nodes, before = [0], {0: states[0]}  # what enters layer 0 is the one node before it
        self._pair.count_forward()
        for layer, level in enumerate(self._levels):
            new = [node for node, first in enumerate(level.firsts) if first in rows]
            if not new:
                before = {}
                continue
            parents = [level.parents[node] for node in new]
            if not before or parents != nodes:
                states = torch.stack([before[p] if p in before else self._left[layer - 1, p] for p in parents])
            with bound_gates(LayerGates(self._gates.take([level.firsts[node] for node in new]), layer)):
                states = model.layers[layer](states, past_key_values=cache, **shared)
            nodes, before = new, dict(zip(new, states, strict=True))
            self._leave(layer, before, rows.stop)
        found: Tensor = model.norm(states)
        return found

    def _leave(self, layer: int, states: dict[int, Tensor], later: int) -> None:
        """Keeps the states that rows from `later` on go on from."""
        if layer + 1 < len(self._levels):
            level = self._levels[layer + 1]
            for parent, first in zip(level.parents, level.firsts, strict=True):
                if first >= later and parent in states:
                    self._left[layer, parent] = states[parent]

    def layers(self, number: int) -> list[Any]:
        """What the caches hold of one layer, in the order of its rows."""
        held = [cache.layers[number] for cache in self._caches if number < len(cache.layers)]
        return [layer for layer in held if layer.is_initialized]


def _entered(pair: Pair, ids: Sequence[int], cache: Any) -> tuple[Tensor, dict[str, Any]]:
    """What enters layer 0, (1, pos, d_model), after what a cache holds, and what every layer is given besides."""
    from transformers.masking_utils import create_causal_mask

    model = pair.model.model
    states: Tensor = model.embed_tokens(pair.ids([ids]))
    past = cache.get_seq_length()
    positions = torch.arange(past, past + len(ids), device=states.device).unsqueeze(0)
    return states, {
        "attention_mask": create_causal_mask(
            config=model.config,
            inputs_embeds=states,
            attention_mask=None,
            past_key_values=cache,
            position_ids=positions,
        ),
        "position_ids": positions,
        "position_embeddings": model.rotary_emb(states, position_ids=positions),
        "use_cache": True,
    }


def sharing(pair: Pair, gates: Gates, n_positions: int) -> SharedRows | None:
    """Rows that share layers; None where they do not, or where this model's layers cannot be run one at a time."""
    if gates.n_rows == 1 or unwalkable(pair, n_positions):
        return None
    rows = SharedRows(pair, gates)
    return rows if rows.shares else None


def in_turn(pair: Pair, gates: Gates, ids: Sequence[int], n_first: int) -> RowsInTurn | None:
    """The first rows before the others; None where that would take much longer, or this model does not allow it."""
    if not 0 < n_first < gates.n_rows or len(ids) < IN_TURN_FROM:
        return None
    if torch.device(pair.device).type != "cpu" or unwalkable(pair, len(ids)):
        return None
    return RowsInTurn(pair, gates, ids, (n_first, gates.n_rows - n_first))
