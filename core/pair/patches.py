"""Activation patches between rows of one batch: what one row computed at a place, put into another row's run.

Patches are data: hooks carry them out on layers of a second tree of modules, made for one call over the same
parameters. So the models are never changed, and a call without patches meets no hooks. Every position of the call is
patched, so a patch handed to every call of a decoding row reaches every position there is. Knows rows, sites and
layers; knows nothing of gates, texts or numbers.

Source: interchange interventions (Vig et al. 2020; Meng et al. 2022); site names as in TransformerLens.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from core.errors import ArgumentError, ShapeError
from core.pair.twin import with_replaced

SITES = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
WHOLE_RESIDUAL = SITES[:3]

_Donors = Mapping[int, int]  # row → the row whose activation it gets


@dataclass(frozen=True)
class RowPatch:
    """One row's activations copied into another row of the same batch.

    Both rows must read the same tokens in lockstep, equally padded; that is the caller's to keep.

    Attributes:
        site: one of `SITES`.
        layers: the layers patched. Of a whole residual only the highest matters: it replaces what came from below.
        recipient: number of the row written to.
        donor: number of the row read from, which this patch leaves as it is.
    """

    site: str
    layers: tuple[int, ...]
    recipient: int
    donor: int


def check_site(site: str) -> str:
    """The site, if it is one.

    Raises:
        ArgumentError: it is none of `SITES`.
    """
    if site not in SITES:
        raise ArgumentError(f"There is no site {site!r}.", f"Use one of {', '.join(SITES)}.")
    return site


def check_patches(patches: Sequence[RowPatch], n_layers: int, n_rows: int) -> None:
    """Refuses patches that a batch cannot carry out.

    Args:
        patches: to be bound together.
        n_layers: of the model.
        n_rows: of the batch.

    Raises:
        ArgumentError: a site or layer does not exist, or one place of a row would get two donors.
        ShapeError: a row does not exist, or is its own donor.
    """
    donors: dict[tuple[str, int, int], int] = {}
    for patch in patches:
        check_site(patch.site)
        for row in (patch.recipient, patch.donor):
            if not 0 <= row < n_rows:
                raise ShapeError(f"A patch names row {row}.", f"The batch has rows 0 to {n_rows - 1}.")
        if patch.recipient == patch.donor:
            raise ShapeError(f"A patch copies row {patch.donor} into itself.", "Name two different rows.")
        for layer in patch.layers:
            if not 0 <= layer < n_layers:
                raise ArgumentError(f"Layer {layer} does not exist.", f"The model has layers 0 to {n_layers - 1}.")
            first = donors.setdefault((patch.site, layer, patch.recipient), patch.donor)
            if first != patch.donor:
                raise ArgumentError(
                    f"Row {patch.recipient} would get {patch.site} of layer {layer} from row {first} and row "
                    f"{patch.donor}.",
                    "Give each place of a row one donor.",
                )


def with_patches(decoder: Any, patches: Sequence[RowPatch]) -> Any:
    """The decoder, or with patches a second tree over the same parameters that carries them out wherever it is called.

    Several patches at one place are carried out at once: each donor is read before any recipient is written.

    Args:
        decoder: of a causal language model, with layers that take the residual stream as their first argument, return
            it as a tensor, and norm it between attention and MLP by `post_attention_layernorm`.
        patches: as `check_patches` lets them pass.
    """
    if not patches:
        return decoder
    places: dict[int, dict[str, dict[int, int]]] = {}
    for patch in patches:
        for number in patch.layers:
            places.setdefault(number, {}).setdefault(patch.site, {})[patch.recipient] = patch.donor
    patched = {decoder.layers[number]: sites for number, sites in places.items()}
    kinds = tuple({type(layer) for layer in decoder.layers})
    return with_replaced(decoder, lambda layer: _patched(layer, patched[layer]) if layer in patched else layer, kinds)


def _patched(layer: Any, sites: Mapping[str, _Donors]) -> Any:
    own = _copied(layer)
    own._modules = dict(layer._modules)
    for site, donors in sites.items():
        name, is_before, hook = _HOOKS[site]
        if name:
            own._modules[name] = _copied(layer._modules[name])
        module = own.get_submodule(name)
        register = module.register_forward_pre_hook if is_before else module.register_forward_hook
        register(partial(hook, donors))
    return own


def _copied(module: Any) -> Any:
    """A module with hooks of its own and everything else in common."""
    own = copy.copy(module)
    own._forward_hooks = OrderedDict(module._forward_hooks)
    own._forward_pre_hooks = OrderedDict(module._forward_pre_hooks)
    return own


def _before_layer(donors: _Donors, _: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
    return _copied_rows(given[0], donors), *given[1:]


def _after_attention(donors: _Donors, _module: Any, _given: Any, output: tuple[Any, ...]) -> tuple[Any, ...]:
    return _copied_rows(output[0], donors), *output[1:]


def _between(donors: _Donors, _: Any, given: tuple[Any, ...]) -> None:
    """Writes into the sum itself: the layer has kept this very tensor as the residual stream to add the MLP to.

    Handing the norm another tensor would patch what the MLP reads and not what it is added to.
    """
    given[0].copy_(_copied_rows(given[0], donors))


def _after(donors: _Donors, _module: Any, _given: Any, output: Tensor) -> Tensor:
    return _copied_rows(output, donors)


def _copied_rows(states: Tensor, donors: _Donors) -> Tensor:
    """A copy of (rows, pos, d_model) in which some rows are others' rows."""
    changed = states.clone()
    for recipient, donor in donors.items():
        changed[recipient] = states[donor]
    return changed


# By site: which module of a layer ("" is the layer itself), whether before it runs, and how its rows are copied there.
_HOOKS: dict[str, tuple[str, bool, Callable[..., Any]]] = {
    "resid_pre": ("", True, _before_layer),
    "attn_out": ("self_attn", False, _after_attention),
    "resid_mid": ("post_attention_layernorm", True, _between),
    "mlp_out": ("mlp", False, _after),
    "resid_post": ("", False, _after),
}
