"""The promises a pair makes, held against plain transformers and peft."""

import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor

from core.measure.noise import measure_noise
from core.pair.gated_linear import UnboundGatesError
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.routes import padded_prefill, prefill, token_by_token
from tests import oracle
from tests.conftest import TinyFolders

IDS = [5, 80, 33, 200, 7, 150, 99, 12, 300, 41]
TOLERANCE = 1e-4


def graft_logits(pair: Pair, gates: Gates) -> Tensor:
    with torch.no_grad():
        return pair.unembed(pair.hidden(pair.ids([IDS] * gates.n_rows), gates))


def both(pair: Pair) -> Gates:
    return Gates.stack([pair.base_gates(), pair.tuned_gates()])


def test_all_gates_0_is_base_and_all_1_is_tuned(pair: Pair, folders: TinyFolders) -> None:
    base, tuned = graft_logits(pair, both(pair))
    assert (base - oracle.logits(oracle.plain_base(folders.base), IDS)).abs().max() <= TOLERANCE
    expected = oracle.logits(oracle.plain_tuned(folders.base, folders.tuned), IDS)
    assert (tuned - expected).abs().max() <= TOLERANCE
    assert (base - tuned).abs().max() > 1


def test_rows_agree_with_pefts_mixed_batches(pair: Pair, folders: TinyFolders) -> None:
    mixed = oracle.plain_tuned(folders.base, folders.tuned)
    with torch.no_grad():
        expected = mixed(
            input_ids=torch.tensor([IDS, IDS, IDS]), adapter_names=["default", "__base__", "default"]
        ).logits
    gates = Gates.stack([pair.tuned_gates(), pair.base_gates(), pair.tuned_gates()])
    assert (graft_logits(pair, gates) - expected).abs().max() <= TOLERANCE


def test_a_graft_is_the_base_with_some_layers_replaced(pair: Pair, folders: TinyFolders) -> None:
    """Layers 1 and 2 merged by hand into a plain model."""
    plain = oracle.plain_tuned(folders.base, folders.tuned)
    for name, module in plain.named_modules():
        if hasattr(module, "lora_A") and not any(f"layers.{layer}." in name for layer in (1, 2)):
            module.scaling["default"] = 0.0
    found = graft_logits(pair, Gates.graft(pair.n_layers, [1, 2]))[0]
    assert (found - oracle.logits(plain, IDS)).abs().max() <= TOLERANCE


def test_strength_scales_the_change(pair: Pair, folders: TinyFolders) -> None:
    plain = oracle.plain_tuned(folders.base, folders.tuned)
    for module in plain.modules():
        if hasattr(module, "lora_A"):
            module.scaling["default"] *= 2.5
    found = graft_logits(pair, Gates.uniform(pair.n_layers, 2.5))[0]
    assert (found - oracle.logits(plain, IDS)).abs().max() <= TOLERANCE


def test_three_rows_with_different_gates_cost_one_forward(pair: Pair) -> None:
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    handle = pair.model.model.layers[0].register_forward_hook(count)
    before = pair.forwards
    graft_logits(pair, Gates.stack([both(pair), Gates.graft(pair.n_layers, [2])]))
    handle.remove()
    assert calls == 1
    assert pair.forwards == before + 1


def test_a_row_does_not_depend_on_the_other_rows(pair: Pair) -> None:
    hybrid = Gates.graft(pair.n_layers, [0, 3], "mlp", 0.7)
    alone = graft_logits(pair, hybrid)[0]
    crowd = Gates.stack([pair.tuned_gates(), hybrid, pair.base_gates(), Gates.uniform(pair.n_layers, 4.0)])
    assert (graft_logits(pair, crowd)[1] - alone).abs().max() <= TOLERANCE


def test_the_three_routes_agree(pair: Pair) -> None:
    gates = Gates.stack([both(pair), Gates.graft(pair.n_layers, [1])])
    found = [pair.unembed(route(pair, IDS, gates)) for route in (prefill, padded_prefill, token_by_token)]
    assert (found[0] - found[1]).abs().max() <= TOLERANCE
    assert (found[0] - found[2]).abs().max() <= TOLERANCE


def test_gates_per_position_act_where_they_stand(pair: Pair) -> None:
    """Before the first tuned position everything is base; one at the end alone still reads base keys and values."""
    values = torch.zeros(1, pair.n_layers, 7, len(IDS))
    values[..., 6:] = 1
    base = graft_logits(pair, pair.base_gates())[0]
    found = graft_logits(pair, Gates(values))[0]
    assert (found[:6] - base[:6]).abs().max() <= TOLERANCE
    assert (found[6] - base[6]).abs().max() > 0.1
    everywhere = Gates(torch.ones(1, pair.n_layers, 7, len(IDS)))
    assert (graft_logits(pair, everywhere)[0] - graft_logits(pair, pair.tuned_gates())[0]).abs().max() <= TOLERANCE


def test_gates_have_gradients(pair: Pair) -> None:
    """Against a central difference along one gate."""
    values = torch.full((1, pair.n_layers, 7), 0.5, requires_grad=True)
    pair.unembed(pair.hidden(pair.ids([IDS]), Gates(values)))[0, -1, 3].backward()
    assert values.grad is not None
    step = 1e-2
    ends = []
    for sign in (1, -1):
        moved = values.detach().clone()
        moved[0, 2, 5] += sign * step
        ends.append(graft_logits(pair, Gates(moved))[0, -1, 3])
    assert float(values.grad[0, 2, 5]) == pytest.approx(float(ends[0] - ends[1]) / (2 * step), rel=2e-2, abs=1e-3)


def test_a_model_without_gates_refuses_to_run(pair: Pair) -> None:
    with pytest.raises(UnboundGatesError):
        pair.model(input_ids=pair.ids([IDS]))


def test_threads_do_not_disturb_each_other(pair: Pair) -> None:
    plans = [pair.base_gates(), pair.tuned_gates(), Gates.graft(pair.n_layers, [1]), Gates.uniform(pair.n_layers, 0.5)]
    alone = [graft_logits(pair, gates) for gates in plans]
    wrong: list[int] = []

    def run(number: int) -> None:
        for _ in range(25):
            if (graft_logits(pair, plans[number]) - alone[number]).abs().max() > TOLERANCE:
                wrong.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(plans))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.slow
def test_the_demo_pair_is_plain_transformers_and_peft(demo: Pair) -> None:
    prompt = demo.prompts.chat([{"role": "user", "content": "What are the symptoms of Marfan syndrome?"}])
    base_folder, tuned_folder = Path(demo.identity.base_path), Path(demo.identity.tuned_path)
    plain = (oracle.plain_base(base_folder), oracle.plain_tuned(base_folder, tuned_folder))
    for gates, model in zip((demo.base_gates(), demo.tuned_gates()), plain, strict=True):
        found = demo.unembed(prefill(demo, prompt.ids, gates))[0]
        assert (found - oracle.logits(model, prompt.ids)).abs().max() <= TOLERANCE
    together = demo.unembed(prefill(demo, prompt.ids, both(demo)))
    alone = torch.cat([demo.unembed(prefill(demo, prompt.ids, g)) for g in (demo.base_gates(), demo.tuned_gates())])
    assert (together - alone).abs().max() <= 2 * measure_noise(demo).logit
