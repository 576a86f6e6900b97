"""Opens a base model folder with transformers.

Knows files, dtypes and devices; knows nothing about adapters or gates.
"""

from pathlib import Path
from typing import Any

import torch

from core.errors import ArgumentError, DeviceMemoryError, PairUnavailableError


def load_base(folder: Path, device: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """Model in evaluation mode and tokenizer of a folder; safetensors only, no remote code.

    Raises:
        PairUnavailableError: the folder does not hold a loadable causal language model.
        ArgumentError: the device does not exist here.
        DeviceMemoryError: the weights do not fit.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    from core.pair.attention import NAME as ATTENTION

    logging.disable_progress_bar()
    check_device(device)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, trust_remote_code=False, attn_implementation="sdpa"
        )
        if torch.device(device).type == "cpu":
            model.set_attn_implementation(ATTENTION)
        return model.to(device).eval(), tokenizer
    except torch.OutOfMemoryError as error:
        raise DeviceMemoryError(
            f"The weights in {folder.name} do not fit on {device}.", "Use another device."
        ) from error
    except (OSError, ValueError) as error:
        raise PairUnavailableError(
            f"{folder} cannot be loaded: {str(error).splitlines()[0]}", "Give a folder saved by transformers."
        ) from error


def check_device(device: str) -> None:
    """Raises `ArgumentError` unless torch can use `device` here."""
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ArgumentError(f"{device!r} is not a device.", "Use cpu, cuda or cuda:N.") from error
    if kind not in ("cpu", "cuda"):
        raise ArgumentError(f"Models do not run on {device!r} here.", "Use cpu, cuda or cuda:N.")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ArgumentError("There is no CUDA device on this machine.", "Use --device cpu.")
    if kind == "cuda" and (torch.device(device).index or 0) >= torch.cuda.device_count():
        raise ArgumentError(f"There is no {device} on this machine.", f"It has {torch.cuda.device_count()} of them.")


def slow_dtype(device: str, dtype: str) -> str:
    """A sentence for whoever computes in half precision on a processor without units for it; else nothing."""
    if torch.device(device).type != "cpu" or dtype == "float32":
        return ""
    supported = {"bfloat16": "_is_mkldnn_bf16_supported", "float16": "_is_mkldnn_fp16_supported"}[dtype]
    has_units = getattr(torch.ops.mkldnn, supported, None)
    if has_units is None or has_units():
        return ""
    return f"This processor has no units for {dtype}: it reads texts several times as slowly as in float32."


def end_of_turn_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """The ids that end a turn: the tokenizer's, which chat templates write, then the generation settings'."""
    configured = model.generation_config.eos_token_id
    ids = list(configured) if isinstance(configured, list | tuple) else [configured]
    found = [i for i in dict.fromkeys([tokenizer.eos_token_id, *ids]) if i is not None]
    if not found:
        raise PairUnavailableError("Neither model nor tokenizer names an end-of-turn token.", "Set eos_token_id.")
    return tuple(found)
