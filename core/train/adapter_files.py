"""The files a finished run leaves: factors in half precision, their configuration, and a card.

Written aside and moved into place with the factors last, so a folder that holds factors is finished. Knows files;
trains nothing.
"""

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import TrainingError
from core.train.settings import FinetuneSettings

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class HeldoutLine:
    """Loss on one held-out set before and after, nats a token."""

    name: str
    n_documents: int
    before: float
    after: float


def write_adapter(
    model: Any,
    out: Path,
    base_name: str,
    settings: FinetuneSettings,
    step: int,
    losses: Sequence[HeldoutLine],
) -> None:
    """Writes a trained PEFT model's adapter to `out`.

    Args:
        model: the PEFT model, its factors already rounded.
        out: the run's folder.
        base_name: what the adapter is to record as its base, instead of a folder on this machine.
        settings: of the run, for the card.
        step: of the factors.
        losses: held-out losses, for the card.
    """
    from safetensors.torch import load_file, save_file

    with tempfile.TemporaryDirectory(prefix=".finishing-", dir=out) as aside:
        folder = Path(aside)
        model.save_pretrained(folder)
        factors = {name: tensor.half().contiguous() for name, tensor in load_file(folder / WEIGHTS).items()}
        save_file(factors, folder / WEIGHTS, metadata={"format": "pt"})
        config = json.loads((folder / CONFIG).read_text())
        config["base_model_name_or_path"] = base_name
        (folder / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True))
        (folder / "README.md").write_text(_card(base_name, settings, step, losses))
        for name in (CONFIG, "README.md", WEIGHTS):
            os.replace(folder / name, out / name)
    (out / WEIGHTS).chmod(0o644)


def read_factors_(model: Any, folder: Path) -> None:
    """Puts a saved adapter's factors into an untrained PEFT model, in place.

    Args:
        model: the base with an untrained LoRA on it.
        folder: an adapter of the same rank, scale and projections.

    Raises:
        TrainingError: the folder's adapter has another shape, or cannot be read.
    """
    from peft import set_peft_model_state_dict
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    remedy = "Give --rank, --alpha and --targets as the adapter has them."
    try:
        theirs, ours = json.loads((folder / CONFIG).read_text()), model.peft_config["default"]
        shapes = [(c["r"], c["lora_alpha"], sorted(c["target_modules"])) for c in (theirs, ours.to_dict())]
        if shapes[0] != shapes[1]:
            raise TrainingError(f"The adapter in {folder} has rank, α and projections {shapes[0]}.", remedy)
        outcome = set_peft_model_state_dict(model, load_file(folder / WEIGHTS))
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise TrainingError(f"The adapter in {folder} cannot be trained further: {error}", remedy) from error
    missing = [name for name in outcome.missing_keys if "lora_" in name]
    if missing or outcome.unexpected_keys:
        raise TrainingError(f"The adapter in {folder} does not fit this model.", "Start from one made for this base.")


def _card(base_name: str, settings: FinetuneSettings, step: int, losses: Sequence[HeldoutLine]) -> str:
    """What the adapter is, in a page; the person who trained it knows what to add."""
    lines = [
        "# LoRA adapter",
        "",
        f"For {base_name}. Rank {settings.rank}, α {settings.alpha}, on {', '.join(settings.targets)}; peak learning "
        f"rate {settings.learning_rate:g}, {step} updates of {settings.batch_size * settings.accumulation} rows, seed "
        f"{settings.seed}. Every setting and the hashes of the data files are in `settings.json`, the losses on the "
        "way in `curve.jsonl`."
        + (" Goes on from another adapter, whose hash is there." if settings.start_from else ""),
    ]
    if losses:
        lines += [
            "",
            "Held-out loss, nats a token over reasoning and answer, without headings and end-of-turn tokens:",
            "",
            f"| set | documents | {'before this run' if settings.start_from else 'base'} | fine-tuned |",
            "|---|---|---|---|",
            *(f"| {line.name} | {line.n_documents} | {line.before:.3f} | {line.after:.3f} |" for line in losses),
        ]
    return "\n".join(lines) + "\n"
