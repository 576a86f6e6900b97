"""Sets of layers searched for: what plain forwards and brute force give, and controls beside them."""

from collections.abc import Callable, Collection, Sequence
from itertools import combinations
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ArgumentError, PromptError, TooLongError
from core.intervene.search import METHODS, SearchResult, SearchSettings, search
from core.intervene.set_function import SetFunction
from core.intervene.sets import BY, Unit, layers_and_part, set_gates, set_name, units_of
from core.intervene.smallest import every_set, greedy_backward, greedy_forward
from core.pair import gated_linear
from core.pair.gates import DIRECTIONS, PROJECTIONS, Gates
from core.pair.pair import Pair
from tests.intervene.test_walk import text_ids

LAST = 6
QUICK = {"random_sets": 0, "random_adapters": 0}


def scored(pair: Pair) -> tuple[tuple[int, ...], list[int]]:
    """A text, and its last tokens as those that count."""
    ids = text_ids(pair)
    return ids, list(range(len(ids) - LAST, len(ids)))


def set_function(pair: Pair, direction: str = DIRECTIONS[0]) -> SetFunction:
    return SetFunction(pair, *scored(pair), direction)


def plain_k(pair: Pair, gates: Gates, direction: str = DIRECTIONS[0]) -> float:
    """Mean KL(donor‖hybrid) from one forward each and torch's own divergence."""
    ids, predicted = scored(pair)
    donor = pair.tuned_gates() if direction == DIRECTIONS[0] else pair.base_gates()
    with torch.no_grad():
        p, q = (
            torch.distributions.Categorical(
                logits=pair.unembed(pair.hidden(pair.ids([ids]), own)[0, [pos - 1 for pos in predicted]]).double()
            )
            for own in (donor, gates)
        )
    return float(torch.distributions.kl_divergence(p, q).mean())


def plain_recovery(pair: Pair, gates: Gates, direction: str = DIRECTIONS[0]) -> float:
    recipient = pair.base_gates() if direction == DIRECTIONS[0] else pair.tuned_gates()
    return 1 - plain_k(pair, gates, direction) / plain_k(pair, recipient, direction)


def random_sets_of(units: Sequence[Unit], n: int) -> list[list[Unit]]:
    generator = torch.Generator().manual_seed(3)
    return [[unit for unit in units if torch.rand(1, generator=generator) < 0.5] for _ in range(n)]


class Additive:
    """A set function whose value is the sum of its members' weights: every greedy step is right in it."""

    def __init__(self, weights: dict[Unit, float]) -> None:
        self.weights = weights

    def recovery(self, sets: Sequence[Collection[Unit]], progress: object = None) -> tuple[float, ...]:
        return tuple(sum(self.weights[unit] for unit in own) for own in sets)


def ignore(_: object) -> None:
    pass


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("by", BY)
def test_recoveries_equal_plain_forwards(pair: Pair, by: str, direction: str) -> None:
    sets = random_sets_of(units_of(pair.n_layers, by), 6)
    values = set_function(pair, direction).recovery(sets)
    for units, value in zip(sets, values, strict=True):
        gates = torch.zeros(1, pair.n_layers, len(PROJECTIONS))
        for unit in units:
            wanted = {"both": slice(0, 7), "attn": slice(0, 4), "mlp": slice(4, 7)}
            column = wanted.get(unit.part) or PROJECTIONS.index(f"{unit.part}_proj")
            gates[0, unit.layer, column] = 1
        if direction != DIRECTIONS[0]:
            gates = 1 - gates
        assert value == pytest.approx(plain_recovery(pair, Gates(gates), direction), abs=1e-4)
    assert len(set(values)) > 3


def test_nothing_recovers_nothing_and_all_recovers_all(pair: Pair) -> None:
    assert set_function(pair).recovery([[], units_of(pair.n_layers, "part")]) == (0.0, 1.0)


def test_each_graft_is_computed_once_whatever_it_is_called(pair: Pair) -> None:
    function = set_function(pair)
    by_layer = [[Unit(1)], [Unit(0), Unit(2)]]
    first = function.recovery(by_layer)
    rows = function.rows
    by_part = [[Unit(1, "mlp"), Unit(1, "attn")], [Unit(k, part) for k in (2, 0) for part in ("attn", "mlp")]]
    assert function.recovery(by_part) == first
    assert function.rows == rows
    function.recovery([[Unit(3)]])
    assert function.rows > rows


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("changed", [[2], [1, 3]], ids=str)
def test_every_method_finds_the_layers_that_were_changed(
    llama_base: Path, load_with: Callable[..., Pair], method: str, changed: list[int]
) -> None:
    pair = load_with(llama_base, layers_to_transform=changed)
    settings = SearchSettings(method=method, reaches=(0.999,), permutations=24, random_adapters=2)
    found = search(pair, *scored(pair), settings)
    (best,) = found.sets
    assert best.units == tuple(Unit(layer) for layer in changed)
    assert (best.reached, best.layers, best.part) == (len(changed), ",".join(map(str, changed)), "both")
    assert best.recovery == pytest.approx(1, abs=1e-6)
    assert best.random_adapter.mean == pytest.approx(1, abs=1e-6)
    shares = {share.layer: share for share in found.shapley or ()}
    assert sum(shares[layer].share for layer in changed) == pytest.approx(1, abs=1e-6)
    for layer in set(shares) - set(changed):
        assert shares[layer].share == pytest.approx(0, abs=1e-6)
    if len(changed) == 1:
        assert found.interaction == pytest.approx(0, abs=1e-6)
        assert shares[changed[0]].se == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_the_part_that_was_changed_is_found(qwen2_base: Path, load_with: Callable[..., Pair], method: str) -> None:
    pair = load_with(qwen2_base, layers_to_transform=[0, 2], target_modules=["down_proj", "up_proj"])
    settings = SearchSettings(method=method, by="part", reaches=(0.999,), permutations=8, **QUICK)
    (best,) = search(pair, *scored(pair), settings).sets
    assert (best.layers, best.part, best.reached) == ("0,2", "mlp", 2)
    assert best.name == "mlp 0, 2"


def test_trying_all_sets_is_brute_force(pair: Pair) -> None:
    layers = range(pair.n_layers)
    known = {
        own: plain_recovery(pair, Gates.graft(pair.n_layers, own))
        for size in range(1, pair.n_layers + 1)
        for own in combinations(layers, size)
    }
    wanted = sorted(known.values())[-3] - 1e-3
    size = min(len(own) for own, value in known.items() if value >= wanted)
    best = max((own for own in known if len(own) == size), key=lambda own: known[own])
    (found,) = search(pair, *scored(pair), SearchSettings(method="exact", reaches=(wanted,), **QUICK)).sets
    assert found.units == tuple(Unit(layer) for layer in best)
    assert found.recovery == pytest.approx(known[best], abs=1e-4)
    assert (found.reached, found.smallest) == (size, True)


@pytest.mark.parametrize("method", METHODS[:2])
def test_greedy_steps_are_the_best_single_changes(pair: Pair, method: str) -> None:
    found = search(pair, *scored(pair), SearchSettings(method=method, reaches=(0.99,), **QUICK))
    for before, after in zip(found.curve, found.curve[1:], strict=False):
        bigger, smaller = (after, before) if method == "greedy-forward" else (before, after)
        assert set(bigger.units) - set(smaller.units) == {after.changed}
        rivals = (
            [(*before.units, Unit(k)) for k in range(pair.n_layers) if Unit(k) not in before.units]
            if method == "greedy-forward"
            else [[u for u in before.units if u != gone] for gone in before.units]
        )
        best = max(plain_recovery(pair, set_gates(pair.n_layers, own)) for own in rivals)
        assert after.recovery == pytest.approx(best, abs=1e-4)


@given(weights=st.lists(st.integers(0, 40), min_size=2, max_size=7), share=st.sampled_from([0.3, 0.5, 0.8, 1.0]))
def test_where_units_add_up_greedy_sets_are_the_smallest(weights: list[int], share: float) -> None:
    units = [Unit(layer) for layer in range(len(weights))]
    function = Additive(dict(zip(units, weights, strict=True)))
    reach = share * sum(weights) or 1
    reaching = [n for n in range(1, len(units) + 1) for own in combinations(weights, n) if sum(own) >= reach]
    steps = greedy_forward(function, units, reach, len(units), ignore, ignore)
    assert [step.recovery for step in steps] == [
        sum(sorted(weights, reverse=True)[:n]) for n in range(1, len(steps) + 1)
    ]
    assert (steps[-1].recovery >= reach) == bool(reaching)
    if reaching:
        assert len(steps) == min(reaching)
        back = [step for step in greedy_backward(function, units, reach, ignore, ignore) if step.recovery >= reach]
        assert back[-1].size == min(reaching)
        assert every_set(function, units, reach, len(units), ignore, ignore)[-1].size == min(reaching)


def test_two_units_that_need_each_other_escape_greed_but_not_brute_force() -> None:
    class Together(Additive):
        def recovery(self, sets: Sequence[Collection[Unit]], progress: object = None) -> tuple[float, ...]:
            both = {Unit(1), Unit(3)}
            return tuple(1.0 if both <= set(own) else 0.2 * len(set(own) - both) for own in sets)

    units = [Unit(layer) for layer in range(4)]
    assert every_set(Together({}), units, 1.0, 4, ignore, ignore)[-1].units == (Unit(1), Unit(3))
    assert greedy_forward(Together({}), units, 1.0, 4, ignore, ignore)[-1].size == 4
    assert greedy_backward(Together({}), units, 1.0, ignore, ignore)[-2].units == (Unit(1), Unit(3))


def test_with_many_units_only_ones_and_twos_are_all_tried() -> None:
    units = [Unit(layer) for layer in range(13)]
    steps = every_set(Additive(dict.fromkeys(units, 0.1)), units, 0.9, 13, ignore, ignore)
    assert [step.size for step in steps] == [1, 2]


def test_a_reach_out_of_reach_leaves_the_best_set(pair: Pair) -> None:
    settings = SearchSettings(reaches=(1.0, 1e-6), max_size=1, **QUICK)
    high, low = search(pair, *scored(pair), settings).sets
    singles = set_function(pair).recovery([[unit] for unit in units_of(pair.n_layers, "layer")])
    assert (high.reached, high.smallest) == (None, None)
    assert high.recovery == max(singles)
    assert (low.reached, low.smallest) == (1, True)


def test_two_reaches_at_once_are_what_they_are_alone(pair: Pair) -> None:
    both = search(pair, *scored(pair), SearchSettings(reaches=(0.4, 0.9), random_sets=5, random_adapters=2)).sets
    for found, reach in zip(both, (0.4, 0.9), strict=True):
        settings = SearchSettings(reaches=(reach,), random_sets=5, random_adapters=2)
        (alone,) = search(pair, *scored(pair), settings).sets
        assert (alone.units, alone.reached) == (found.units, found.reached)
        assert alone.random.values == pytest.approx(found.random.values, abs=1e-5)
        assert alone.random_adapter.values == pytest.approx(found.random_adapter.values, abs=1e-5)


def test_random_sets_have_the_found_sets_size(pair: Pair) -> None:
    settings = SearchSettings(reaches=(1e-6, 1.0), random_sets=8, random_adapters=0)
    one, all_of_them = search(pair, *scored(pair), settings).sets
    singles = set_function(pair).recovery([[unit] for unit in units_of(pair.n_layers, "layer")])
    assert one.random.n == 8
    assert {round(value, 4) for value in one.random.values} <= {round(value, 4) for value in singles}
    assert len(set(one.random.values)) > 1
    assert (all_of_them.random.mean, all_of_them.random.sd) == (1.0, 0.0)
    assert one.random_adapter.mean is None


def test_the_interaction_is_what_single_layers_leave_unexplained(pair: Pair) -> None:
    singles = [plain_recovery(pair, Gates.graft(pair.n_layers, [layer])) for layer in range(pair.n_layers)]
    found = search(pair, *scored(pair), SearchSettings(max_size=1, **QUICK))
    assert found.interaction == pytest.approx(1 - sum(singles), abs=4e-4)


def test_a_fine_tune_that_changes_nothing_gives_no_numbers(llama_base: Path, load_with: Callable[..., Pair]) -> None:
    pair = load_with(llama_base, zero=True)
    found = search(pair, *scored(pair), SearchSettings(permutations=4))
    assert not found.defined
    assert (found.sets, found.curve, found.shapley, found.interaction) == ((), (), None, None)
    with pytest.raises(PromptError, match="no difference to recover"):
        set_function(pair).recovery([[Unit(0)]])


@pytest.mark.parametrize("stop_at", [1, 7, 12])
def test_stopping_leaves_nothing_bound_and_keeps_what_was_found(pair: Pair, stop_at: int) -> None:
    class StoppedError(Exception):
        pass

    told: list[float] = []
    kept: list[SearchResult] = []

    def stop(share: float) -> None:
        told.append(share)
        if len(told) == stop_at:
            raise StoppedError

    settings = SearchSettings(reaches=(1.0,), random_adapters=2)
    whole = search(pair, *scored(pair), settings)
    with pytest.raises(StoppedError):
        search(pair, *scored(pair), settings, stop, kept.append)
    assert len(told) == stop_at
    assert gated_linear._bound.get() is None
    for partial in kept:
        assert [step.units for step in partial.curve] == [step.units for step in whole.curve[: len(partial.curve)]]
    assert len(kept) == len({len(partial.curve) for partial in kept}) or kept[-1].sets


def test_progress_rises_and_results_grow(pair: Pair) -> None:
    told: list[float] = []
    kept: list[SearchResult] = []
    settings = SearchSettings(method="shapley", by="part", permutations=5, random_sets=3, random_adapters=2)
    found = search(pair, *scored(pair), settings, told.append, kept.append)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)
    assert kept[-1] == found
    assert [len(one.sets) for one in kept] == sorted(len(one.sets) for one in kept)
    costs = [one.forwards_equivalent for one in kept]
    assert costs == sorted(costs)
    assert len(kept) > 6


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"method": "guess"}, "no search 'guess'"),
        ({"reaches": (1.2,)}, "1.2"),
        ({"reaches": (0.0,)}, "0.0"),
        ({"method": "shapley"}, "need permutations"),
        ({"random_sets": -1}, "-1"),
        ({"max_size": 0}, "At most 0"),
        ({"method": "greedy-backward", "max_size": 3}, "greedy-backward"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        SearchSettings(**settings)


def test_texts_that_cannot_be_scored_are_refused(pair: Pair) -> None:
    with pytest.raises(PromptError, match="No token is left"):
        search(pair, text_ids(pair), [], SearchSettings())
    with pytest.raises(TooLongError):
        search(pair, [5] * (pair.max_positions + 1), [3], SearchSettings())


@pytest.mark.parametrize(
    ("units", "layers", "part", "name"),
    [
        ([Unit(2), Unit(0), Unit(1)], "0-2", "both", "0-2"),
        ([Unit(1, "mlp"), Unit(3, "mlp")], "1,3", "mlp", "mlp 1, 3"),
        ([Unit(1, "mlp"), Unit(1, "attn")], "1", "both", "attn 1; mlp 1"),
        ([Unit(1, "mlp"), Unit(2, "attn")], "1-2", "mixed", "attn 2; mlp 1"),
        ([Unit(1, "mlp"), Unit(1, "attn"), Unit(2, "attn")], "1-2", "mixed", "attn 1-2; mlp 1"),
        ([Unit(4, "q")], "4", "q", "q 4"),
        ([Unit(4, "up"), Unit(4, "gate"), Unit(4, "down")], "4", "mlp", "gate 4; up 4; down 4"),
        ([Unit(4, "q"), Unit(4, "v")], "4", "mixed", "q 4; v 4"),
    ],
)
def test_sets_have_names(units: list[Unit], layers: str, part: str, name: str) -> None:
    assert layers_and_part(units, 9) == (layers, part)
    assert set_name(units, 9) == name


def test_units_cover_every_gate_once() -> None:
    for by in BY:
        total = sum(set_gates(3, [unit]).values for unit in units_of(3, by))
        assert torch.equal(total, torch.ones(1, 3, len(PROJECTIONS)))
    with pytest.raises(ArgumentError, match="cannot be cut"):
        units_of(3, "head")
    with pytest.raises(ArgumentError, match="Layer 3 does not exist"):
        set_gates(3, [Unit(3)])
    with pytest.raises(ArgumentError, match="no direction"):
        set_gates(3, [], "sideways")
