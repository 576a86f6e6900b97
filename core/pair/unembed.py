"""From the last hidden state to logits, in float32 whatever the model's dtype, without large temporaries.

Knows one matrix; knows nothing about pairs. In bfloat16 a KL of 1e-4 nats comes out half wrong, so the unembedding
is multiplied in float32.
"""

import torch
from torch import Tensor
from torch.nn import functional

from core.pair.few_rows import linear
from core.pair.memory import memory_for

MAX_TEMPORARY_BYTES = 256 * 2**20


class Unembedding:
    """Multiplies hidden states with the unembedding matrix in float32.

    Args:
        weight: (d_vocab, d_model), any float dtype. A float32 copy is kept where it is at most 256 MB; a larger
            one is upcast in slices over the vocabulary.

    Attributes:
        item_bytes: of one number of the model.
    """

    def __init__(self, weight: Tensor) -> None:
        self.d_vocab, self.d_model = weight.shape
        self._weight = weight.detach()
        self.item_bytes = weight.element_size()
        fits = weight.numel() * 4 <= MAX_TEMPORARY_BYTES
        self._float32 = self._weight.float() if fits or weight.dtype == torch.float32 else None

    def __call__(self, hidden: Tensor) -> Tensor:
        """(..., d_model) hidden states after the final norm → (..., d_vocab) float32 logits.

        The caller bounds the result: `positions_at_once` says how many positions fit.

        Raises:
            DeviceMemoryError: the device ran out of memory.
        """
        with memory_for(f"Logits of {hidden.shape[:-1].numel()} positions"):
            logits = self._logits(hidden.float())
        return logits

    def best(self, hidden: Tensor) -> Tensor:
        """(n, d_model) hidden states → (n,) int64: the token of the highest float32 logit each.

        In half precision on a CPU the product is made in half precision first, which reads half as much memory, and
        again in float32 for the tokens that its rounding leaves in question.

        Raises:
            DeviceMemoryError: the device ran out of memory.
        """
        weight = self._weight
        half = hidden.dtype == weight.dtype and hidden.dtype in (torch.bfloat16, torch.float16)
        if not half or hidden.device.type != "cpu":
            return self(hidden).argmax(dim=-1)
        rough = functional.linear(hidden, weight)
        top = rough.amax(dim=-1, keepdim=True)
        # Rounding moves a logit by at most eps / 2 of itself, the highest and its rival each; twice that is left open.
        in_question = rough >= (top.float() - 2 * torch.finfo(weight.dtype).eps * top.float().abs()).to(weight.dtype)
        found = [self._best_of(state, own) for state, own in zip(hidden, in_question, strict=True)]
        return torch.stack(found)

    def _best_of(self, state: Tensor, in_question: Tensor) -> Tensor:
        """The best of some tokens by their float32 logits; of all where those are none, as with infinite logits."""
        tokens = in_question.nonzero()[:, 0]
        if not len(tokens):
            return self(state).argmax()
        return tokens[(self._weight[tokens].float() @ state.float()).argmax()]

    def _logits(self, states: Tensor) -> Tensor:
        if self._float32 is not None:
            return linear(states, self._float32)
        logits = torch.empty(*states.shape[:-1], self.d_vocab, dtype=torch.float32, device=states.device)
        step = max(1, MAX_TEMPORARY_BYTES // (4 * self.d_model))
        for start in range(0, self.d_vocab, step):
            logits[..., start : start + step] = states @ self._weight[start : start + step].float().T
        return logits

    def positions_at_once(self, bytes_per_entry: int) -> int:
        """How many positions fit into 256 MB when each vocabulary entry takes so many bytes."""
        return max(1, MAX_TEMPORARY_BYTES // (bytes_per_entry * self.d_vocab))
