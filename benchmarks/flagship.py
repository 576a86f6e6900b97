"""A random pair of the flagship's shape, for machines that the hub cannot be reached from.

A Qwen2 with the widths, depth and vocabulary of DeepSeek-R1-Distill-Qwen-1.5B and a LoRA of rank 16 on every
projection, both random, in bfloat16: it takes as long as the real pair and writes nonsense. The tests' tiny tokenizer
stands in for its own, so most of what it writes has no text. Knows files; takes no times.
"""

from pathlib import Path
from typing import Any

import torch

from core.pair.load import check_device
from core.pair.registry import PairSpec

RANK = 16
STD = 0.02


def build_flagship(root: Path, device: str, n_layers: int | None = None) -> PairSpec:
    """Saves base and adapter under `root`.

    Args:
        root: an empty folder.
        device: where the random numbers are made.
        n_layers: fewer than the flagship's 28, to try something out.
    """
    from transformers import AutoModelForCausalLM, Qwen2Config

    from tests.conftest import TinyFolders
    from tests.pair.test_flagship_shape import SHAPE
    from tests.tiny import build_base

    check_device(device)
    shape = {**SHAPE, "num_hidden_layers": n_layers or 28, "initializer_range": STD}
    torch.manual_seed(3)
    with torch.device(device):
        model: Any = AutoModelForCausalLM.from_config(
            Qwen2Config(**shape, eos_token_id=1, bos_token_id=0), dtype=torch.bfloat16
        )
    model.save_pretrained(root / "base", max_shard_size="20GB")
    tiny = build_base(root / "tiny", "qwen2")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (root / "base" / name).write_bytes((tiny / name).read_bytes())
    _save_adapter(model, root / "base", root / "tuned")
    return TinyFolders(root / "base", root / "tuned").spec("flagship-shape")


def _save_adapter(model: Any, base: Path, folder: Path) -> None:
    from peft import LoraConfig
    from safetensors.torch import save_file

    factors: dict[str, torch.Tensor] = {}
    targets = set()
    for name, module in model.model.named_modules():
        if isinstance(module, torch.nn.Linear):
            targets.add(name.rpartition(".")[2])
            path = f"base_model.model.model.{name}"
            for letter, size in (("A", (RANK, module.in_features)), ("B", (module.out_features, RANK))):
                factor = torch.randn(size, device=module.weight.device) * STD
                factors[f"{path}.lora_{letter}.weight"] = factor.cpu()
    folder.mkdir()
    save_file(factors, folder / "adapter_model.safetensors")
    settings = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=sorted(targets), task_type="CAUSAL_LM")
    settings.base_model_name_or_path = str(base)
    settings.save_pretrained(folder)
