"""Rows that share lower layers give what each gives alone, and run each layer no more often than they must."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from core.generate.cache import RowCache
from core.generate.prefill import Prefill
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.shared_rows import IN_TURN_FROM, in_turn, sharing
from tests.intervene.test_walk import sliding_pair

IDS = [5, 80, 33, 200, 7, 150, 99, 12, 300, 41]


def upper(pair: Pair) -> Gates:
    """Base, a hybrid that is base below its last layer, one that is tuned below it, and tuned."""
    last = pair.n_layers - 1
    hybrids = [Gates.graft(pair.n_layers, [last], "mlp"), Gates.graft(pair.n_layers, range(last))]
    return Gates.stack([pair.base_gates(), *hybrids, pair.tuned_gates()])


def alone(pair: Pair, gates: Gates) -> tuple[Tensor, list[DynamicCache]]:
    """States and caches of each row by itself, in one pass."""
    caches = [DynamicCache() for _ in range(gates.n_rows)]
    with torch.no_grad():
        states = [pair.hidden(pair.ids([IDS]), gates.take([row]), cache=cache) for row, cache in enumerate(caches)]
    return torch.cat(states), caches


@pytest.mark.parametrize("pieces", [(10,), (4, 1, 5)])
def test_states_are_those_of_each_row_alone(pair: Pair, pieces: tuple[int, ...]) -> None:
    gates = upper(pair)
    shared = sharing(pair, gates, len(IDS))
    assert shared is not None
    cache, found, start = RowCache(), [], 0
    for n in pieces:
        found.append(shared.hidden(IDS[start : start + n], cache))
        start += n
    torch.testing.assert_close(torch.cat(found, dim=1), alone(pair, gates)[0], rtol=0, atol=1e-5)


def test_a_layer_runs_once_for_rows_that_agree_up_to_it(pair: Pair) -> None:
    entered: list[int] = []
    hooks = [
        layer.register_forward_pre_hook(lambda _module, args: entered.append(len(args[0])))
        for layer in pair.model.model.layers
    ]
    try:
        shared = sharing(pair, upper(pair), len(IDS))
        assert shared is not None
        shared.hidden(IDS, RowCache())
    finally:
        for hook in hooks:
            hook.remove()
    assert entered == [2] * (pair.n_layers - 1) + [4]


def test_a_read_prompt_has_every_rows_own_keys_and_values(pair: Pair) -> None:
    gates = upper(pair)
    reading = Prefill(pair, IDS, Gates.stack([gates, pair.base_gates()]), keep_from=len(IDS) - 1)
    while not reading.done:
        reading.advance(6)
    cache, states = reading.result()
    expected, caches = alone(pair, gates)
    torch.testing.assert_close(states, expected[[0, 1, 2, 3, 0]][:, -1:], rtol=0, atol=1e-5)
    for number, layer in enumerate(cache.layers):
        for row, own in enumerate([0, 1, 2, 3, 0]):
            of_row = caches[own].layers[number]
            torch.testing.assert_close(layer.keys[row], of_row.keys[0], rtol=0, atol=1e-5)
            torch.testing.assert_close(layer.values[row], of_row.values[0], rtol=0, atol=1e-5)


def test_rows_that_part_at_once_share_nothing(pair: Pair) -> None:
    assert sharing(pair, Gates.stack([pair.base_gates(), pair.tuned_gates()]), len(IDS)) is None


def test_layers_that_cannot_be_run_one_at_a_time_are_not(tmp_path: Path) -> None:
    sliding = sliding_pair(tmp_path)
    gates = upper(sliding)
    assert sharing(sliding, gates, len(IDS)) is None
    reading = Prefill(sliding, IDS, gates, keep_from=len(IDS) - 1)
    reading.advance(len(IDS))
    torch.testing.assert_close(reading.result()[1], alone(sliding, gates)[0][:, -1:], rtol=0, atol=1e-5)


LONG = [3 + 7 * k % 300 for k in range(IN_TURN_FROM)]


@pytest.mark.parametrize(("rows", "n_first"), [((0, 1, 2, 3), n) for n in (1, 2, 3)] + [((0, 1), 1), ((3, 0, 2), 1)])
def test_rows_read_before_the_others_are_as_each_alone(pair: Pair, rows: tuple[int, ...], n_first: int) -> None:
    gates = upper(pair).take(rows)
    reading = Prefill(pair, LONG, gates, keep_from=5, n_first=n_first)
    reading.advance(len(LONG))
    first = reading.last(range(n_first))
    assert first is not None
    assert not reading.done
    assert reading.last([n_first]) is None
    reading.advance(1)
    assert reading.done
    cache, states = reading.result()
    for row in range(gates.n_rows):
        own = DynamicCache()
        with torch.no_grad():
            expected = pair.hidden(pair.ids([LONG]), gates.take([row]), cache=own)
        torch.testing.assert_close(states[row], expected[0, 5:], rtol=0, atol=1e-5)
        if row < n_first:
            torch.testing.assert_close(first[row], expected[0, -1], rtol=0, atol=1e-5)
        for layer, of_row in zip(cache.layers, own.layers, strict=True):
            torch.testing.assert_close(layer.keys[row], of_row.keys[0], rtol=0, atol=1e-5)
            torch.testing.assert_close(layer.values[row], of_row.values[0], rtol=0, atol=1e-5)


def test_rows_read_before_the_others_run_no_layer_twice(pair: Pair) -> None:
    entered: list[tuple[int, int]] = []
    hooks = [
        layer.register_forward_pre_hook(lambda _module, args, number=number: entered.append((number, len(args[0]))))
        for number, layer in enumerate(pair.model.model.layers)
    ]
    try:
        reading = Prefill(pair, LONG, upper(pair), keep_from=5, n_first=1)
        reading.advance(len(LONG))
        last = pair.n_layers - 1
        assert entered == [(layer, 1) for layer in range(pair.n_layers)]
        entered.clear()
        reading.advance(len(LONG))
    finally:
        for hook in hooks:
            hook.remove()
    assert entered == [*((layer, 1) for layer in range(last)), (last, 3)]


def test_few_positions_or_rows_are_read_together(pair: Pair, tmp_path: Path) -> None:
    gates = upper(pair)
    assert in_turn(pair, gates, LONG, 1) is not None
    assert in_turn(pair, gates, LONG[1:], 1) is None
    assert in_turn(pair, gates, LONG, 0) is None
    assert in_turn(pair, gates, LONG, gates.n_rows) is None
    sliding = sliding_pair(tmp_path)
    assert in_turn(sliding, upper(sliding), LONG, 1) is None
