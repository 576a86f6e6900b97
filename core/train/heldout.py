"""Loss on rows that were not trained on, by document and by part.

Knows a causal model and encoded rows; knows nothing about training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from core.train.encode import Example, collate

WITHOUT_FORMAT = ("reasoning", "answer")


@dataclass(frozen=True)
class DocumentLoss:
    """Summed negative log-likelihood of one answer.

    Attributes:
        row_id: which row.
        nats: sum over reasoning and answer tokens.
        n_tokens: how many those are.
        nats_all: sum over all answer tokens, headings and end-of-turn included.
        n_all: how many those are.
    """

    row_id: str
    nats: float
    n_tokens: int
    nats_all: float
    n_all: int


@dataclass(frozen=True)
class HeldOut:
    """Mean loss per token over a set, in nats; `loss` is without headings and end-of-turn tokens."""

    loss: float
    loss_all: float
    n_documents: int
    n_tokens: int


@torch.no_grad()
def document_losses(model: Any, examples: Sequence[Example], pad_id: int, batch_size: int = 4) -> list[DocumentLoss]:
    """Loss of every document, in the order given, computed in float32.

    Args:
        model: a causal language model in evaluation mode.
        examples: encoded rows.
        pad_id: what to pad with; never decides what counts.
        batch_size: rows per forward pass.
    """
    order = sorted(range(len(examples)), key=lambda index: len(examples[index].ids))
    found: dict[int, DocumentLoss] = {}
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = {k: v.to(model.device) for k, v in collate([examples[i] for i in chosen], pad_id).items()}
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        for row, index in enumerate(chosen):
            example = examples[index]
            scored = logits[row, example.n_prompt - 1 : len(example.ids) - 1].float()
            targets = batch["input_ids"][row, example.n_prompt : len(example.ids)]
            nats = torch.nn.functional.cross_entropy(scored, targets, reduction="none").double()
            kept = torch.tensor([part in WITHOUT_FORMAT for part in example.parts], device=nats.device)
            found[index] = DocumentLoss(
                example.row_id, float(nats[kept].sum()), int(kept.sum()), float(nats.sum()), len(nats)
            )
    return [found[index] for index in range(len(examples))]


def summarise(losses: Sequence[DocumentLoss]) -> HeldOut:
    """Token-weighted means over documents."""
    n_tokens, n_all = sum(d.n_tokens for d in losses), sum(d.n_all for d in losses)
    return HeldOut(
        loss=sum(d.nats for d in losses) / max(n_tokens, 1),
        loss_all=sum(d.nats_all for d in losses) / max(n_all, 1),
        n_documents=len(losses),
        n_tokens=n_tokens,
    )
