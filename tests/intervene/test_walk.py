"""The prefix tree against one plain forward per plan."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical, kl_divergence

from core.errors import ArgumentError
from core.intervene.grid import grid
from core.intervene.plans import KINDS, sweep_plans
from core.intervene.recovery import sweep
from core.intervene.walk import walk
from core.pair.gates import PROJECTIONS, Gates
from core.pair.open import load_pair
from core.pair.pair import Pair
from core.pair.prompts import Message
from core.pair.registry import PairSpec, Source
from tests.tiny import build_adapter, build_base


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


def sliding_pair(root: Path) -> Pair:
    """A tiny Qwen2 half of whose layers look back eight tokens only, so that no one mask serves all of them."""
    kinds = ["full_attention", "sliding_attention"] * 2
    base = build_base(root / "base", "qwen2", use_sliding_window=True, sliding_window=8, layer_types=kinds)
    source, tuned = str(base), str(build_adapter(base, root / "tuned"))
    return load_pair(PairSpec("sliding", "sliding", Source(id=source, path=source), Source(id="t", path=tuned)))


def test_layers_that_cannot_be_walked_take_a_pass_a_plan_and_say_so(tmp_path: Path) -> None:
    pair = sliding_pair(tmp_path)
    ids = text_ids(pair)
    assert len(ids) > 8
    plans = sweep_plans("prefix", pair.n_layers)
    gates = Gates.stack([plan.gates(pair.n_layers) for plan in plans])
    positions = [3, len(ids) - 2]
    walked = walk(pair, ids, gates, positions)
    assert not walked.shared
    assert (pair.unembed(walked.hidden) - pair.unembed(one_by_one(pair, ids, gates, positions))).abs().max() <= 1e-4
    swept = sweep(pair, ids, [len(ids) - 1], plans)
    assert not swept.shared
    assert swept.forwards_equivalent == len(plans) + 1  # all layers grafted is the donor itself, and base comes with it
    assert swept.results[-1].recovery == pytest.approx(1, abs=1e-6)
    with pytest.raises(ArgumentError, match="look back 8 tokens only"):
        grid(pair, ids, [len(ids) - 1], "resid_post", [0], [3])


def test_a_window_longer_than_the_text_changes_nothing(tmp_path: Path) -> None:
    pair = sliding_pair(tmp_path)
    ids = text_ids(pair)[:8]
    gates = Gates.stack([pair.base_gates(), pair.tuned_gates(), Gates.graft(pair.n_layers, [1])])
    walked = walk(pair, ids, gates, [6])
    assert walked.shared
    assert (pair.unembed(walked.hidden) - pair.unembed(one_by_one(pair, ids, gates, [6]))).abs().max() <= 1e-4


def test_likelihood_and_divergence_by_position_are_those_of_plain_distributions(pair: Pair) -> None:
    ids = text_ids(pair)
    predicted = list(range(len(ids) - 5, len(ids)))
    where = [index - 1 for index in predicted]
    plan = sweep_plans("single", pair.n_layers)[1]
    rows = Gates.stack([pair.base_gates(), pair.tuned_gates(), plan.gates(pair.n_layers)])
    logits = pair.unembed(one_by_one(pair, ids, rows, where)).double()
    base, tuned, hybrid = (Categorical(logits=row) for row in logits)
    written = torch.tensor(ids)[predicted]
    found = sweep(pair, ids, predicted, [plan])
    result = found.results[0]
    logp = [float(model.log_prob(written).mean()) for model in (base, tuned, hybrid)]
    assert found.logp_recipient == pytest.approx(logp[0], abs=1e-5)
    assert found.logp_donor == pytest.approx(logp[1], abs=1e-5)
    assert result.logp == pytest.approx(logp[2], abs=1e-5)
    assert result.logp_recovery == pytest.approx((logp[2] - logp[0]) / (logp[1] - logp[0]), abs=1e-3)
    assert result.kl == pytest.approx(kl_divergence(tuned, hybrid).tolist(), abs=1e-5)
    assert found.kl_base == pytest.approx(kl_divergence(tuned, base).tolist(), abs=1e-5)
