"""The loss over trained positions alone, without logits of a whole batch in memory.

A batch of 4 rows of 512 positions has 2,048 × d_vocab logits, which the usual loss keeps in float32 several times over.
Here only the positions that are trained on are unembedded, a few at a time, and their gradient is taken in the same
turn. Knows a causal model and labels; knows nothing of rows or schedules.
"""

from typing import Any

import torch
from torch import Tensor, nn

from core.train.encode import IGNORED

POSITIONS_AT_ONCE = 128
PLAIN = ("llama", "qwen2", "qwen3", "mistral")
"""Model types whose logits are one product with the unembedding matrix, neither scaled nor capped."""


class _SummedLoss(torch.autograd.Function):
    """Σ −log p(target) of (n, d_model) states under a frozen (d_vocab, d_model) matrix, multiplied in its dtype."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        summed = torch.zeros((), dtype=torch.float32, device=states.device)
        gradient = torch.empty_like(states)
        for start in range(0, len(states), POSITIONS_AT_ONCE):
            chosen = slice(start, start + POSITIONS_AT_ONCE)
            logits = (states[chosen] @ weight.T).float()
            own = targets[chosen].unsqueeze(1)
            log_total = logits.logsumexp(dim=1, keepdim=True)
            summed += (log_total - logits.gather(1, own)).sum()
            p = logits.sub_(log_total).exp_()
            p.scatter_add_(1, own, p.new_full(own.shape, -1.0))
            gradient[chosen] = p.to(weight.dtype) @ weight
        ctx.save_for_backward(gradient)
        return summed

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outer[0].to(gradient.dtype), None, None


def _unembeds_plainly(model: Any) -> bool:
    """Whether logits are states times a matrix that is not itself trained."""
    head: Any = model.get_base_model().get_output_embeddings()
    plain = model.config.model_type in PLAIN and type(head) is nn.Linear and head.bias is None
    return plain and not head.weight.requires_grad


def mean_loss(model: Any, inputs: dict[str, Tensor], n_trained: Tensor | int | None = None) -> Tensor:
    """Mean negative log-likelihood of the labels, in nats a token; to be called under the autocast of the run.

    Args:
        model: a PEFT model.
        inputs: `input_ids`, `attention_mask` and `labels`, (rows, pos), padded on the right: what is padding comes
            after everything that is trained on, so that no position that counts can attend to it.
        n_trained: over how many tokens the mean is, where it is over more than this batch.
    """
    from peft.helpers import disable_input_dtype_casting

    with disable_input_dtype_casting(model):  # autocast casts where it is needed
        if not _unembeds_plainly(model):
            loss: Tensor = model(**inputs, num_items_in_batch=n_trained).loss
            return loss
        base = model.get_base_model()
        states = base.get_decoder()(input_ids=inputs["input_ids"], use_cache=False).last_hidden_state
        targets = inputs["labels"][:, 1:]
        kept = targets != IGNORED
        weight = base.get_output_embeddings().weight
        summed: Tensor = _SummedLoss.apply(states[:, :-1][kept], weight, targets[kept])  # type: ignore[no-untyped-call]
        return summed / (kept.sum() if n_trained is None else n_trained)
