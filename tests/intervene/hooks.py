"""Patches by forward hooks on plain transformers models, one forward pass a patch: slow, and nothing of Graft's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.pair.pair import Pair
from tests import oracle


@dataclass(frozen=True)
class PlainPair:
    """Base and tuned as plain models."""

    base: Any
    tuned: Any

    def ends(self, direction: str) -> tuple[Any, Any]:
        """Recipient and donor."""
        return (self.base, self.tuned) if direction == "tuned-into-base" else (self.tuned, self.base)

    def logits(self, ids: Sequence[int], direction: str) -> tuple[Tensor, Tensor]:
        """(pos, d_vocab) of recipient and donor."""
        recipient, donor = self.ends(direction)
        return oracle.logits(recipient, ids), oracle.logits(donor, ids)

    def patched(self, ids: Sequence[int], site: str, layer: int, positions: Sequence[int], direction: str) -> Tensor:
        """(pos, d_vocab) logits of the recipient with the donor's activation at some positions."""
        return self.patched_layers(ids, site, [layer], positions, direction)

    def patched_layers(
        self, ids: Sequence[int], site: str, layers: Sequence[int], positions: Sequence[int], direction: str
    ) -> Tensor:
        """As `patched`, with the donor's activations at several layers, all from its own run."""
        recipient, donor = self.ends(direction)
        copied: dict[int, list[Tensor]] = {layer: [] for layer in layers}
        handles = [_watch(_layers(donor)[layer], site, copied[layer]) for layer in layers]
        oracle.logits(donor, ids)
        for handle in handles:
            handle.remove()
        handles = []
        for layer in layers:
            handles += _replace(_layers(recipient)[layer], site, copied[layer][0], list(positions))
        found = oracle.logits(recipient, ids)
        for handle in handles:
            handle.remove()
        return found


def plain_pair(pair: Pair) -> PlainPair:
    """The same weights, loaded by transformers and peft alone."""
    base, tuned = pair.identity.base_path, pair.identity.tuned_path
    return PlainPair(oracle.plain_base(base), oracle.plain_tuned(base, tuned))


def kl(logits_p: Tensor, logits_q: Tensor) -> Tensor:
    """KL(P‖Q) by torch.distributions in float64."""
    p, q = (torch.distributions.Categorical(logits=logits.double()) for logits in (logits_p, logits_q))
    return torch.distributions.kl_divergence(p, q)


def _layers(model: Any) -> Any:
    return (model.base_model.model if hasattr(model, "peft_config") else model).model.layers


def _watch(layer: Any, site: str, kept: list[Tensor]) -> Any:
    if site == "resid_pre":
        return layer.register_forward_pre_hook(lambda _, arguments: kept.append(arguments[0]))
    if site == "resid_mid":
        return layer.post_attention_layernorm.register_forward_pre_hook(lambda _, arguments: kept.append(arguments[0]))
    if site == "attn_out":
        return layer.self_attn.register_forward_hook(lambda _, __, output: kept.append(output[0]))
    module = layer.mlp if site == "mlp_out" else layer
    return module.register_forward_hook(lambda _, __, output: kept.append(output))


def _put(states: Tensor, donor: Tensor, positions: list[int]) -> Tensor:
    changed = states.clone()
    changed[:, positions] = donor[:, positions]
    return changed


def _replace(layer: Any, site: str, donor: Tensor, positions: list[int]) -> list[Any]:
    if site == "resid_pre":
        return [layer.register_forward_pre_hook(lambda _, given: (_put(given[0], donor, positions), *given[1:]))]
    if site == "attn_out":
        return [layer.self_attn.register_forward_hook(lambda _, __, out: (_put(out[0], donor, positions), *out[1:]))]
    if site == "resid_mid":  # no module puts it out: attention adds what brings the residual there
        before: list[Tensor] = []
        return [
            layer.register_forward_pre_hook(lambda _, given: before.append(given[0])),
            layer.self_attn.register_forward_hook(
                lambda _, __, out: (_put(out[0], donor - before[-1], positions), *out[1:])
            ),
        ]
    module = layer.mlp if site == "mlp_out" else layer
    return [module.register_forward_hook(lambda _, __, out: _put(out, donor, positions))]
