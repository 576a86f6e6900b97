"""Grafts, patches, gradients and states on a CUDA device: the figures of the CPU."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from core.intervene.attributed import attributed_grid
from core.intervene.attribution import attribute_contrast
from core.intervene.checks import checks
from core.intervene.grid import grid
from core.intervene.integrated import integrate_k, slope_of_k
from core.intervene.mixer import Mixer
from core.intervene.patch import SITES
from core.intervene.plans import KINDS, sweep_plans
from core.intervene.random_adapter import random_adapter
from core.intervene.recovery import sweep
from core.intervene.search import SearchSettings, search
from core.intervene.set_function import SetFunction
from core.intervene.sets import units_of
from core.intervene.shapley import draw_permutations, shapley_shares
from core.intervene.why import layer_effects, why
from core.measure.lens import lens
from core.measure.weights import weight_changes, with_data
from core.measure.weights_on_data import norms_on_data
from core.pair.gated_linear import GatedLinear
from core.pair.gates import DIRECTIONS
from core.pair.pair import Pair
from tests.gpu.near import GPU, assert_near
from tests.intervene.test_search import scored

pytestmark = GPU
Measure = Callable[[Pair, tuple[int, ...], list[int]], Any]


def _mixed(pair: Pair, ids: tuple[int, ...], predicted: list[int]) -> Any:
    mixer = Mixer(pair, ids, predicted)
    return [mixer.mix(plan, plan.gates(pair.n_layers)) for plan in sweep_plans("window", pair.n_layers)]


def _shares(pair: Pair, ids: tuple[int, ...], predicted: list[int]) -> Any:
    units = units_of(pair.n_layers, "part")
    return shapley_shares(SetFunction(pair, ids, predicted), units, draw_permutations(len(units), 6, seed=2))


def _questioned(pair: Pair, ids: tuple[int, ...], predicted: list[int]) -> Any:
    return why(pair, ids, predicted[0]), layer_effects(pair, ids, predicted[0])


MEASURES: dict[str, Measure] = {
    **{
        f"sweep, {kind}, {direction}": lambda pair, ids, predicted, kind=kind, direction=direction: sweep(
            pair, ids, predicted, sweep_plans(kind, pair.n_layers, "each", direction)
        )
        for kind in KINDS
        for direction in DIRECTIONS
    },
    **{
        f"grid, {site}, {direction}": lambda pair, ids, predicted, site=site, direction=direction: grid(
            pair, ids, predicted, site, range(pair.n_layers), range(len(ids)), direction
        )
        for site in SITES
        for direction in DIRECTIONS
    },
    "grid with attributions": lambda pair, ids, predicted: attributed_grid(
        pair, ids, predicted, "mlp_out", range(pair.n_layers), range(len(ids))
    ),
    "mixer": _mixed,
    "slope of K": lambda pair, ids, predicted: slope_of_k(pair, ids, predicted),
    "integrated gradients": lambda pair, ids, predicted: vars(integrate_k(pair, ids, predicted)),
    "gradient of one contrast": lambda pair, ids, predicted: attribute_contrast(pair, ids, predicted[0], 5, 9),
    "Shapley shares": _shares,
    "smallest sets": lambda pair, ids, predicted: search(
        pair, ids, predicted, SearchSettings(random_sets=3, random_adapters=2)
    ),
    "one token questioned": _questioned,
    "lens and drift": lens,
    "weights": lambda pair, ids, predicted: with_data(weight_changes(pair), norms_on_data(pair, ids)),
    "random adapter": lambda pair, ids, predicted: sweep(
        random_adapter(pair, 4), ids, predicted, sweep_plans("single", pair.n_layers)
    ),
}


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_figures_are_those_of_the_cpu(pair: Pair, on_gpu: Pair, measure: Measure) -> None:
    assert_near(*(measure(own, *scored(pair)) for own in (pair, on_gpu)))


def test_a_seed_gives_the_same_random_adapter_on_both_devices(pair: Pair, on_gpu: Pair) -> None:
    here, there = (
        [module for module in random_adapter(own, 4).model.modules() if isinstance(module, GatedLinear)]
        for own in (pair, on_gpu)
    )
    for mine, theirs in zip(here, there, strict=True):
        assert torch.equal(mine.down, theirs.down.cpu())
        assert torch.equal(mine.up, theirs.up.cpu())


def test_what_everything_rests_on_holds_on_the_device(on_gpu: Pair) -> None:
    found = checks(on_gpu, *scored(on_gpu))
    assert [check for check in found if not check.holds] == []
