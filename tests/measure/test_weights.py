"""Sizes of weight changes against dense products, plain peft and cases worked by hand."""

import copy
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from core.errors import AdapterError, PromptError, ShapeError, TooLongError
from core.measure.weights import ModuleChange, WeightChanges, singular_values, weight_changes, with_data
from core.measure.weights_on_data import DataNorms, norms_on_data
from core.pair.gated_linear import GatedLinear
from core.pair.gates import PARTS, PROJECTIONS, Gates
from core.pair.load import load_base
from core.pair.pair import Pair
from tests.conftest import TinyFolders
from tests.measure.test_lens import text_ids
from tests.oracle import plain_tuned
from tests.tiny import N_LAYERS

MIXED = {
    "rank_pattern": {"layers.1.mlp.up_proj": 60, "layers.2.self_attn.k_proj": 1},  # beyond a module's size, and one
    "target_modules": ["k_proj", "up_proj", "down_proj"],
    "use_rslora": True,
}


def lora_layers(base: str, tuned: str) -> dict[tuple[int, str], Any]:
    """Plain peft's projections, wrapped or not, by layer and name."""
    layers = plain_tuned(Path(base), Path(tuned)).base_model.model.model.layers
    return {
        (number, name): module
        for number, layer in enumerate(layers)
        for path, module in layer.named_modules()
        if (name := path.rpartition(".")[2]) in PROJECTIONS
    }


def dense(module: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """W and ΔW of a projection of plain peft, in float64."""
    if not hasattr(module, "lora_A"):
        weight = module.weight.detach().double().numpy()
        return weight, np.zeros_like(weight)
    a, b = (factors["default"].weight.detach().double() for factors in (module.lora_A, module.lora_B))
    return module.base_layer.weight.detach().double().numpy(), (module.scaling["default"] * b @ a).numpy()


def by_place(changes: WeightChanges) -> dict[tuple[int, str], ModuleChange]:
    return {(module.layer, module.projection): module for module in changes.modules}


@pytest.fixture(scope="module", params=["all", "mixed"])
def any_pair(request: pytest.FixtureRequest, pair: Pair, qwen2_base: Path, load_with: Callable[..., Pair]) -> Pair:
    """Both architectures with every projection changed, and one with few changed and with ranks of 60 and 1."""
    return pair if request.param == "all" else load_with(qwen2_base, **MIXED)


@pytest.fixture(scope="module")
def plain(any_pair: Pair) -> dict[tuple[int, str], Any]:
    return lora_layers(any_pair.identity.base_path, any_pair.identity.tuned_path)


def test_every_size_is_that_of_the_dense_product(any_pair: Pair, plain: dict[tuple[int, str], Any]) -> None:
    found = by_place(weight_changes(any_pair))
    assert list(found) == [(layer, name) for layer in range(N_LAYERS) for name in PROJECTIONS]
    for place, module in found.items():
        base, change = dense(plain[place])
        expected = np.linalg.svd(change, compute_uv=False)
        rank = len(module.singular_values)
        assert module.singular_values == pytest.approx(expected[:rank], rel=1e-9, abs=1e-9)
        assert expected[rank:].sum() < 1e-9
        assert module.frobenius == pytest.approx(np.linalg.norm(change), rel=1e-9)
        assert module.base_frobenius == pytest.approx(np.linalg.norm(base), rel=1e-9)
        assert module.relative_frobenius == pytest.approx(np.linalg.norm(change) / np.linalg.norm(base), rel=1e-9)
        assert module.spectral == pytest.approx(np.linalg.norm(change, 2), rel=1e-9)
        if change.any():
            assert module.stable_rank == pytest.approx((np.linalg.norm(change) / expected[0]) ** 2, rel=1e-9)
        else:
            assert (module.stable_rank, module.singular_values, module.spectral) == (None, (), 0.0)
        assert module.on_data is None
        assert (module.part == "attn") == (module.projection in PARTS["attn"])


def test_a_part_is_its_matrices_as_one_block_diagonal_matrix(any_pair: Pair, plain: dict[tuple[int, str], Any]) -> None:
    parts = weight_changes(any_pair).parts
    assert [(part.layer, part.part) for part in parts] == [(n, part) for n in range(N_LAYERS) for part in PARTS]
    for part in parts:
        pieces = [dense(plain[part.layer, name]) for name in PARTS[part.part]]
        base, change = (torch.block_diag(*(torch.from_numpy(one[k]) for one in pieces)).numpy() for k in (0, 1))
        assert part.frobenius == pytest.approx(np.linalg.norm(change), rel=1e-9)
        assert part.relative_frobenius == pytest.approx(np.linalg.norm(change) / np.linalg.norm(base), rel=1e-9)
        assert part.spectral == pytest.approx(np.linalg.norm(change, 2), rel=1e-9)
        if change.any():
            assert part.stable_rank == pytest.approx((np.linalg.norm(change) / np.linalg.norm(change, 2)) ** 2)
        else:
            assert part.stable_rank is None


def changed_by_hand(pair: Pair, layer: int, name: str, down: Tensor, up: Tensor) -> ModuleChange:
    """The figures of one projection with other factors, and 2 in every entry of its base weight."""
    (gated,) = [
        module
        for module in pair.model.modules()
        if isinstance(module, GatedLinear) and (module.layer, PROJECTIONS[module.projection]) == (layer, name)
    ]
    gated.down, gated.up = down, up
    gated.base.weight.data.fill_(2.0)
    return by_place(weight_changes(pair))[layer, name]


def test_one_direction_by_hand(llama_base: Path, load_with: Callable[..., Pair]) -> None:
    """ΔW = 2 · (3, 4, 0…)ᵀ (0, 5, 0, 12, 0…): all of it in one direction of length 2 · 5 · 13."""
    pair = load_with(llama_base, r=1, lora_alpha=2, target_modules=["k_proj"], layers_to_transform=[1])
    down, up = torch.zeros(1, 48), torch.zeros(24, 1)
    down[0, 1], down[0, 3], up[0, 0], up[1, 0] = 5, 12, 3, 4
    found = changed_by_hand(pair, 1, "k_proj", down, up)
    assert found.singular_values == pytest.approx([130.0])
    assert (found.frobenius, found.spectral, found.stable_rank) == pytest.approx((130.0, 130.0, 1.0))
    assert found.base_frobenius == pytest.approx(2 * math.sqrt(24 * 48))
    assert found.relative_frobenius == pytest.approx(65 / math.sqrt(24 * 48))
    others = [module for module in weight_changes(pair).modules if module != found]
    assert {module.frobenius for module in others} == {0.0}
    assert {module.stable_rank for module in others} == {None}


def test_two_directions_by_hand(llama_base: Path, load_with: Callable[..., Pair]) -> None:
    """Singular values 4 and 3: ‖ΔW‖_F = 5, and 25/16 directions."""
    pair = load_with(llama_base, r=2, lora_alpha=2, target_modules=["o_proj"])
    down, up = torch.zeros(2, 48), torch.zeros(48, 2)
    down[0, 7], down[1, 2], up[5, 0], up[0, 1] = 1, 1, -3, 4
    found = changed_by_hand(pair, 3, "o_proj", down, up)
    assert found.singular_values == pytest.approx([4.0, 3.0])
    assert (found.frobenius, found.spectral, found.stable_rank) == pytest.approx((5.0, 4.0, 25 / 16))


def test_a_negative_scaling_turns_a_change_round_and_keeps_its_size() -> None:
    down, up = torch.tensor([[3.0, 4.0]]), torch.tensor([[2.0], [0.0], [0.0]])
    assert singular_values(down, up, -0.5).tolist() == pytest.approx([5.0])


@torch.no_grad()
def peft_ratios(base: str, tuned: str, ids: Sequence[int]) -> dict[tuple[int, str], tuple[float, float]]:
    """Σ‖ΔW x‖² and Σ‖W x‖² over all tokens but the first, with the inputs of plain peft's own run, in float64."""
    model = plain_tuned(Path(base), Path(tuned)).double()
    found: dict[tuple[int, str], tuple[float, float]] = {}

    def listen(place: tuple[int, str], module: Any) -> None:
        weight, change = (torch.from_numpy(matrix) for matrix in dense(module))

        def hook(_: Any, given: tuple[Tensor, ...]) -> None:
            x = given[0][0, 1:]
            found[place] = (float((x @ change.T).square().sum()), float((x @ weight.T).square().sum()))

        module.register_forward_pre_hook(hook)

    for number, layer in enumerate(model.base_model.model.model.layers):
        for path, module in layer.named_modules():
            if (name := path.rpartition(".")[2]) in PROJECTIONS:
                listen((number, name), module)
    model(input_ids=torch.tensor([list(ids)]))
    return found


def test_ratios_on_data_are_those_of_plain_peft(any_pair: Pair) -> None:
    ids = text_ids(any_pair)
    plain = peft_ratios(any_pair.identity.base_path, any_pair.identity.tuned_path, ids)
    norms = norms_on_data(any_pair, ids)
    found = with_data(weight_changes(any_pair), norms)
    assert norms.n_tokens == len(ids) - 1
    for place, module in by_place(found).items():
        assert module.on_data == pytest.approx(math.sqrt(plain[place][0] / plain[place][1]), rel=1e-4, abs=1e-12)
        layer, column = place[0], PROJECTIONS.index(place[1])
        assert norms.base[layer][column] == pytest.approx(math.sqrt(plain[place][1] / (len(ids) - 1)), rel=1e-4)
    for part in found.parts:
        change, base = (sum(plain[part.layer, name][k] for name in PARTS[part.part]) for k in (0, 1))
        assert part.on_data == pytest.approx(math.sqrt(change / base), rel=1e-4, abs=1e-12)
    bare = weight_changes(any_pair)
    assert [module.singular_values for module in found.modules] == [module.singular_values for module in bare.modules]
    assert {part.on_data for part in bare.parts} == {None}


def test_the_first_token_does_not_count(folders: TinyFolders, pair: Pair) -> None:
    """Of a text of two tokens only the second is left: a ratio of two lengths."""
    ids = text_ids(pair)[:2]
    plain = peft_ratios(str(folders.base), str(folders.tuned), ids)
    found = by_place(with_data(weight_changes(pair), norms_on_data(pair, ids)))
    assert {place: module.on_data for place, module in found.items()} == pytest.approx(
        {place: math.sqrt(change / base) for place, (change, base) in plain.items()}, rel=1e-4
    )


def test_listening_leaves_the_pair_as_it_was(pair: Pair) -> None:
    ids, both = text_ids(pair), Gates.stack([pair.base_gates(), pair.tuned_gates()])
    modules = dict(pair.model.named_modules())
    hooks = [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in modules.values()]
    before = pair.hidden(pair.ids([ids] * 2), both)
    first = norms_on_data(pair, ids)
    assert torch.equal(pair.hidden(pair.ids([ids] * 2), both), before)
    after = dict(pair.model.named_modules())
    assert list(after) == list(modules)
    assert all(after[name] is module for name, module in modules.items())
    assert [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in after.values()] == hooks
    assert norms_on_data(pair, ids) == first


def test_progress_rises_to_one_and_may_stop_the_reading(pair: Pair) -> None:
    shares: list[float] = []
    norms_on_data(pair, text_ids(pair), shares.append)
    assert shares == [(k + 1) / N_LAYERS for k in range(N_LAYERS)]

    def stop(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        norms_on_data(pair, text_ids(pair), stop)


def test_what_cannot_be_measured_is_refused(pair: Pair) -> None:
    bare = copy.copy(pair)
    bare.model, _ = load_base(Path(pair.identity.base_path), "cpu", torch.float32)
    with pytest.raises(AdapterError, match="no gated layer"):
        weight_changes(bare)
    with pytest.raises(PromptError, match="1 tokens"):
        norms_on_data(pair, text_ids(pair)[:1])
    with pytest.raises(TooLongError, match="The context holds 512"):
        norms_on_data(pair, text_ids(pair) * 40)
    short = DataNorms(3, ((1.0,) * 7,), ((1.0,) * 7,))
    with pytest.raises(ShapeError, match="1 layers for 28 projections"):
        with_data(weight_changes(pair), short)


def test_changes_are_compared_by_value(pair: Pair) -> None:
    assert weight_changes(pair) == weight_changes(pair)


@pytest.mark.slow
def test_the_demo_pair_agrees_with_plain_peft(demo: Pair) -> None:
    plain = lora_layers(demo.identity.base_path, demo.identity.tuned_path)
    ids = text_ids(demo)
    ratios = peft_ratios(demo.identity.base_path, demo.identity.tuned_path, ids)
    found = by_place(with_data(weight_changes(demo), norms_on_data(demo, ids)))
    assert len(found) == 210
    assert {len(module.singular_values) for module in found.values()} == {16}
    for place, module in found.items():
        assert module.on_data == pytest.approx(math.sqrt(ratios[place][0] / ratios[place][1]), rel=1e-3)
    for place in list(found)[::31]:
        base, change = dense(plain[place])
        expected = np.linalg.svd(change, compute_uv=False)
        assert found[place].singular_values == pytest.approx(expected[:16], rel=1e-6)
        assert found[place].relative_frobenius == pytest.approx(np.linalg.norm(change) / np.linalg.norm(base), rel=1e-6)
