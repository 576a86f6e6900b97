"""Shapley shares: the formula over all sets, its properties, and errors that are as large as they say."""

from collections.abc import Callable
from itertools import combinations, permutations
from math import factorial
from pathlib import Path
from statistics import fmean, stdev

import pytest
import torch

from core.errors import ArgumentError
from core.intervene.set_function import SetFunction
from core.intervene.sets import Unit, units_of
from core.intervene.shapley import Share, draw_permutations, shapley_shares
from core.pair.pair import Pair
from tests.intervene.test_search import scored, set_function


@pytest.fixture(scope="module")
def function(pair: Pair) -> SetFunction:
    """One for all tests of a pair, so that each set is computed once."""
    return set_function(pair)


def by_formula(function: SetFunction, units: tuple[Unit, ...]) -> list[float]:
    """Σ over sets without the unit of |S|!(n−|S|−1)!/n! times what it adds to them."""
    n = len(units)
    shares = []
    for unit in units:
        others = [u for u in units if u != unit]
        sets = [own for size in range(n) for own in combinations(others, size)]
        added = zip(function.recovery([(*own, unit) for own in sets]), function.recovery(sets), strict=True)
        weights = [factorial(len(own)) * factorial(n - len(own) - 1) / factorial(n) for own in sets]
        shares.append(sum(w * (with_it - without) for w, (with_it, without) in zip(weights, added, strict=True)))
    return shares


def test_all_orders_give_the_formula(pair: Pair, function: SetFunction) -> None:
    units = units_of(pair.n_layers, "layer")
    found = shapley_shares(function, units, list(permutations(range(len(units)))))
    assert [share.share for share in found] == pytest.approx(by_formula(function, units), abs=1e-9)
    assert [(share.layer, share.part) for share in found] == [(unit.layer, unit.part) for unit in units]


def test_drawn_orders_come_near_the_formula(pair: Pair, function: SetFunction) -> None:
    units = units_of(pair.n_layers, "part")
    found = shapley_shares(function, units, draw_permutations(len(units), 400, seed=1))
    for share, exact in zip(found, by_formula(function, units), strict=True):
        assert share.se is not None
        assert abs(share.share - exact) <= 5 * share.se
    assert max(abs(share.share) for share in found) > 10 * max(share.se or 0 for share in found)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_shares_sum_to_the_recovery_of_all(pair: Pair, function: SetFunction, count: int) -> None:
    units = units_of(pair.n_layers, "part")
    found = shapley_shares(function, units, draw_permutations(len(units), count, seed=count))
    assert sum(share.share for share in found) == pytest.approx(1, abs=1e-12)
    some = units[1:5]
    found = shapley_shares(function, some, draw_permutations(len(some), count, seed=count))
    assert sum(share.share for share in found) == pytest.approx(function.recovery([some])[0], abs=1e-12)


def test_the_error_is_what_shares_vary_by_from_seed_to_seed(pair: Pair, function: SetFunction) -> None:
    units = units_of(pair.n_layers, "part")
    for count in (10, 11):  # 11: the last order has no reverse
        runs = [shapley_shares(function, units, draw_permutations(len(units), count, seed)) for seed in range(150)]
        for place in range(len(units)):
            spread = stdev(run[place].share for run in runs)
            claimed = fmean((run[place].se or 0) ** 2 for run in runs) ** 0.5
            assert claimed == pytest.approx(spread, rel=0.35)


def test_the_error_shrinks_with_the_root_of_the_permutations(pair: Pair, function: SetFunction) -> None:
    units = units_of(pair.n_layers, "part")

    def error(count: int) -> float:
        runs = [shapley_shares(function, units, draw_permutations(len(units), count, seed)) for seed in range(5)]
        return fmean((share.se or 0) ** 2 for run in runs for share in run) ** 0.5

    assert error(24 * 16) / error(24) == pytest.approx(1 / 4, rel=0.2)


def test_one_draw_has_no_error(pair: Pair, function: SetFunction) -> None:
    units = units_of(pair.n_layers, "layer")
    assert all(share.se is None for share in shapley_shares(function, units, draw_permutations(4, 2, 0)))
    assert all(share.se is not None for share in shapley_shares(function, units, draw_permutations(4, 3, 0)))


def test_a_part_without_a_change_has_no_share(qwen2_base: Path, load_with: Callable[..., Pair]) -> None:
    pair = load_with(qwen2_base, layers_to_transform=[1, 2], target_modules=["q_proj", "down_proj"])
    units = units_of(pair.n_layers, "projection")
    found = shapley_shares(SetFunction(pair, *scored(pair)), units, draw_permutations(len(units), 4, 0))
    changed = {(layer, part) for layer in (1, 2) for part in ("q", "down")}
    for share in found:
        if (share.layer, share.part) in changed:
            assert abs(share.share) > 1e-4
        else:
            assert share.share == pytest.approx(0, abs=1e-6)


def test_orders_come_with_their_reverse_from_a_generator_of_their_own() -> None:
    before = torch.get_rng_state()
    drawn = draw_permutations(7, 6, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert drawn[1::2] == tuple(order[::-1] for order in drawn[::2])
    assert all(sorted(order) == list(range(7)) for order in drawn)
    assert len(set(drawn)) == 6
    assert drawn == draw_permutations(7, 9, seed=3)[:6]
    assert drawn != draw_permutations(7, 6, seed=4)
    with pytest.raises(ArgumentError, match="0 permutations"):
        draw_permutations(7, 0, seed=3)


def test_shares_so_far_are_kept(pair: Pair, function: SetFunction) -> None:
    units = units_of(pair.n_layers, "layer")
    orders = draw_permutations(len(units), 5, seed=2)
    kept: list[tuple[Share, ...]] = []
    found = shapley_shares(function, units, orders, kept=kept.append)
    assert len(kept) == 3
    assert kept[-1] == found
    assert kept[0] == shapley_shares(function, units, orders[:2])
