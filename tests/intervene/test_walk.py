"""The prefix tree against one plain forward per plan."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.intervene.plans import KINDS, sweep_plans
from core.intervene.walk import walk
from core.pair.gates import PROJECTIONS, Gates
from core.pair.pair import Pair
from core.pair.prompts import Message


def text_ids(pair: Pair) -> tuple[int, ...]:
    prompt = pair.prompts.chat([Message(role="user", content="What is asthma?")])
    return (*prompt.ids, *pair.prompts.answer_ids("A disease of the lungs."))


def one_by_one(pair: Pair, ids: tuple[int, ...], gates: Gates, positions: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([pair.hidden(pair.ids([ids]), gates.take([row]))[:, positions] for row in range(gates.n_rows)])


def distinct_prefixes(gates: Gates) -> int:
    rows = gates.values.flatten(1).tolist()
    width = len(PROJECTIONS)
    n_layers = gates.values.shape[1]
    return sum(len({tuple(row[: (layer + 1) * width]) for row in rows}) for layer in range(n_layers))


@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_random_plans_equal_the_loop_and_cost_their_distinct_prefixes(pair: Pair, data: st.DataObject) -> None:
    values = st.sampled_from([0.0, 0.5, 1.0, 2.0])
    row = st.lists(values, min_size=pair.n_layers, max_size=pair.n_layers)
    by_layer = torch.tensor(data.draw(st.lists(row, min_size=1, max_size=20)))
    gates = Gates(by_layer.unsqueeze(-1).expand(-1, -1, len(PROJECTIONS)).contiguous())
    ids = text_ids(pair)
    positions = [3, len(ids) - 2]
    found = walk(pair, ids, gates, positions)
    expected = one_by_one(pair, ids, gates, positions)
    assert (pair.unembed(found.hidden) - pair.unembed(expected)).abs().max() <= 1e-4
    assert found.layer_rows == distinct_prefixes(gates)


def test_a_small_memory_budget_changes_only_the_cost(pair: Pair) -> None:
    ids = text_ids(pair)
    gates = Gates.stack([plan.gates(pair.n_layers) for kind in KINDS[:4] for plan in sweep_plans(kind, pair.n_layers)])
    whole = walk(pair, ids, gates, [len(ids) - 1])
    row_bytes = 2 * len(ids) * pair.d_model * 4
    pieces = walk(pair, ids, gates, [len(ids) - 1], memory_bytes=3 * row_bytes)
    assert torch.allclose(whole.hidden, pieces.hidden, atol=1e-5)
    assert pieces.layer_rows > whole.layer_rows


def test_progress_rises_to_one(pair: Pair) -> None:
    shares: list[float] = []
    gates = Gates.stack([plan.gates(pair.n_layers) for plan in sweep_plans("single", pair.n_layers)])
    walk(pair, text_ids(pair), gates, [1], memory_bytes=1, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
