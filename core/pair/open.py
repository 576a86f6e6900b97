"""Loads a pair: base weights, adapter, tokenizer, and the check that the adapter is really on.

Knows the steps and their order; each step lives in its own file.
"""

from pathlib import Path
from typing import Any

import torch

from core.errors import ArgumentError, PairUnavailableError
from core.pair.adapter import WEIGHTS, AdapterModules, install_adapter_
from core.pair.fetch import local_folder
from core.pair.files import weights_sha256
from core.pair.gates import PROJECTIONS, Gates
from core.pair.load import check_device, end_of_turn_ids, load_base
from core.pair.pair import AdapterReport, Pair, PairIdentity
from core.pair.prompts import Message, PromptBuilder
from core.pair.registry import PairSpec, configured, pair_spec
from core.pair.routes import padded_prefill, prefill

PROBE = "A 60-year-old has chest pain that spreads to the left arm. What could it be, and what should be done first?"
_KNOWN_ARCHITECTURES = ("llama", "qwen2", "qwen3", "mistral")


def load_pair(pair: str | PairSpec = "demo", device: str = "cpu", dtype: str | None = None) -> Pair:
    """Base and fine-tuned model, once, on a device.

    Args:
        pair: a registered name, or a spec made by `spec_of`.
        device: `cpu`, `cuda` or `cuda:N`.
        dtype: `float32` or `bfloat16`; by default float32 on CPU, bfloat16 on CUDA.

    Raises:
        PairUnavailableError: the files are not here.
        AdapterError: the adapter does not fit or is of an unsupported kind.
        ArgumentError: no such pair, device or dtype, or an architecture without known layers.
    """
    spec = pair_spec(pair) if isinstance(pair, str) else pair
    check_device(device)
    chosen = dtype or default_dtype(device)
    if chosen not in ("float32", "bfloat16", "float16"):
        raise ArgumentError(f"There is no dtype {chosen!r}.", "Use float32, bfloat16 or float16.")
    identity = identify(spec)
    model, tokenizer = load_base(Path(identity.base_path), device, getattr(torch, chosen))
    _check_architecture(model)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    modules = install_adapter_(model, Path(identity.tuned_path))
    prompts = PromptBuilder(tokenizer, end_of_turn_ids(model, tokenizer), model.config.max_position_embeddings)
    loaded = Pair(spec, identity, model, prompts, device, chosen)
    loaded.adapter = _check_adapter(loaded, modules)
    return loaded


def default_dtype(device: str) -> str:
    """float32 on CPU, bfloat16 on CUDA."""
    return "bfloat16" if torch.device(device).type == "cuda" else "float32"


def identify(spec: PairSpec) -> PairIdentity:
    """Names, folders and hashes of a pair that is on this machine.

    Raises:
        PairUnavailableError: it is not.
    """
    base_folder, tuned_folder = local_folder(spec.base), local_folder(spec.tuned)
    return PairIdentity(
        base_id=spec.base.id,
        tuned_id=configured(spec.tuned).id if spec.tuned.setting else spec.tuned.id,
        base_path=str(base_folder),
        tuned_path=str(tuned_folder),
        base_sha256=weights_sha256(base_folder, "model.safetensors"),
        tuned_sha256=_tuned_hash(tuned_folder),
    )


def _tuned_hash(folder: Path) -> str:
    try:
        return weights_sha256(folder, WEIGHTS)
    except PairUnavailableError:
        return weights_sha256(folder, "model.safetensors")


def _check_architecture(model: Any) -> None:
    kind = model.config.model_type
    layers = getattr(getattr(model, "model", None), "layers", None)
    if kind not in _KNOWN_ARCHITECTURES or layers is None:
        raise ArgumentError(
            f"The architecture {kind!r} is not supported.", f"Known: {', '.join(_KNOWN_ARCHITECTURES)}."
        )
    names = {name.rpartition(".")[2] for name, m in layers[0].named_modules() if isinstance(m, torch.nn.Linear)}
    if names != set(PROJECTIONS):
        raise ArgumentError(f"The layers hold {sorted(names)}.", f"Expected {', '.join(PROJECTIONS)}.")


def _check_adapter(pair: Pair, modules: AdapterModules) -> AdapterReport:
    """Runs the probe text and collects what a person should be warned of."""
    prompts = pair.prompts
    prompt = prompts.chat([Message(role="user", content=PROBE)]) if prompts.template_sha256 else prompts.raw(PROBE)
    both = Gates.stack([pair.base_gates(), pair.tuned_gates()])
    base, tuned = pair.unembed(prefill(pair, prompt.ids, both))
    again = pair.unembed(padded_prefill(pair, prompt.ids, pair.base_gates()))[0]
    delta, noise = float((tuned - base).abs().max()), float((again - base).abs().max())
    warnings = []
    if modules.hit != modules.targeted:
        warnings.append(f"Only {modules.hit} of the {modules.targeted} modules the adapter names were loaded.")
    if modules.zero:
        warnings.append("Every change in the adapter is zero: base and fine-tuned model are the same.")
    elif not delta > noise:
        warnings.append(f"On the probe text the adapter moves no logit beyond numerical noise ({noise:.1g}).")
    if not _same_base(modules.recorded_base, pair):
        warnings.append(
            f"The adapter was trained on {modules.recorded_base!r}; it is used here on {pair.identity.base_id!r}."
        )
    return AdapterReport(modules.hit, modules.targeted, delta, noise, tuple(warnings))


def _same_base(recorded: str, pair: Pair) -> bool:
    """Whether the base an adapter records is this one, by full name, alias or folder name."""
    if not recorded:
        return True
    source = pair.spec.base
    names = {source.id, source.hub, source.path, pair.identity.base_path, *source.known_as} - {""}
    return recorded in names or Path(recorded).name in {Path(name).name for name in names}
