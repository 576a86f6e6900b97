"""Gradients along the gates: slopes that are slopes, attributions that add up, and how well they order cells."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from core.errors import ArgumentError, PromptError
from core.intervene.attributed import attributed_grid
from core.intervene.integrated import COMPLETE_WITHIN, integrate_k, slope_of_k
from core.pair.gates import DIRECTIONS, PROJECTIONS, Gates
from core.pair.pair import Pair
from core.pair.prompts import Message
from tests.intervene.hooks import kl
from tests.intervene.test_walk import text_ids


def k_under(pair: Pair, ids: tuple[int, ...], predicted: list[int], gates: Gates, donor: Gates) -> float:
    where = [index - 1 for index in predicted]
    with torch.no_grad():
        p, q = (pair.unembed(pair.hidden(pair.ids([ids]), g)[0, where]) for g in (donor, gates))
    return float(kl(p, q).mean())


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_slope_is_the_slope_of_k_at_each_layer_and_position(pair: Pair, direction: str) -> None:
    """Against a central difference along one gate at one position, at the middle of the way."""
    ids = text_ids(pair)
    predicted = [8, 12]
    found = slope_of_k(pair, ids, predicted, direction, at=0.5)
    assert found.shape == (pair.n_layers, len(PROJECTIONS), 12)
    donor, sign = (pair.tuned_gates(), 1) if direction == DIRECTIONS[0] else (pair.base_gates(), -1)
    step = 5e-3
    for layer, projection, pos in [(0, 2, 3), (1, 4, 7), (2, 0, 11), (2, 6, 11), (3, 3, 7), (3, 1, 2)]:
        ends = []
        for way in (1, -1):
            values = torch.full((1, pair.n_layers, len(PROJECTIONS), len(ids)), 0.5)
            values[0, layer, projection, pos] += way * sign * step
            ends.append(k_under(pair, ids, predicted, Gates(values), donor))
        expected = (ends[0] - ends[1]) / (2 * step)
        assert float(found[layer, projection, pos]) == pytest.approx(expected, rel=5e-2, abs=2e-3)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_with_enough_nodes_the_attributions_add_up_to_k(pair: Pair, direction: str) -> None:
    ids = text_ids(pair)
    predicted = list(range(len(ids) - 4, len(ids)))
    ends = (pair.base_gates(), pair.tuned_gates())
    recipient, donor = ends if direction == DIRECTIONS[0] else ends[::-1]
    found = integrate_k(pair, ids, predicted, direction, nodes=[64])
    k = k_under(pair, ids, predicted, recipient, donor)
    assert found.k_recipient == pytest.approx(k, abs=1e-4)
    assert found.k_donor == pytest.approx(0, abs=1e-6)
    assert float(found.values.sum()) == pytest.approx(-k, rel=5e-3)
    assert found.completeness_error == pytest.approx(abs(float(found.values.sum()) + k) / k, abs=1e-4)


def test_all_gates_open_the_slope_vanishes(pair: Pair) -> None:
    ids = text_ids(pair)
    closed, opened = (slope_of_k(pair, ids, [9], at=at).abs().max() for at in (0.0, 1.0))
    assert opened <= 1e-4 * closed


def test_what_did_not_change_gets_nothing(load_with: Callable[..., Pair], llama_base: Path) -> None:
    one = load_with(llama_base, target_modules=["gate_proj", "up_proj", "down_proj"], layers_to_transform=[2])
    ids = text_ids(one)
    found = integrate_k(one, ids, [len(ids) - 1])
    touched = found.values.abs().sum(-1) > 0
    assert touched.nonzero().tolist() == [[2, PROJECTIONS.index(name)] for name in PROJECTIONS[4:]]
    whole = float(found.at_site("mlp_out").sum())
    assert whole == pytest.approx(1, abs=0.05)
    sums = {site: found.at_site(site).sum(-1).tolist() for site in ("resid_pre", "resid_mid", "resid_post")}
    assert sums["resid_pre"] == pytest.approx([0, 0, 0, whole])
    assert sums["resid_mid"] == pytest.approx([0, 0, 0, whole])
    assert sums["resid_post"] == pytest.approx([0, 0, whole, whole])
    assert not found.at_site("attn_out").any()


def test_sites_of_the_residual_collect_what_lies_below(pair: Pair) -> None:
    ids = text_ids(pair)
    found = integrate_k(pair, ids, [len(ids) - 1, 7])
    attn, mlp = (found.at_site(site) for site in ("attn_out", "mlp_out"))
    pre, mid, post = (found.at_site(site) for site in ("resid_pre", "resid_mid", "resid_post"))
    assert torch.allclose(mid - pre, attn)
    assert torch.allclose(post - mid, mlp)
    assert torch.allclose(pre[1:], post[:-1])
    assert float(post[-1].sum()) == pytest.approx(-float(found.values.sum()) / found.k_recipient)
    with pytest.raises(ArgumentError, match="no site"):
        found.at_site("resid")


def test_it_costs_a_pass_there_and_back_a_node(pair: Pair) -> None:
    ids = text_ids(pair)
    before = pair.forwards
    shares: list[float] = []
    found = integrate_k(pair, ids, [9], nodes=[6], progress=shares.append)
    assert pair.forwards - before == 6 + 2
    assert (found.n_nodes, found.forwards_equivalent) == (6, 3 * 6 + 2)
    assert shares == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1])


def test_more_nodes_are_taken_only_where_fewer_miss_the_whole(pair: Pair) -> None:
    ids = text_ids(pair)
    coarse = integrate_k(pair, ids, [9], nodes=[2])
    assert coarse.completeness_error > COMPLETE_WITHIN
    before = pair.forwards
    refined = integrate_k(pair, ids, [9], nodes=[2, 64, 5])
    assert pair.forwards - before == 2 + 64 + 2
    assert (refined.n_nodes, refined.forwards_equivalent) == (64, 3 * 66 + 2)
    assert refined.completeness_error <= COMPLETE_WITHIN


def test_without_a_target_there_is_nothing_to_attribute(pair: Pair) -> None:
    with pytest.raises(PromptError, match="No token is left"):
        integrate_k(pair, text_ids(pair), [])


def test_quick_patches_a_few_cells_and_attributes_all_before_the_target(pair: Pair) -> None:
    ids = text_ids(pair)
    predicted = [len(ids) - 2]
    exact = attributed_grid(pair, ids, predicted, "mlp_out", range(4), range(len(ids)))
    quick = attributed_grid(pair, ids, predicted, "mlp_out", range(4), range(len(ids)), quick=True)
    inside = [cell for cell in exact.grid.cells if cell.k is not None]
    assert exact.n_compared == len(inside) == 4 * (len(ids) - 2)
    assert quick.n_compared == 4 * 8
    for one, other in zip(exact.grid.cells, quick.grid.cells, strict=True):
        assert one.attribution == other.attribution
        assert (one.attribution is None) == (one.pos >= len(ids) - 2)
        assert other.k is None or other.k == pytest.approx(one.k, abs=1e-5)
    assert quick.forwards_equivalent < exact.forwards_equivalent


@pytest.mark.slow
def test_on_the_demo_pair_attributions_add_up_and_order_cells(demo: Pair) -> None:
    prompt = demo.prompts.chat([Message(role="user", content="What are the symptoms of Marfan syndrome?")])
    ids = (*prompt.ids, *demo.prompts.answer_ids("Tall and slender, with long arms."))
    predicted = list(range(len(prompt.ids), len(ids)))
    for direction in DIRECTIONS:
        assert integrate_k(demo, ids, predicted, direction).completeness_error <= COMPLETE_WITHIN
    positions = range(len(prompt.ids) - 1, len(ids))
    quick = attributed_grid(demo, ids, predicted, "resid_post", range(demo.n_layers), positions, quick=True)
    assert quick.rank_correlation > 0.4
