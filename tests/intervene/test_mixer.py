"""Live hybrids against whole forward passes and the sweep."""

import pytest
import torch

from core.errors import PromptError
from core.intervene import mixer as module
from core.intervene.mixer import Mixer
from core.intervene.plans import Plan
from core.intervene.recovery import sweep
from core.pair.gates import DIRECTIONS
from core.pair.pair import Pair
from tests.intervene.test_walk import text_ids

LAYERS = ("none", "0", "1-2", "3", "all")


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_hybrid_recovers_what_a_sweep_says(pair: Pair, direction: str) -> None:
    ids = text_ids(pair)
    predicted = list(range(len(ids) - 6, len(ids)))
    plans = [Plan(layers, layers, "both", direction) for layers in LAYERS]
    swept = sweep(pair, ids, predicted, plans)
    mixer = Mixer(pair, ids, predicted, direction)
    assert mixer.k_base == pytest.approx(swept.k_base, rel=1e-4)
    for plan, expected in zip(plans, swept.results, strict=True):
        mixed = mixer.mix(plan, plan.gates(pair.n_layers))
        assert mixed.result.k == pytest.approx(expected.k, abs=1e-4)
        assert mixed.result.recovery == pytest.approx(expected.recovery, abs=1e-4)
        assert sum(mixed.kl) / len(mixed.kl) == pytest.approx(expected.k, abs=1e-4)
    assert mixer.mix(plans[0], plans[0].gates(pair.n_layers)).kl == pytest.approx(mixer.kl_base, abs=1e-5)


def test_each_position_has_the_divergence_of_plain_forwards(pair: Pair) -> None:
    ids = text_ids(pair)
    predicted = [3, len(ids) - 1]
    plan = Plan("x", "1-2", "mlp")
    gates = plan.gates(pair.n_layers)
    with torch.no_grad():
        tuned, hybrid = (
            torch.log_softmax(pair.unembed(pair.hidden(pair.ids([ids]), g))[0].double(), -1)
            for g in (pair.tuned_gates(), gates)
        )
    expected = [float((tuned[p - 1].exp() * (tuned[p - 1] - hybrid[p - 1])).sum()) for p in predicted]
    assert Mixer(pair, ids, predicted).mix(plan, gates).kl == pytest.approx(expected, abs=1e-5)


def test_only_the_layers_from_the_lowest_change_are_run(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = text_ids(pair)
    top = Plan("x", str(pair.n_layers - 1))
    mixer = Mixer(pair, ids, [len(ids) - 1])
    assert mixer.mix(top, top.gates(pair.n_layers)).result.layer_rows == 1
    monkeypatch.setattr(module, "KEPT_BYTES", 1)  # only what enters layer 0 fits
    frugal = Mixer(pair, ids, [len(ids) - 1])
    found = frugal.mix(top, top.gates(pair.n_layers))
    assert found.result.layer_rows == pair.n_layers
    assert found.kl == pytest.approx(mixer.mix(top, top.gates(pair.n_layers)).kl, abs=1e-5)


def test_a_mixer_without_positions_says_so(pair: Pair) -> None:
    with pytest.raises(PromptError, match="No token"):
        Mixer(pair, text_ids(pair), [])
