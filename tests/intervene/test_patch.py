"""Patches at chosen positions against forward hooks on plain models, and what they must equal among themselves."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from core.errors import ArgumentError
from core.intervene.patch import SITES, patched_hidden
from core.pair.gates import DIRECTIONS, Gates, hybrid_gates
from core.pair.pair import Pair
from tests.intervene.hooks import PlainPair, plain_pair
from tests.intervene.test_walk import text_ids

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def plain(pair: Pair) -> PlainPair:
    return plain_pair(pair)


def under(pair: Pair, ids: tuple[int, ...], gates: Gates) -> Tensor:
    with torch.no_grad():
        return pair.hidden(pair.ids([ids]), gates)[0]


def logp(logits: Tensor) -> Tensor:
    return logits.double().log_softmax(-1)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("site", SITES)
def test_a_patch_is_what_hooks_on_plain_models_make_of_it(
    pair: Pair, plain: PlainPair, site: str, direction: str
) -> None:
    ids = text_ids(pair)
    for layer in range(pair.n_layers):
        for positions in ([0], [7], [3, 4, len(ids) - 2], list(range(len(ids)))):
            found = pair.unembed(patched_hidden(pair, ids, site, layer, positions, direction))
            expected = plain.patched(ids, site, layer, positions, direction)
            assert (logp(found) - logp(expected)).abs().max() <= TOLERANCE


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_whole_residual_at_all_positions_is_a_graft_of_everything_below(pair: Pair, direction: str) -> None:
    ids = text_ids(pair)
    everywhere = range(len(ids))
    for layer in range(pair.n_layers):
        prefix = hybrid_gates(pair.n_layers, f"0-{layer}", "both", 1.0, direction)
        found = patched_hidden(pair, ids, "resid_post", layer, everywhere, direction)
        assert (found - under(pair, ids, prefix)).abs().max() <= TOLERANCE
        below = Gates.graft(pair.n_layers, range(layer)).values + Gates.graft(pair.n_layers, [layer], "attn").values
        middle = Gates(below if direction == DIRECTIONS[0] else 1 - below)
        found = patched_hidden(pair, ids, "resid_mid", layer, everywhere, direction)
        assert (found - under(pair, ids, middle)).abs().max() <= TOLERANCE


def test_a_patch_of_some_positions_is_no_graft(pair: Pair) -> None:
    ids = text_ids(pair)
    found = patched_hidden(pair, ids, "resid_post", 2, range(5, len(ids)))
    assert (found - under(pair, ids, Gates.graft(pair.n_layers, range(3)))).abs().max() > 0.1


def test_nothing_before_the_patch_moves(pair: Pair) -> None:
    ids = text_ids(pair)
    found = patched_hidden(pair, ids, "mlp_out", 1, [6])
    base = under(pair, ids, pair.base_gates())
    assert (found[:6] - base[:6]).abs().max() <= TOLERANCE
    assert all((found[k] - base[k]).abs().max() > TOLERANCE for k in range(6, len(ids)))


@pytest.mark.parametrize("site", SITES)
def test_a_donor_that_is_the_recipient_changes_nothing(
    load_with: Callable[..., Pair], llama_base: Path, site: str
) -> None:
    same = load_with(llama_base, zero=True)
    ids = text_ids(same)
    found = patched_hidden(same, ids, site, 1, [2, 5])
    assert (found - under(same, ids, same.base_gates())).abs().max() <= TOLERANCE


@pytest.mark.parametrize(
    ("site", "layer", "position", "direction", "says"),
    [
        ("resid", 0, 0, DIRECTIONS[0], "no site 'resid'"),
        ("attn_out", 4, 0, DIRECTIONS[0], "Layer 4 does not exist"),
        ("attn_out", -1, 0, DIRECTIONS[0], "Layer -1 does not exist"),
        ("attn_out", 0, 10_000, DIRECTIONS[0], "Position 10000 does not exist"),
        ("attn_out", 0, -1, DIRECTIONS[0], "Position -1 does not exist"),
        ("attn_out", 0, 0, "sideways", "no direction 'sideways'"),
    ],
)
def test_a_patch_that_makes_no_sense_is_refused(
    pair: Pair, site: str, layer: int, position: int, direction: str, says: str
) -> None:
    with pytest.raises(ArgumentError, match=says):
        patched_hidden(pair, text_ids(pair), site, layer, [position], direction)
