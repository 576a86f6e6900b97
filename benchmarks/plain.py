"""Base, a hybrid of the upper third and the fine-tuned model by plain transformers and peft, to be held against ours.

Knows folders; knows nothing of gates.
"""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from core.pair.gates import thirds
from core.pair.pair import Pair


class Plain:
    """The three models, on the pair's device and in its number format.

    Args:
        pair: whose.
        merged: whether the adapter is added into weights of each model's own, or one model with peft's unmerged
            adapter is all three.
    """

    def __init__(self, pair: Pair, merged: bool) -> None:
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        folder, adapter = Path(pair.identity.base_path), Path(pair.identity.tuned_path)
        base: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, pair.dtype))
        base = base.to(pair.device).eval()
        base.generation_config.eos_token_id = None  # nothing ends early
        self._device, self._upper = pair.device, set(thirds(pair.n_layers)["upper"])
        if merged:
            self._models = {"base": base}
            for name in ("hybrid", "tuned"):
                own = PeftModel.from_pretrained(deepcopy(base), adapter, torch_device=pair.device)
                if name == "hybrid":
                    self._close_lower(own)
                self._models[name] = own.merge_and_unload().eval()
        else:
            self._tuned: Any = PeftModel.from_pretrained(base, adapter, torch_device=pair.device).eval()
        self._merged = merged

    def write(self, ids: tuple[int, ...], lane: str, n_new: int) -> list[int]:
        """One answer of so many tokens."""
        if self._merged:
            return self._generate(self._models[lane], ids, n_new)
        if lane == "base":
            with self._tuned.disable_adapter():
                return self._generate(self._tuned, ids, n_new)
        closed = self._close_lower(self._tuned) if lane == "hybrid" else []
        try:
            return self._generate(self._tuned, ids, n_new)
        finally:
            for layer, scaling in closed:
                layer.scaling["default"] = scaling

    @torch.no_grad()
    def base_rows(self, rows: Sequence[tuple[int, ...]], n_new: int) -> None:
        """Base's answers to several prompts, in one left-padded batch."""
        longest = max(map(len, rows))
        ids = torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows], device=self._device)
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=self._device)
        model = self._models["base"]
        model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=n_new, do_sample=False, pad_token_id=0)

    def _close_lower(self, model: Any) -> list[tuple[Any, float]]:
        closed = []
        for name, layer in model.named_modules():
            of_adapter = isinstance(getattr(layer, "scaling", None), dict)
            if of_adapter and int(name.split("layers.")[1].split(".")[0]) not in self._upper:
                closed.append((layer, layer.scaling["default"]))
                layer.scaling["default"] = 0.0
        return closed

    @torch.no_grad()
    def _generate(self, model: Any, ids: tuple[int, ...], n_new: int) -> list[int]:
        prompt = torch.tensor([ids], device=self._device)
        out = model.generate(
            input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=n_new,
            do_sample=False, pad_token_id=0,
        )  # fmt: skip
        return [int(token) for token in out[0, len(ids) :]]
