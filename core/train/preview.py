"""A run before it is run: rows as they will be trained on, and how long it would take.

Times a few real steps and keeps nothing. Knows encoding and the model; writes no files.
"""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from core.pair.fetch import local_folder
from core.pair.load import end_of_turn_ids, load_base
from core.pair.prompts import PromptBuilder
from core.pair.registry import Source
from core.train.answer_loss import mean_loss
from core.train.data import Examples, gather, in_order
from core.train.encode import Example, collate
from core.train.finetune import with_adapter
from core.train.progress import Say
from core.train.settings import FinetuneSettings

SHOWN = 3
TIMED = 4


@dataclass(frozen=True)
class RenderedRow:
    """A row as it will be trained on.

    Attributes:
        row_id: which row.
        prompt: what the model is given, template included; not trained.
        trained: what enters the loss, end of turn included.
        n_prompt, n_trained: tokens of each.
    """

    row_id: str
    prompt: str
    trained: str
    n_prompt: int
    n_trained: int


@dataclass(frozen=True)
class Preview:
    """What a run would do.

    Attributes:
        rows: the first, a middle and the last row.
        n_rows, n_tokens: of an epoch.
        n_steps: updates in all.
        heldout: rows in each held-out set.
        seconds: estimate of the training time, without held-out scores.
        tokens_per_second: as timed, padding not counted.
    """

    rows: tuple[RenderedRow, ...]
    n_rows: int
    n_tokens: int
    n_steps: int
    heldout: dict[str, int]
    seconds: float
    tokens_per_second: float


def preview(base: Source, settings: FinetuneSettings, say: Say, device: str = "cpu") -> Preview:
    """Renders three rows and times a few steps on rows of every length.

    Raises:
        DataError, TrainingError, PairUnavailableError: as a run would.
    """
    model, tokenizer = load_base(local_folder(base), device, getattr(torch, settings.dtype))
    prompts = PromptBuilder(tokenizer, end_of_turn_ids(model, tokenizer), model.config.max_position_embeddings)
    examples = gather(settings, prompts, say)
    order = in_order(examples.train, settings)
    n_steps = -(-len(order) // (settings.batch_size * settings.accumulation))
    n_steps = min(n_steps, settings.max_steps) if settings.max_steps else n_steps
    speed = _tokens_per_second(with_adapter(model, settings), order, settings, prompts.end_ids[0])
    used = order[: n_steps * settings.batch_size * settings.accumulation]
    return Preview(
        rows=tuple(_rendered(example, prompts) for example in _first_middle_last(examples)),
        n_rows=len(examples.train),
        n_tokens=examples.n_tokens,
        n_steps=n_steps,
        heldout={name: len(rows) for name, rows in examples.heldout.items()},
        seconds=sum(len(example.ids) for example in used) / speed,
        tokens_per_second=speed,
    )


def _first_middle_last(examples: Examples) -> list[Example]:
    rows = examples.train
    return [rows[k] for k in sorted({0, len(rows) // 2, len(rows) - 1})][:SHOWN]


def _rendered(example: Example, prompts: PromptBuilder) -> RenderedRow:
    prompt, trained = example.ids[: example.n_prompt], example.ids[example.n_prompt :]
    before, after = (prompts.tokenizer.decode(ids, skip_special_tokens=False) for ids in (prompt, trained))
    return RenderedRow(example.row_id, before, after, len(prompt), len(trained))


def _tokens_per_second(model: torch.nn.Module, order: Sequence[Example], settings: FinetuneSettings, pad: int) -> float:
    """From one untimed batch and a few timed ones, taken evenly over the lengths."""
    by_length = sorted(order, key=lambda example: len(example.ids))
    batches = [by_length[k : k + settings.batch_size] for k in range(0, len(by_length), settings.batch_size)]
    places = [round((k + 0.5) * len(batches) / TIMED - 0.5) for k in range(TIMED)]
    model.train()
    if settings.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
    _step(model, batches[places[0]], settings, pad)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    for place in places:
        _step(model, batches[place], settings, pad)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    return sum(len(example.ids) for place in places for example in batches[place]) / max(seconds, 1e-9)


def _step(model: torch.nn.Module, batch: list[Example], settings: FinetuneSettings, pad: int) -> None:
    device = next(model.parameters()).device
    inputs = {name: tensor.to(device) for name, tensor in collate(batch, pad).items()}
    mixed = torch.autocast(device.type, torch.bfloat16) if settings.dtype == "bfloat16" else contextlib.nullcontext()
    with mixed:
        loss = mean_loss(model, inputs)
    loss.backward()  # type: ignore[no-untyped-call]
    model.zero_grad()
