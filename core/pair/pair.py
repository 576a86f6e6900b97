"""A pair on a device: one copy of the base weights, what fine-tuning added, and one way to run them.

Everything that runs the models goes through `Pair.hidden`, with gates as an argument. Knows one forward pass;
knows nothing of decoding loops or of numbers made from logits.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.errors import ArgumentError, ShapeError
from core.pair.gated_linear import bound_gates
from core.pair.gates import Gates
from core.pair.memory import memory_for
from core.pair.patches import RowPatch, check_patches, with_patches
from core.pair.prompts import PromptBuilder
from core.pair.registry import PairSpec
from core.pair.unembed import Unembedding


@dataclass(frozen=True)
class AdapterReport:
    """Whether the adapter is on.

    Attributes:
        hit, targeted: modules loaded, and modules the adapter names.
        probe_delta: largest |Δlogit| between base and tuned on a fixed probe text.
        probe_noise: largest |Δlogit| of base against itself by another numerical route, on the same text.
        warnings: what a person should know, in full sentences.
    """

    hit: int
    targeted: int
    probe_delta: float
    probe_noise: float
    warnings: tuple[str, ...]

    @property
    def active(self) -> bool:
        """Whether the adapter moves the logits beyond noise."""
        return self.probe_delta > self.probe_noise

    @property
    def banner(self) -> str:
        """One line for the page."""
        state = "adapter active" if self.active else "adapter NOT active"
        return f"{state}: {self.hit} of {self.targeted} modules, probe Δ {self.probe_delta:.2g}"


@dataclass(frozen=True)
class PairIdentity:
    """What a pair's figures can be traced back to.

    Attributes:
        base_id, tuned_id: the names recorded.
        base_path, tuned_path: folders that plain transformers and peft load.
        base_sha256, tuned_sha256: of the weight files.
    """

    base_id: str
    tuned_id: str
    base_path: str
    tuned_path: str
    base_sha256: str
    tuned_sha256: str


class Pair:
    """Base and fine-tuned model, held once.

    Made by `load_pair`. Safe to use from several threads: nothing in it changes after loading.

    Attributes:
        spec, identity: where it comes from.
        model: the base model with gated layers; never call it directly.
        prompts: questions and answers as token ids.
        n_layers, d_model, d_vocab: dimensions.
        adapter: whether the fine-tune is on.
    """

    adapter: AdapterReport

    def __init__(
        self, spec: PairSpec, identity: PairIdentity, model: Any, prompts: PromptBuilder, device: str, dtype: str
    ) -> None:
        self.spec, self.identity, self.model, self.prompts = spec, identity, model, prompts
        self.device, self.dtype = device, dtype
        self.n_layers: int = model.config.num_hidden_layers
        self.d_model: int = model.config.hidden_size
        self.max_positions: int = model.config.max_position_embeddings
        self.unembed = Unembedding(model.get_output_embeddings().weight)
        self.d_vocab: int = self.unembed.d_vocab
        self._forwards = 0
        self._count_lock = threading.Lock()

    def release(self) -> None:
        """Lets go of the weights. Whoever still holds the pair has its names and texts and cannot run it any more."""
        self.model = None
        del self.unembed

    @property
    def forwards(self) -> int:
        """How many forward passes of the model have been run."""
        return self._forwards

    def count_forward(self) -> None:
        """Counts a forward pass, for whoever runs the layers otherwise than by `hidden`."""
        with self._count_lock:
            self._forwards += 1

    @property
    def n_bytes(self) -> int:
        """Memory of weights and factors, in bytes."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def base_gates(self, rows: int = 1) -> Gates:
        """Gates of `rows` rows at base."""
        return Gates.uniform(self.n_layers, 0.0, rows)

    def tuned_gates(self, rows: int = 1) -> Gates:
        """Gates of `rows` rows at tuned."""
        return Gates.uniform(self.n_layers, 1.0, rows)

    def hidden(
        self,
        input_ids: Tensor,
        gates: Gates,
        *,
        attention_mask: Tensor | None = None,
        cache: Any = None,
        patches: Sequence[RowPatch] = (),
    ) -> Tensor:
        """One forward pass, each row under its own gates.

        Args:
            input_ids: (rows, pos) int64.
            gates: of as many rows; a position axis, if present, has `pos` entries.
            attention_mask: (rows, past + pos), 1 where a token is; left-padded rows get their own positions. None
                where nothing is padded.
            cache: a transformers cache to read and extend.
            patches: activations copied from row to row at every position of this pass. What they change in `cache`
                stays there; a row that is to be patched all along needs them in every pass.

        Returns:
            (rows, pos, d_model) hidden states after the final norm; `unembed` turns them into logits.

        Raises:
            ShapeError: rows or positions of gates and ids differ, or a patch names rows that cannot be.
            ArgumentError: a patch names a site or layer that does not exist, or two donors for one place; the pair has
                been released.
            DeviceMemoryError: the device ran out of memory.
        """
        if self.model is None:
            raise ArgumentError("This pair has been unloaded.", "Load it again.")
        rows, n_positions = input_ids.shape
        if gates.n_rows != rows:
            raise ShapeError(f"There are gates for {gates.n_rows} rows and ids for {rows}.", "Give as many gates.")
        if gates.values.dim() == 4 and gates.values.shape[3] != n_positions:
            raise ShapeError(f"Gates have {gates.values.shape[3]} positions, ids {n_positions}.", "Give as many.")
        check_patches(patches, self.n_layers, rows)
        position_ids = None
        if attention_mask is not None:
            position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -n_positions:]
        decoder = with_patches(self.model.model, patches)
        self.count_forward()
        with (
            memory_for(f"{rows} × {n_positions} tokens in one forward pass"),
            bound_gates(gates.to(self.device)),
        ):
            output = decoder(
                input_ids=input_ids.to(self.device),
                attention_mask=attention_mask,
                position_ids=position_ids,
                past_key_values=cache,
                use_cache=cache is not None,
            )
        states: Tensor = output.last_hidden_state
        return states

    def ids(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Rows of equal length as an id tensor on the device."""
        return torch.tensor([list(row) for row in rows], device=self.device)
