"""Activation patching: what one model computed at a place, put into the other model's run on the same tokens.

A donor's activation at (site, layer, positions) replaces the recipient's; everything after is computed by the
recipient's weights. Knows two runs over one text; knows no figure.

Copying the whole residual stream of a layer at *all* positions is the same as grafting every layer up to it, so
"late layers carry it" is read off such patches whatever the models are. Patches of some positions, or of what one part
adds, say something of their own.

Source: interchange interventions (Vig et al. 2020; Meng et al. 2022); site names as in TransformerLens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.errors import ArgumentError
from core.pair.blocks import Blocks
from core.pair.gates import DIRECTIONS, Gates
from core.pair.pair import Pair
from core.pair.patches import SITES, WHOLE_RESIDUAL, check_site

__all__ = ["SITES", "WHOLE_RESIDUAL", "Trace", "check_site", "patched_hidden", "recipient_and_donor", "trace"]


@dataclass(frozen=True, eq=False)
class Trace:
    """The recipient's run, and what each patch makes of it.

    A patch at one position of layer l changes, of what enters the next layer, that position alone: attention mixes
    positions only further up. So every site comes down to one vector to put in, and `entries` holds it.

    Attributes:
        inputs: (n_layers + 1, pos, d_model): what enters each layer of the recipient, and what leaves the last.
        donor_output: (pos, d_model): what leaves the donor's last layer.
        keys, values: of each layer of the recipient, (1, heads, pos, d_head).
        entries: layer patched → (pos, d_model): what enters layer `joins[layer]` at each position patched there.
        joins: layer patched → the first layer to be run again; n_layers where none is.
    """

    inputs: Tensor
    donor_output: Tensor
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    entries: dict[int, Tensor]
    joins: dict[int, int]


def recipient_and_donor(pair: Pair, direction: str) -> tuple[Gates, Gates]:
    """Gates of the two runs, one row each.

    Raises:
        ArgumentError: there is no such direction.
    """
    if direction not in DIRECTIONS:
        raise ArgumentError(f"There is no direction {direction!r}.", f"Use {' or '.join(DIRECTIONS)}.")
    both = (pair.base_gates(), pair.tuned_gates())
    return both if direction == "tuned-into-base" else both[::-1]


@torch.no_grad()
def trace(pair: Pair, blocks: Blocks, site: str, layers: Sequence[int], direction: str = DIRECTIONS[0]) -> Trace:
    """Runs recipient and donor once, side by side.

    Args:
        pair: the models.
        blocks: their layers over the text.
        site: one of `SITES`.
        layers: the layers to patch.
        direction: `tuned-into-base`: tuned is the donor; or `base-into-tuned`.

    Raises:
        ArgumentError: site, layer or direction do not exist.
    """
    from transformers import DynamicCache

    check_site(site)
    beyond = [layer for layer in layers if not 0 <= layer < pair.n_layers]
    if beyond:
        raise ArgumentError(f"Layer {beyond[0]} does not exist.", f"The model has layers 0 to {pair.n_layers - 1}.")
    recipient, donor = recipient_and_donor(pair, direction)
    gates = Gates.stack([recipient, donor])
    cache: Any = DynamicCache()
    states = blocks.start().repeat(2, 1, 1)
    inputs = states.new_empty(pair.n_layers + 1, *states.shape[1:])
    entries: dict[int, Tensor] = {}
    for layer in range(pair.n_layers):
        inputs[layer] = states[0]
        attended = blocks.attention(layer, states, gates, cache)
        middle = states + attended
        added = blocks.mlp(layer, middle, gates)
        if layer in layers:
            here = {"resid_pre": states, "attn_out": attended, "resid_mid": middle, "mlp_out": added}
            entries[layer] = _entry(site, here | {"resid_post": middle + added}, blocks, layer, recipient)
        states = middle + added
    inputs[-1] = states[0]
    return Trace(
        inputs=inputs,
        donor_output=states[1],
        keys=tuple(kept.keys[:1] for kept in cache.layers),
        values=tuple(kept.values[:1] for kept in cache.layers),
        entries=entries,
        joins={layer: layer if site == "resid_pre" else layer + 1 for layer in entries},
    )


def _entry(site: str, here: dict[str, Tensor], blocks: Blocks, layer: int, recipient: Gates) -> Tensor:
    """What enters the next layer at each position patched; `here` holds recipient and donor, one under the other."""
    if site == "mlp_out":
        return here["resid_mid"][0] + here["mlp_out"][1]
    if site in ("resid_pre", "resid_post"):
        return here[site][1].clone()
    middle = here["resid_mid"][1:] if site == "resid_mid" else here["resid_pre"][:1] + here["attn_out"][1:]
    return (middle + blocks.mlp(layer, middle, recipient))[0]


@torch.no_grad()
def patched_hidden(
    pair: Pair, ids: Sequence[int], site: str, layer: int, positions: Sequence[int], direction: str = DIRECTIONS[0]
) -> Tensor:
    """Hidden states of the recipient with the donor's activations at some positions of one layer, all put in at once.

    Args:
        pair: the models.
        ids: the text both run on.
        site: one of `SITES`.
        layer: the layer patched.
        positions: indices of the tokens patched; all of them make a whole patch.
        direction: what is patched into what.

    Returns:
        (pos, d_model) after the recipient's final norm.

    Raises:
        ArgumentError: site, layer, a position or the direction do not exist.
    """
    beyond = [position for position in positions if not 0 <= position < len(ids)]
    if beyond:
        raise ArgumentError(f"Position {beyond[0]} does not exist.", f"The text has tokens 0 to {len(ids) - 1}.")
    blocks = Blocks(pair, ids)
    found = trace(pair, blocks, site, [layer], direction)
    recipient, _ = recipient_and_donor(pair, direction)
    states = found.inputs[found.joins[layer]].unsqueeze(0).clone()
    states[0, list(positions)] = found.entries[layer][list(positions)]
    for above in range(found.joins[layer], pair.n_layers):
        states = blocks.layer(above, states, recipient)
    return blocks.finish(states)[0]
