"""Plain transformers and peft, to hold Graft against."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM


def plain_base(folder: Path) -> Any:
    """The base model, untouched."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def plain_tuned(base: Path, adapter: Path) -> Any:
    """The base model with peft's unmerged adapter."""
    return PeftModel.from_pretrained(plain_base(base), str(adapter)).eval()


@torch.no_grad()
def logits(model: Any, ids: Sequence[int], **kwargs: Any) -> Tensor:
    """(pos, d_vocab) float32 logits of one text."""
    found: Tensor = model(input_ids=torch.tensor([list(ids)]), **kwargs).logits[0].float()
    return found


@torch.no_grad()
def generate(model: Any, ids: Sequence[int], n: int, **kwargs: Any) -> list[int]:
    """The new tokens that `generate` writes."""
    prompt = torch.tensor([list(ids)])
    kwargs = {"do_sample": False, **kwargs}
    out = model.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=n, **kwargs)
    return [int(i) for i in out[0, len(ids) :]]
