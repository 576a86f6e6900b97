"""One LoRA fine-tuning run, from files to an adapter folder that plain peft loads.

PEFT makes the adapter, transformers' Trainer runs the loop, so checkpoints and resuming are theirs. Knows
training; knows nothing of gates or of comparing models.
"""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from core.errors import DataError, TrainingError
from core.pair.fetch import local_folder
from core.pair.files import sha256_of, write_atomically
from core.pair.load import end_of_turn_ids, load_base
from core.pair.prompts import PromptBuilder
from core.pair.registry import Source
from core.train.adapter_files import WEIGHTS, HeldoutLine, read_factors_, write_adapter
from core.train.answer_loss import mean_loss
from core.train.best import BestFactors
from core.train.data import gather, in_order
from core.train.encode import Example, collate
from core.train.heldout import document_losses, summarise
from core.train.progress import CurveCallback, Say
from core.train.settings import FinetuneResult, FinetuneSettings

CHECKPOINTS = "checkpoints"
CURVE = "curve.jsonl"
_CHECKPOINT_FILES = ("trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state.pth", "adapter_model.safetensors")


def finetune(base: Source, out: Path, settings: FinetuneSettings, say: Say, device: str = "cpu") -> FinetuneResult:
    """Trains an adapter for `base` and writes it to `out`.

    A run that was stopped goes on from its last checkpoint when called again with the same settings and folder.

    Args:
        base: where the base model comes from; it must be on this machine.
        out: receives the adapter, `settings.json`, `curve.jsonl` and the checkpoints.
        settings: see `FinetuneSettings`.
        say: called with one line of progress at a time.
        device: where to train.

    Raises:
        TrainingError: `out` holds a finished adapter or another run, or cannot be written, or the loss is not finite.
        DataError: a file or a row cannot be used.
        PairUnavailableError: the base is not here.
    """
    _claim_folder(out, settings)
    folder = local_folder(base)
    torch.manual_seed(settings.seed)
    model, tokenizer = load_base(folder, device, getattr(torch, settings.dtype))
    prompts = PromptBuilder(tokenizer, end_of_turn_ids(model, tokenizer), model.config.max_position_embeddings)
    examples = gather(settings, prompts, say)
    say(f"{len(examples.train):,} rows an epoch, {examples.n_tokens:,} tokens; {len(examples.heldout)} held-out sets")

    score = partial(_heldout_losses, heldout=examples.heldout, pad_id=prompts.end_ids[0])
    base_name = Path(base.id).name if Path(base.id).is_dir() else base.id
    peft_model = with_adapter(model, settings)
    order = in_order(examples.train, settings)
    best = BestFactors(out / CHECKPOINTS / "best.safetensors", settings.patience)
    callback = CurveCallback(
        out / CURVE, score, settings.heldout_every, [len(example.ids) for example in order], say, best
    )
    trainer = _trainer(peft_model, order, out, settings, device, prompts.end_ids[0], callback)
    started = time.perf_counter()
    checkpoint = _last_checkpoint(out)
    last_step = int(checkpoint.rpartition("-")[2]) if checkpoint else 0
    if checkpoint:
        callback.take_up(last_step)
    if not best.exhausted:  # else it was killed after it had stopped by itself, and only the saving is left
        trainer.train(resume_from_checkpoint=checkpoint)
        last_step = trainer.state.global_step
    seconds = time.perf_counter() - started

    best_step = best.restore(peft_model, last_step, score)
    if best_step is not None:
        say(f"kept the factors of step {best_step}, the best on held-out rows")
    _round_to_half(peft_model)
    after = score(peft_model)
    callback.record_final(last_step if best_step is None else best_step, after)
    counts = {name: len(rows) for name, rows in examples.heldout.items()}
    losses = [HeldoutLine(name, counts[name], callback.before()[name], loss) for name, loss in after.items()]
    write_adapter(peft_model, out, base_name, settings, last_step if best_step is None else best_step, losses)
    say("held-out loss of the saved adapter: " + _losses_text(after))
    return FinetuneResult(
        out=str(out),
        adapter_sha256=sha256_of(out / WEIGHTS),
        steps=last_step,
        best_step=best_step,
        n_rows=len(examples.train),
        n_tokens=examples.n_tokens,
        seconds=seconds,
        heldout_before=callback.before(),
        heldout_after=after,
    )


def _losses_text(losses: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in losses.items()) or "none given"


def _claim_folder(out: Path, settings: FinetuneSettings) -> None:
    """Makes `out`, or checks that what it holds is the same run."""
    wanted = _record_of(settings)
    record = out / "settings.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if (out / WEIGHTS).exists():
            raise TrainingError(f"{out} already holds a finished adapter.", "Give another --out.")
        begun = (out / CURVE).is_file()  # what was refused before it trained leaves its settings alone
        if begun and record.is_file() and json.loads(record.read_text()) != wanted:
            raise TrainingError(f"{out} holds a run with other settings.", "Give another --out, or the same settings.")
        write_atomically(record, json.dumps(wanted, indent=1))
    except OSError as error:
        raise TrainingError(f"Cannot write to {out}: {error.strerror or error}.", "Give another --out.") from error
    except ValueError as error:
        raise TrainingError(f"{record} cannot be read: {error}.", "Give another --out.") from error


def _record_of(settings: FinetuneSettings) -> dict[str, Any]:
    """The settings as they are kept beside the adapter: files by name and hash, not by where they lay."""
    chosen = (*settings.data, *settings.replay, *settings.heldout)
    files = [choice for choice in chosen if choice.hub_id is None]
    missing = [choice.path for choice in files if not choice.path.is_file()]
    if missing:
        raise DataError(f"There is no file {missing[0]}.", "Check the path.")
    record = asdict(settings)
    if settings.start_from is not None:
        weights = settings.start_from / WEIGHTS
        if not weights.is_file():
            raise DataError(f"There is no adapter in {settings.start_from}.", "Give a folder with one to --start-from.")
        record["start_from"] = {"path": settings.start_from.name, "sha256": sha256_of(weights)}
    for group in ("data", "replay", "heldout"):
        choices = getattr(settings, group)
        record[group] = [
            asdict(c) | {"path": c.name, "sha256": None if c.hub_id else sha256_of(c.path)} for c in choices
        ]
    found: dict[str, Any] = json.loads(json.dumps(record))
    return found


def _heldout_losses(model: Any, heldout: dict[str, list[Example]], pad_id: int) -> dict[str, float]:
    was_training = model.training
    model.eval()
    losses = {name: summarise(document_losses(model, rows, pad_id)).loss for name, rows in heldout.items()}
    model.train(was_training)
    return losses


def with_adapter(model: Any, settings: FinetuneSettings) -> Any:
    """The base with an adapter on it to train: an untrained one, or the one the settings start from.

    Raises:
        TrainingError: the model has no such projections, or the adapter to start from does not fit.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.targets),
    )
    try:
        peft_model = get_peft_model(model, config)
    except ValueError as error:
        raise TrainingError(f"The adapter does not fit this model: {error}", "Check --targets.") from error
    if settings.start_from is not None:
        read_factors_(peft_model, settings.start_from)
    return peft_model


def _trainer(
    model: Any,
    order: list[Example],
    out: Path,
    settings: FinetuneSettings,
    device: str,
    pad_id: int,
    callback: Callable[..., Any],
) -> Any:
    from transformers import PrinterCallback, Trainer, TrainingArguments

    arguments = TrainingArguments(
        output_dir=str(out / CHECKPOINTS),
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        num_train_epochs=1,
        max_steps=settings.max_steps or -1,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup,
        max_grad_norm=settings.clip,
        weight_decay=0.0,
        train_sampling_strategy="sequential",
        logging_steps=10,
        logging_nan_inf_filter=False,
        save_steps=settings.checkpoint_every,
        save_total_limit=2,
        seed=settings.seed,
        use_cpu=device == "cpu",
        bf16=settings.dtype == "bfloat16",
        activation_checkpointing=settings.gradient_checkpointing or None,
        activation_checkpointing_kwargs={"use_reentrant": False} if settings.gradient_checkpointing else None,
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to="none",
    )

    class AnswerTrainer(Trainer):  # type: ignore[misc]
        """A Trainer whose loss is `mean_loss`."""

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            if self.args.n_gpu > 1:  # then parts of a batch run on each
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            with self.accelerator.autocast():
                return mean_loss(self.accelerator.unwrap_model(model), inputs, num_items_in_batch)

    trainer = AnswerTrainer(
        model=model,
        args=arguments,
        train_dataset=[{"input_ids": example.ids, "example": example} for example in order],
        data_collator=lambda rows: collate([row["example"] for row in rows], pad_id),
        callbacks=[callback],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _round_to_half(model: Any) -> None:
    """Rounds the factors to float16, so that what is scored and saved is one and the same fine-tune.

    Raises:
        TrainingError: a factor is not finite.
    """
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.half().to(parameter.dtype)
            if not bool(parameter.isfinite().all()):
                raise TrainingError("The trained factors are not finite: the run diverged.", "Lower --learning-rate.")


def _last_checkpoint(out: Path) -> str | None:
    """The newest whole checkpoint of a run that was stopped; half-written ones are removed."""
    folders = sorted((out / CHECKPOINTS).glob("checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1]))
    whole = [folder for folder in folders if all((folder / name).is_file() for name in _CHECKPOINT_FILES)]
    for folder in set(folders) - set(whole):
        shutil.rmtree(folder)
    return str(whole[-1]) if whole else None
