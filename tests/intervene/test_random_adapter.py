"""Random adapters: the same singular values in every module, other vectors, the same base in the same memory."""

import copy
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from core.errors import AdapterError
from core.intervene.controls import in_random_adapters
from core.intervene.random_adapter import random_adapter, random_frame
from core.intervene.sets import Unit, set_gates
from core.measure.weights import singular_values
from core.pair.gated_linear import GatedLinear
from core.pair.gates import DIRECTIONS, Gates
from core.pair.load import load_base
from core.pair.pair import Pair
from tests.intervene.test_search import plain_recovery, set_function
from tests.intervene.test_walk import text_ids

TOO_MANY_RANKS = {"rank_pattern": {"layers.1.mlp.up_proj": 60, "layers.2.self_attn.k_proj": 1}}


def gated_layers(pair: Pair) -> dict[str, GatedLinear]:
    return {name: module for name, module in pair.model.named_modules() if isinstance(module, GatedLinear)}


def dense(gated: GatedLinear) -> Tensor:
    return gated.scaling * gated.up.double() @ gated.down.double()


def logits(pair: Pair, gates: Gates) -> Tensor:
    with torch.no_grad():
        return pair.unembed(pair.hidden(pair.ids([text_ids(pair)] * gates.n_rows), gates))


@pytest.fixture(scope="module", params=["plain", "patterns", "biases"])
def any_pair(request: pytest.FixtureRequest, pair: Pair, qwen2_base: Path, load_with: Callable[..., Pair]) -> Pair:
    """Pairs with usual factors, with ranks beyond a module's size and of 1, and with changed biases."""
    if request.param == "plain":
        return pair
    settings = TOO_MANY_RANKS if request.param == "patterns" else {"bias": "all", "use_rslora": True}
    return load_with(qwen2_base, **settings)


def test_singular_values_are_kept_and_vectors_are_not(any_pair: Pair) -> None:
    twin = random_adapter(any_pair, seed=1)
    before, after = gated_layers(any_pair), gated_layers(twin)
    assert list(before) == list(after)
    for name, own in before.items():
        one, other = dense(own), dense(after[name])
        expected = torch.linalg.svdvals(one)
        assert torch.allclose(torch.linalg.svdvals(other), expected, rtol=1e-4, atol=1e-5 * float(expected[0]))
        rank = min(own.down.shape[0], *one.shape)
        assert torch.allclose(
            singular_values(own.down, own.up, own.scaling), expected[:rank], rtol=1e-6, atol=1e-6 * float(expected[0])
        )
        overlap = float((one * other).sum() / (one.norm() * other.norm()))
        assert abs(overlap) < 0.5
        assert (own.layer, own.projection) == (after[name].layer, after[name].projection)


def test_a_changed_bias_keeps_its_length(qwen2_base: Path, load_with: Callable[..., Pair]) -> None:
    pair = load_with(qwen2_base, bias="all")
    twins = gated_layers(random_adapter(pair, seed=1))
    changed = [name for name, own in gated_layers(pair).items() if own.change_bias is not None]
    assert changed
    for name in changed:
        own, other = gated_layers(pair)[name].change_bias, twins[name].change_bias
        assert float(other.norm()) == pytest.approx(float(own.norm()), rel=1e-5)
        assert not torch.allclose(own, other, atol=1e-2)


def test_a_seed_is_an_adapter_and_leaves_torchs_own_alone(pair: Pair) -> None:
    before = torch.get_rng_state()
    first, again, other = (logits(random_adapter(pair, seed), pair.tuned_gates()) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert float((first - other).abs().max()) > 0.1
    assert float((first - logits(pair, pair.tuned_gates())).abs().max()) > 0.1


def test_the_base_is_shared_and_unchanged(pair: Pair) -> None:
    both = Gates.stack([pair.base_gates(), pair.tuned_gates()])
    before = logits(pair, both)
    own_modules = dict(pair.model.named_modules())
    twin = random_adapter(pair, seed=1)
    assert [(name, p.data_ptr()) for name, p in twin.model.named_parameters()] == [
        (name, p.data_ptr()) for name, p in pair.model.named_parameters()
    ]
    assert torch.equal(logits(twin, pair.base_gates()), logits(pair, pair.base_gates()))
    assert torch.equal(logits(pair, both), before)
    assert all(module is own_modules[name] for name, module in pair.model.named_modules())
    shared = {id(module) for module in twin.model.modules()} & {id(module) for module in pair.model.modules()}
    assert not shared & {id(module) for module in gated_layers(pair).values()}
    assert twin.n_bytes == pytest.approx(pair.n_bytes, rel=0.01)


def test_both_run_at_the_same_time(pair: Pair) -> None:
    twin = random_adapter(pair, seed=1)
    both = Gates.stack([pair.base_gates(), pair.tuned_gates(), Gates.graft(pair.n_layers, [1])])
    expected = {id(one): logits(one, both) for one in (pair, twin)}
    wrong: list[float] = []

    def run(one: Pair) -> None:
        for _ in range(30):
            if not torch.equal(found := logits(one, both), expected[id(one)]):
                wrong.append(float((found - expected[id(one)]).abs().max()))

    threads = [threading.Thread(target=run, args=(one,)) for one in (pair, twin, pair, twin)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(wrong, default=0.0) <= 1e-4  # rounding between threads is allowed, another adapter's numbers are not


def test_frames_are_orthonormal_and_point_anywhere() -> None:
    generator = torch.Generator().manual_seed(0)
    frames = [random_frame(6, 3, generator) for _ in range(400)]
    for frame in frames[:20]:
        assert torch.allclose(frame.T @ frame, torch.eye(3), atol=1e-5)
    first = torch.stack([frame[:, 0] for frame in frames])
    # Of a uniform direction in six dimensions each coordinate has mean 0 and variance 1/6.
    assert first.mean(dim=0).abs().max() < 5 * (1 / 6 / 400) ** 0.5
    assert torch.allclose(first.square().mean(dim=0), torch.full((6,), 1 / 6), atol=0.04)
    assert 0.4 < float((first[:, 0] > 0).float().mean()) < 0.6


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_controls_are_recoveries_against_the_random_adapters_own_change(pair: Pair, direction: str) -> None:
    sets = [[Unit(1), Unit(2)], [Unit(0, "mlp")]]
    found = in_random_adapters(set_function(pair, direction), sets, n=3, seed=5)
    for control, units in zip(found, sets, strict=True):
        gates = set_gates(pair.n_layers, units, direction)
        expected = [plain_recovery(random_adapter(pair, seed), gates, direction) for seed in (5, 6, 7)]
        assert list(control.values) == pytest.approx(expected, abs=1e-4)
        assert control.mean == pytest.approx(sum(expected) / 3, abs=1e-4)
        assert control.sd == pytest.approx(float(torch.tensor(expected).std()), abs=1e-4)


def test_a_pair_without_an_adapter_is_refused(pair: Pair) -> None:
    bare = copy.copy(pair)
    bare.model, _ = load_base(Path(pair.identity.base_path), "cpu", torch.float32)
    with pytest.raises(AdapterError, match="no gated layer"):
        random_adapter(bare, 0)


@pytest.mark.slow
def test_the_demo_pair_keeps_its_singular_values(demo: Pair) -> None:
    twin = gated_layers(random_adapter(demo, seed=0))
    for name, own in list(gated_layers(demo).items())[::40]:
        expected = torch.linalg.svdvals(dense(own))[: len(own.down)]
        found = torch.linalg.svdvals(dense(twin[name]))[: len(own.down)]
        assert torch.allclose(found, expected, rtol=1e-4)
