"""The same hybrids and patches from plain transformers, nnsight and TransformerLens: one forward pass each.

What a person would write who has one of these and no Graft. nnsight and TransformerLens are no dependencies: where one
is not installed, its place is taken by a sentence that says so. Knows models and logits; takes no times.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

Singles = Callable[[Sequence[int], Tensor, Sequence[int]], Iterator[Tensor]]
"""Ids, positions and layers → (positions, d_vocab) of base with one layer grafted, for each of these layers."""
Patched = Callable[[Sequence[int], Tensor, int, int, Tensor], Tensor]
"""Ids, positions, layer, position patched, donor's (1, pos, d_model) there → (positions, d_vocab)."""


@dataclass(frozen=True)
class Alternative:
    """One way to get the numbers without Graft.

    Attributes:
        singles: hybrids of one layer.
        patched: one patch of `resid_post`; None where it is not compared.
    """

    singles: Singles
    patched: Patched | None = None


@dataclass(frozen=True)
class Alternatives:
    """Everything Graft is held against.

    Attributes:
        base, tuned: plain transformers models, the adapter merged into `tuned`; never changed while not in use.
        found: name → how it is done there.
        missing: name → why it is not here.
    """

    base: Any
    tuned: Any
    found: dict[str, Alternative]
    missing: dict[str, str]

    @torch.no_grad()
    def donor_states(self, ids: Sequence[int]) -> list[Tensor]:
        """`resid_post` of each layer of `tuned`, (1, pos, d_model)."""
        kept: list[Tensor] = []
        layers = self.tuned.model.layers
        handles = [layer.register_forward_hook(lambda _, __, output: kept.append(output)) for layer in layers]
        self.tuned.model(input_ids=torch.tensor([list(ids)]), use_cache=False)
        for handle in handles:
            handle.remove()
        return kept


def alternatives(base_folder: Path, adapter_folder: Path) -> Alternatives:
    """Loads base and merged model, and base once more for each tool, since the tools change the modules they wrap."""
    from peft import PeftModel

    base = plain(base_folder)
    tuned: Any = PeftModel.from_pretrained(plain(base_folder), str(adapter_folder)).merge_and_unload().eval()
    layers = list(tuned.model.layers)
    found = {"transformers": Alternative(*_by_transformers(base, layers))}
    missing = {}
    for package, add in (("nnsight", _by_nnsight), ("transformer_lens", _by_transformer_lens)):
        if find_spec(package):
            found |= add(base_folder, layers)
        else:
            missing[package] = f"{package} is not installed"
    return Alternatives(base, tuned, found, missing)


def plain(folder: Path) -> Any:
    """A folder's model in float32, by transformers alone."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@torch.no_grad()
def plain_logits(model: Any, ids: Sequence[int], keep: Tensor) -> Tensor:
    """(positions, d_vocab) of one plain forward pass; only these positions are unembedded."""
    found: Tensor = model(input_ids=torch.tensor([list(ids)]), use_cache=False, logits_to_keep=keep).logits[0]
    return found


def _by_transformers(base: Any, merged: Sequence[Any]) -> tuple[Singles, Patched]:
    """A forward pass with one layer module swapped for the merged one; a forward pass with a hook."""

    def singles(ids: Sequence[int], keep: Tensor, layers: Sequence[int]) -> Iterator[Tensor]:
        for number in layers:
            own, base.model.layers[number] = base.model.layers[number], merged[number]
            logits = plain_logits(base, ids, keep)
            base.model.layers[number] = own
            yield logits

    def patched(ids: Sequence[int], keep: Tensor, layer: int, position: int, donor: Tensor) -> Tensor:
        def put(_: Any, __: Any, states: Tensor) -> Tensor:
            states[:, position] = donor[:, position]
            return states

        handle = base.model.layers[layer].register_forward_hook(put)
        logits = plain_logits(base, ids, keep)
        handle.remove()
        return logits

    return singles, patched


def _by_nnsight(folder: Path, merged: Sequence[Any]) -> dict[str, Alternative]:
    """A trace a plan with the layer's weights exchanged; or one trace whose invokes each run one merged layer."""
    from nnsight import LanguageModel  # type: ignore[import-not-found,unused-ignore]
    from transformers import AutoTokenizer

    own = plain(folder)
    model = LanguageModel(own, tokenizer=AutoTokenizer.from_pretrained(folder))

    @torch.no_grad()
    def traces(ids: Sequence[int], keep: Tensor, layers: Sequence[int]) -> Iterator[Tensor]:
        tokens = torch.tensor([list(ids)])
        for number in layers:
            swapped = _exchanged(own.model.layers[number], merged[number])
            with swapped, model.trace(tokens, use_cache=False, logits_to_keep=keep):
                logits = model.lm_head.output[0].save()
            yield logits

    @torch.no_grad()
    def invokes(ids: Sequence[int], keep: Tensor, layers: Sequence[int]) -> Iterator[Tensor]:
        tokens = torch.tensor([list(ids)])
        with model.trace(use_cache=False, logits_to_keep=keep) as tracer:
            rows = [].save()  # type: ignore[attr-defined]
            for number in layers:
                with tracer.invoke(tokens):
                    positional, named = model.model.layers[number].inputs
                    model.model.layers[number].output = merged[number](*positional, **named)
                    rows.append(model.lm_head.output[0])
        yield from rows

    return {"nnsight, a trace a plan": Alternative(traces), "nnsight, all plans in one trace": Alternative(invokes)}


def _by_transformer_lens(folder: Path, merged: Sequence[Any]) -> dict[str, Alternative]:
    """TransformerBridge, the successor of HookedTransformer, with the weights of one block exchanged; and its hooks."""
    from transformer_lens.model_bridge import TransformerBridge  # type: ignore[import-not-found,unused-ignore]

    bridge: Any = TransformerBridge.boot_transformers(str(folder), device="cpu", dtype=torch.float32)
    blocks = bridge.original_model.model.layers

    @torch.no_grad()
    def run(ids: Sequence[int], keep: Tensor, hooks: list[Any]) -> Tensor:
        tokens = torch.tensor([list(ids)])
        settings = {"return_type": "logits", "use_cache": False, "logits_to_keep": keep}
        logits: Tensor = bridge.run_with_hooks(tokens, fwd_hooks=hooks, **settings)[0]
        return logits

    def singles(ids: Sequence[int], keep: Tensor, layers: Sequence[int]) -> Iterator[Tensor]:
        for number in layers:
            with _exchanged(blocks[number], merged[number]):
                logits = run(ids, keep, [])
            yield logits

    def patched(ids: Sequence[int], keep: Tensor, layer: int, position: int, donor: Tensor) -> Tensor:
        def put(states: Tensor, hook: Any) -> Tensor:
            states[:, position] = donor[:, position]
            return states

        return run(ids, keep, [(f"blocks.{layer}.hook_resid_post", put)])

    return {"transformer_lens": Alternative(singles, patched)}


@contextmanager
def _exchanged(layer: Any, merged: Any) -> Iterator[None]:
    """The merged layer's weights in a wrapped one, by reference: nothing is copied."""
    wanted = dict(merged.named_parameters())
    own = {name: parameter.data for name, parameter in layer.named_parameters()}
    try:
        for name, parameter in layer.named_parameters():
            parameter.data = wanted[name.replace("_original_component.", "")].data
        yield
    finally:
        for name, parameter in layer.named_parameters():
            parameter.data = own[name]
