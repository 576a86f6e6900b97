"""Activation patches between rows of one batch: what one row computed at a place, put into another row's run.

Patches are data, bound around one forward call by `bound_patches` and read by hooks that `install_taps_` puts on the
layers once; nothing is kept. Every position of the call is patched, so a patch handed to every call of a decoding row
reaches every position there is. Knows rows, sites and layers; knows nothing of gates, texts or numbers.

Source: interchange interventions (Vig et al. 2020; Meng et al. 2022); site names as in TransformerLens.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from core.errors import ArgumentError, ShapeError

SITES = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
WHOLE_RESIDUAL = SITES[:3]

# By site and layer: row → the row whose activation it gets.
_Donors = Mapping[tuple[str, int], Mapping[int, int]]
_bound: ContextVar[_Donors | None] = ContextVar("patches", default=None)


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


@contextmanager
def bound_patches(patches: Sequence[RowPatch]) -> Iterator[None]:
    """Binds patches for the forward call inside, in place of any bound outside; must not enclose a caller's `yield`.

    Several patches at one place are carried out at once: each donor is read before any recipient is written.
    """
    donors: dict[tuple[str, int], dict[int, int]] = {}
    for patch in patches:
        for layer in patch.layers:
            donors.setdefault((patch.site, layer), {})[patch.recipient] = patch.donor
    token = _bound.set(donors or None)
    try:
        yield
    finally:
        _bound.reset(token)


def install_taps_(model: Any) -> None:
    """Puts hooks on every layer that carry out the patches bound, once and for good.

    Without patches they hand everything on as it is. They know their layer by its number and never the module, so a
    twin that copies the modules has them too.

    Args:
        model: a causal language model whose layers take the residual stream as their first argument, return it as a
            tensor, and norm it between attention and MLP by `post_attention_layernorm`.
    """
    for number, layer in enumerate(model.model.layers):
        layer.register_forward_pre_hook(partial(_before_layer, number))
        layer.self_attn.register_forward_hook(partial(_after_attention, number))
        layer.post_attention_layernorm.register_forward_pre_hook(partial(_between, number))
        layer.mlp.register_forward_hook(partial(_after, "mlp_out", number))
        layer.register_forward_hook(partial(_after, "resid_post", number))


def _before_layer(layer: int, _: Any, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
    donors = _donors("resid_pre", layer)
    return None if donors is None else (_patched(given[0], donors), *given[1:])


def _after_attention(layer: int, _module: Any, _given: Any, output: tuple[Any, ...]) -> tuple[Any, ...] | None:
    donors = _donors("attn_out", layer)
    return None if donors is None else (_patched(output[0], donors), *output[1:])


def _between(layer: int, _: Any, given: tuple[Any, ...]) -> None:
    """Writes into the sum itself: the layer has kept this very tensor as the residual stream to add the MLP to.

    Handing the norm another tensor would patch what the MLP reads and not what it is added to.
    """
    donors = _donors("resid_mid", layer)
    if donors is not None:
        given[0].copy_(_patched(given[0], donors))


def _after(site: str, layer: int, _module: Any, _given: Any, output: Tensor) -> Tensor | None:
    donors = _donors(site, layer)
    return None if donors is None else _patched(output, donors)


def _donors(site: str, layer: int) -> Mapping[int, int] | None:
    bound = _bound.get()
    return None if bound is None else bound.get((site, layer))


def _patched(states: Tensor, donors: Mapping[int, int]) -> Tensor:
    """A copy of (rows, pos, d_model) in which some rows are others' rows."""
    changed = states.clone()
    for recipient, donor in donors.items():
        changed[recipient] = states[donor]
    return changed
