"""Keys and values of the rows being decoded, in buffers that are not copied at every step.

transformers' own growing cache concatenates, which takes fresh memory for every token; this one doubles its
buffers now and then and hands out views. Knows tensors only.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from core.pair.memory import memory_for

_ROOM = 64


class BufferedLayer(DynamicLayer):  # type: ignore[misc]  # transformers ships no types
    """One layer's keys and values, (rows, n_heads, pos, d_head), as views of larger buffers."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Makes the first buffers."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self._buffers = tuple(
            t.new_empty(*t.shape[:2], t.shape[2] + _ROOM, t.shape[3]) for t in (key_states, value_states)
        )
        self._view(0)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Appends new positions and returns all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        stop = start + key_states.shape[2]
        if stop > self._buffers[0].shape[2]:
            self._grow(start, 2 * stop)
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer.narrow(2, start, stop - start).copy_(new)
        self._view(stop)
        return self.keys, self.values

    def joined(self, other: "BufferedLayer") -> "BufferedLayer":
        """A new layer with the rows of another one under these; what is shorter gets zeros on the left."""
        mine, theirs = self.get_seq_length(), other.get_seq_length()
        length, rows = max(mine, theirs), len(self.keys)
        joined = []
        for old, new in zip(self._buffers, other._buffers, strict=True):
            shape = (rows + len(new), old.shape[1], length + _ROOM, old.shape[3])
            both = old.new_zeros(shape)  # padding is attended to with weight 0, which only undoes finite values
            both[:rows, :, length - mine : length] = old[:, :, :mine]
            both[rows:, :, length - theirs : length] = new[:, :, :theirs]
            joined.append(both)
        return self._of(tuple(joined), length)

    def shorten(self, length: int) -> None:
        """Forgets what lies beyond so many positions."""
        if self.get_seq_length() > length:
            self._view(length)

    def copy_rows(self, indices: Tensor, first: int = 0) -> "BufferedLayer":
        """A new layer with copies of some rows, in the order given, from position `first` on."""
        length = self.get_seq_length()
        return self._of(tuple(buffer[indices, :, first : length + _ROOM] for buffer in self._buffers), length - first)

    def get_seq_length(self) -> int:
        """How many positions are held."""
        return self.keys.shape[2] if self.is_initialized else 0

    def _of(self, buffers: tuple[Tensor, ...], length: int) -> "BufferedLayer":
        other = BufferedLayer()
        other.dtype, other.device, other.is_initialized = self.dtype, self.device, True
        other._buffers = buffers
        other._view(length)
        return other

    def _grow(self, length: int, capacity: int) -> None:
        grown = tuple(b.new_empty(*b.shape[:2], capacity, b.shape[3]) for b in self._buffers)
        for old, new in zip(self._buffers, grown, strict=True):
            new[:, :, :length] = old[:, :, :length]
        self._buffers = grown

    def _view(self, length: int) -> None:
        keys, values = self._buffers
        self.keys, self.values = keys.narrow(2, 0, length), values.narrow(2, 0, length)


class RowCache(Cache):  # type: ignore[misc]
    """A cache whose rows can leave, or be copied into another cache.

    Where the device's memory does not suffice for that, the cache is as it was before.
    """

    def __init__(self, layers: list[Any] | None = None) -> None:
        if layers is None:
            super().__init__(layer_class_to_replicate=BufferedLayer)
        else:
            super().__init__(layers=layers)

    @classmethod
    def stacked(cls, layers: Sequence[Sequence[BufferedLayer]]) -> "RowCache":
        """A cache of rows that were read apart: by layer, its rows in their order.

        Raises:
            DeviceMemoryError: the device ran out of memory.
        """
        with memory_for("Keys and values of rows read apart"):
            stacked = [reduce(BufferedLayer.joined, rows) for rows in layers]
        return cls(stacked)

    @property
    def length(self) -> int:
        """How many positions are held, padding included."""
        return int(self.layers[0].get_seq_length()) if self.layers else 0

    def keep(self, rows: list[int], first: int = 0) -> None:
        """Drops every row but these, and every position before `first`; a row may be asked for twice.

        Raises:
            DeviceMemoryError: the device ran out of memory.
        """
        self.layers = self._copies(rows, first)

    def spread(self, rows: list[list[int]]) -> None:
        """Gives every row keys and values of its own, where layers hold fewer than there are rows.

        Args:
            rows: by layer, which of the rows it holds each row is.

        Raises:
            DeviceMemoryError: the device ran out of memory.
        """
        with memory_for(f"Keys and values of {len(rows[0])} rows"):
            spread = [
                layer
                if own == list(range(len(layer.keys)))
                else layer.copy_rows(torch.tensor(own, device=layer.device))
                for layer, own in zip(self.layers, rows, strict=True)
            ]
        self.layers = spread

    def join(self, other: "RowCache") -> None:
        """Takes another cache's rows in under its own; both end at the same position, padded on the left.

        Raises:
            DeviceMemoryError: the device ran out of memory.
        """
        with memory_for("Keys and values of another question"):
            joined = [mine.joined(theirs) for mine, theirs in zip(self.layers, other.layers, strict=True)]
        self.layers = joined

    def shorten(self, length: int) -> None:
        """Forgets what a failed forward pass left in some of the layers."""
        for layer in self.layers:
            layer.shorten(length)

    def copy(self, rows: list[int]) -> "RowCache":
        """A new cache holding copies of some rows; a row may be asked for twice.

        Raises:
            DeviceMemoryError: the device ran out of memory.
        """
        return RowCache(self._copies(rows))

    def _copies(self, rows: list[int], first: int = 0) -> list[BufferedLayer]:
        with memory_for(f"Keys and values of {len(rows)} rows"):
            copies = [layer.copy_rows(torch.tensor(rows, device=layer.device), first) for layer in self.layers]
        return copies
