"""The files a finished run leaves: factors in half precision, their configuration, and a card.

Written aside and moved into place with the factors last, so a folder that holds factors is finished. Knows files;
trains nothing.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from core.train.settings import FinetuneSettings

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


def write_adapter(
    model: Any,
    out: Path,
    base_name: str,
    settings: FinetuneSettings,
    before: dict[str, float],
    after: dict[str, float],
) -> None:
    """Writes a trained PEFT model's adapter to `out`.

    Args:
        model: the PEFT model, its factors already rounded.
        out: the run's folder.
        base_name: what the adapter is to record as its base, instead of a folder on this machine.
        settings: of the run, for the card.
        before, after: held-out losses by file, for the card.
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
        (folder / "README.md").write_text(_card(base_name, settings, before, after))
        for name in (CONFIG, "README.md", WEIGHTS):
            os.replace(folder / name, out / name)
    (out / WEIGHTS).chmod(0o644)


def _card(base_name: str, settings: FinetuneSettings, before: dict[str, float], after: dict[str, float]) -> str:
    """What the adapter is, in a page; the person who trained it knows what to add."""
    lines = [
        "# LoRA adapter",
        "",
        f"For {base_name}. Rank {settings.rank}, α {settings.alpha}, on {', '.join(settings.targets)}; peak learning "
        f"rate {settings.learning_rate:g}, {settings.epochs} epoch(s), seed {settings.seed}. Every setting and the "
        "hashes of the data files are in `settings.json`, the losses on the way in `curve.jsonl`.",
    ]
    if after:
        lines += [
            "",
            "Held-out loss, nats a token over reasoning and answer, without headings and end-of-turn tokens "
            f"({settings.heldout_rows or 'all'} documents a file):",
            "",
            "| file | base | fine-tuned |",
            "|---|---|---|",
            *(f"| {name} | {before.get(name, float('nan')):.3f} | {value:.3f} |" for name, value in after.items()),
        ]
    return "\n".join(lines) + "\n"
