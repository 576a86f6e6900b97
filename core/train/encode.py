"""Rows as token ids with the positions that enter the loss.

Positions, not token ids, decide what is trained: a pad token may equal the end-of-turn token. Knows rendering;
knows no model.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from core.errors import TooLongError
from core.pair.parts import Part, answer_text
from core.pair.prompts import Message, PromptBuilder
from core.train.rows import Row

IGNORED = -100
LENGTH_STEP = 64


@dataclass(frozen=True)
class Example:
    """One row, ready to train on.

    Attributes:
        row_id: which row.
        ids: prompt, answer and end-of-turn token.
        n_prompt: how many of them are the prompt; the loss is over all others.
        parts: the part of each answer token.
    """

    row_id: str
    ids: tuple[int, ...]
    n_prompt: int
    parts: tuple[Part, ...]


def encode(row: Row, prompts: PromptBuilder) -> Example:
    """A row through the chat template.

    Raises:
        TooLongError: the row is longer than the model's context.
    """
    prompt = prompts.chat([Message(role="user", content=row.question)])
    answer = prompts.answer_ids(answer_text(row.reasoning, row.answer, prompt.opens_reasoning), end=True)
    length = len(prompt.ids) + len(answer)
    if length > prompts.max_positions:
        raise TooLongError(f"Row {row.id} has {length:,} tokens.", f"The context holds {prompts.max_positions:,}.")
    parts = prompts.answer_parts(answer, prompt).parts
    return Example(row.id, prompt.ids + answer, len(prompt.ids), parts)


def collate(examples: list[Example], pad_id: int) -> dict[str, Tensor]:
    """Right-padded batch, its length rounded up to a multiple of 64 so that few shapes occur.

    Returns:
        `input_ids`, `attention_mask` and `labels`, each (rows, pos) int64; labels are -100 on prompt and padding.
    """
    longest = max(len(example.ids) for example in examples)
    width = -(-longest // LENGTH_STEP) * LENGTH_STEP
    ids = torch.full((len(examples), width), pad_id)
    mask = torch.zeros((len(examples), width), dtype=torch.int64)
    labels = torch.full((len(examples), width), IGNORED)
    for row, example in enumerate(examples):
        n = len(example.ids)
        ids[row, :n] = torch.tensor(example.ids)
        mask[row, :n] = 1
        labels[row, example.n_prompt : n] = ids[row, example.n_prompt : n]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
