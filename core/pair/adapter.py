"""Reads a PEFT LoRA adapter onto a base model, as gated layers.

PEFT itself parses the adapter (rank and alpha patterns, rsLoRA, biases); what it built is then taken over into
`GatedLinear` layers and PEFT's wrappers are removed. Kinds of adapter that gates cannot express are refused by
name. Knows PEFT; knows nothing about prompts or numbers.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import AdapterError, PairUnavailableError
from core.pair.gated_linear import GatedLinear, LowRankChange
from core.pair.gates import PROJECTIONS

WEIGHTS = "adapter_model.safetensors"
_PLACE = re.compile(r"(?:^|\.)layers\.(\d+)\.(?:self_attn|mlp)\.(\w+)$")
_KEY = re.compile(r"^base_model\.model\.(.+?)\.(?:lora_|base_layer\.)")

# Settings of a LoRA configuration that change what is computed in a way gates do not cover.
_REFUSED = {
    "use_dora": "DoRA",
    "modules_to_save": "whole saved modules",
    "trainable_token_indices": "trained token embeddings",
    "layer_replication": "layer replication",
    "target_parameters": "LoRA on bare parameters",
    "use_qalora": "QA-LoRA",
    "use_bdlora": "block-diagonal LoRA",
    "alora_invocation_tokens": "activated LoRA",
    "arrow_config": "Arrow routing",
    "kasa_config": "KaSA",
    "velora_config": "VeLoRA",
    "monteclora_config": "MonteCLoRA",
    "megatron_config": "Megatron layers",
    "fan_in_fan_out": "transposed (fan-in, fan-out) weights",
}


@dataclass(frozen=True)
class AdapterModules:
    """What an adapter's files say and what of it met the model.

    Attributes:
        hit: modules of the adapter that exist in the model and were loaded.
        targeted: modules the adapter names, in its configuration or its weights.
        zero: whether no module changes anything.
        recorded_base: the base the adapter says it was trained on; empty where it says nothing.
    """

    hit: int
    targeted: int
    zero: bool
    recorded_base: str


def install_adapter_(model: nn.Module, folder: Path) -> AdapterModules:
    """Puts an adapter's changes into `model` as gated layers, in place.

    Args:
        model: a causal language model whose base weights stay as they are.
        folder: a PEFT adapter with `adapter_config.json` and `adapter_model.safetensors`.

    Raises:
        PairUnavailableError: the folder holds no adapter.
        AdapterError: it is not a LoRA, is of a refused kind, or does not fit the model.
    """
    from peft import PeftModel
    from safetensors import SafetensorError, safe_open

    config = _read_config(folder)
    biases = {name: p.detach().clone() for name, p in model.named_parameters() if name.endswith(".bias")}
    try:
        with safe_open(folder / WEIGHTS, "pt") as weights:
            in_file = {match[1] for key in weights.keys() if "lora_A" in key and (match := _KEY.match(key))}  # noqa: SIM118
        wrapped = PeftModel.from_pretrained(model, str(folder), is_trainable=False, autocast_adapter_dtype=False)
    except (SafetensorError, RuntimeError, ValueError) as error:
        detail = str(error).strip().splitlines()
        raise AdapterError(
            f"The adapter in {folder.name} does not fit this base model: {' '.join(detail[:2])[:300]}",
            "Check that adapter and base belong together.",
        ) from error
    injected = dict(_lora_layers(wrapped.base_model.model))
    changes = {name: _change(name, layer) for name, layer in injected.items()}
    wrapped.unload()
    for name, bias_change in _restore_biases_(model, biases).items():
        changes[name] = _with_bias(changes.get(name), model.get_submodule(name), bias_change)
    for name, change in changes.items():
        _install_(model, name, change)
    return AdapterModules(
        hit=len(in_file & set(injected)),
        targeted=len(in_file | set(injected)),
        zero=all(change.is_zero() for change in changes.values()),
        recorded_base=str(config.base_model_name_or_path or ""),
    )


def _read_config(folder: Path) -> Any:
    from peft import PeftConfig

    if not (folder / "adapter_config.json").is_file():
        if (folder / "config.json").is_file():
            raise AdapterError(
                f"{folder.name} is a full checkpoint, not an adapter.", "Full checkpoints are not supported yet."
            )
        raise PairUnavailableError(f"{folder} holds no adapter_config.json.", "Give a PEFT adapter's folder.")
    if not (folder / WEIGHTS).is_file():
        raise PairUnavailableError(
            f"{folder} holds no {WEIGHTS}.", "Only safetensors are loaded; save the adapter again with peft."
        )
    try:
        config = PeftConfig.from_pretrained(str(folder))
    except (ValueError, TypeError, KeyError) as error:
        raise AdapterError(f"{folder.name}/adapter_config.json cannot be read: {error}.", "Check the file.") from error
    kind = str(getattr(config.peft_type, "value", config.peft_type))
    if kind != "LORA":
        raise AdapterError(f"{folder.name} is a {kind} adapter.", "Only LoRA adapters are supported.")
    for setting, words in _REFUSED.items():
        if getattr(config, setting, None):
            raise AdapterError(f"{folder.name} uses {words} ({setting}).", "This kind of adapter is not supported yet.")
    return config


def _lora_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    from peft.tuners.lora import LoraLayer

    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            yield name, module


def _change(name: str, layer: Any) -> LowRankChange:
    """The low-rank change of one layer that PEFT built."""
    adapter = layer.active_adapters[0]
    if not isinstance(layer.get_base_layer(), nn.Linear) or layer.lora_variant:
        raise AdapterError(
            f"The adapter changes {name}, a {type(layer.get_base_layer()).__name__} or a LoRA variant.",
            "Only plain LoRA on linear layers is supported.",
        )
    up = layer.lora_B[adapter]
    scaling = float(layer.scaling[adapter])
    bias = None if up.bias is None else up.bias.detach().float() * scaling
    return LowRankChange(
        down=layer.lora_A[adapter].weight.detach().float(),
        up=up.weight.detach().float().T.contiguous().T,  # as products of few rows read it
        scaling=scaling,
        bias=bias,
    )


def _restore_biases_(model: nn.Module, biases: dict[str, Tensor]) -> dict[str, Tensor]:
    """Puts the base's biases back and returns what the adapter had made of them, by module, where it changed any."""
    changed: dict[str, Tensor] = {}
    parameters = dict(model.named_parameters())
    for name, before in biases.items():
        now = parameters[name].data
        if not torch.equal(now, before):
            changed[name.removesuffix(".bias")] = now.float() - before.float()
            parameters[name].data = before
    return changed


def _with_bias(change: LowRankChange | None, module: nn.Module, bias: Tensor) -> LowRankChange:
    if change is None:
        if not isinstance(module, nn.Linear):
            raise AdapterError(f"The adapter changes the bias of a {type(module).__name__}.", "Not supported yet.")
        change = LowRankChange(bias.new_zeros(1, module.in_features), bias.new_zeros(len(bias), 1), 1.0, None)
    return LowRankChange(change.down, change.up, change.scaling, bias if change.bias is None else change.bias + bias)


def _install_(model: nn.Module, name: str, change: LowRankChange) -> None:
    place = _PLACE.search(name)
    if not place or place[2] not in PROJECTIONS:
        raise AdapterError(
            f"The adapter changes {name}, which lies outside the layers' projections.",
            f"Supported: {', '.join(PROJECTIONS)} of each layer.",
        )
    parent = model.get_submodule(name.rpartition(".")[0])
    base = model.get_submodule(name)
    assert isinstance(base, nn.Linear)
    setattr(parent, place[2], GatedLinear(base, change, int(place[1]), PROJECTIONS.index(place[2])))
