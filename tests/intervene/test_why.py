"""One token questioned: terms that add up, gradients that are slopes, layers that do what plain forwards do."""

import pytest
import torch

from core.errors import PromptError
from core.intervene.attribution import attribute_contrast
from core.intervene.plans import sweep_plans
from core.intervene.recovery import sweep
from core.intervene.why import layer_effects, why
from core.pair.gates import PROJECTIONS, Gates
from core.pair.pair import Pair
from tests.intervene.test_walk import text_ids


def logits_at(pair: Pair, ids: tuple[int, ...], gates: Gates, pos: int) -> torch.Tensor:
    with torch.no_grad():
        return pair.unembed(pair.hidden(pair.ids([ids]), gates)[0, pos - 1]).double()


def kl(p: torch.Tensor, q: torch.Tensor) -> float:
    p, q = torch.distributions.Categorical(logits=p), torch.distributions.Categorical(logits=q)
    return float(torch.distributions.kl_divergence(p, q))


def test_the_terms_add_up_to_the_divergence(pair: Pair) -> None:
    ids = text_ids(pair)
    found = why(pair, ids, len(ids) - 1).terms
    base, tuned = (logits_at(pair, ids, gates, len(ids) - 1) for gates in (pair.base_gates(), pair.tuned_gates()))
    assert found.kl == pytest.approx(kl(tuned, base), abs=1e-6)
    listed = sum(term.term for term in (*found.gained, *found.lost))
    assert listed + found.other_gained + found.other_lost == pytest.approx(found.kl, abs=1e-9)
    assert all(term.term > 0 for term in found.gained)
    assert all(term.term < 0 for term in found.lost)
    for term in (*found.gained, *found.lost):
        assert term.p_base == pytest.approx(float(base.softmax(-1)[term.id]), abs=1e-6)
        assert term.rank_tuned == int((tuned > tuned[term.id]).sum()) + 1


def test_choices_know_their_places_in_the_other_model(pair: Pair) -> None:
    ids = text_ids(pair)
    found = why(pair, ids, 5, Gates.graft(pair.n_layers, [0]))
    assert list(found.choices) == ["base", "hybrid", "tuned"]
    tuned = logits_at(pair, ids, pair.tuned_gates(), 5)
    for place, choice in enumerate(found.choices["base"], start=1):
        assert choice.ranks["base"] == place
        assert choice.ranks["tuned"] == int((tuned > tuned[choice.id]).sum()) + 1
    assert found.token_id == ids[5]


def test_the_gate_gradient_is_the_slope(pair: Pair) -> None:
    """Opening one gate a little moves the logit difference by the gradient times that little."""
    ids = text_ids(pair)
    found = why(pair, ids, 9)
    gradient = attribute_contrast(pair, ids, 9, found.gained_id, found.lost_id).by_projection
    step = 1e-2
    for layer in range(pair.n_layers):
        for projection in (0, 4):
            values = torch.zeros(2, pair.n_layers, len(PROJECTIONS))
            values[1, layer, projection] = step
            low, high = (logits_at(pair, ids, Gates(values[[row]]), 9) for row in (0, 1))
            moved = (high - low)[found.gained_id] - (high - low)[found.lost_id]
            assert float(moved) / step == pytest.approx(float(gradient[layer, projection]), abs=2e-2, rel=0.1)


def test_layers_alone_and_left_out_equal_plain_forwards(pair: Pair) -> None:
    ids = text_ids(pair)
    pos = len(ids) - 3
    found = layer_effects(pair, ids, pos)
    base, tuned = (logits_at(pair, ids, gates, pos) for gates in (pair.base_gates(), pair.tuned_gates()))
    for layer in range(pair.n_layers):
        one = Gates.graft(pair.n_layers, [layer])
        rest = Gates.graft(pair.n_layers, [k for k in range(pair.n_layers) if k != layer])
        for results, gates in ((found.alone, one), (found.without, rest)):
            expected = 1 - kl(tuned, logits_at(pair, ids, gates, pos)) / kl(tuned, base)
            assert results.results[layer].recovery == pytest.approx(expected, abs=1e-4)


def test_grafting_everything_recovers_everything(pair: Pair) -> None:
    ids = text_ids(pair)
    plans = sweep_plans("prefix", pair.n_layers)
    found = sweep(pair, ids, [len(ids) - 1, len(ids) - 2], plans)
    assert found.results[-1].recovery == pytest.approx(1, abs=1e-4)
    assert found.results[-1].logit_difference_recovery == pytest.approx(1, abs=1e-4)
    back = sweep(pair, ids, [len(ids) - 1], sweep_plans("prefix", pair.n_layers, direction="base-into-tuned"))
    assert back.results[-1].recovery == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("pos", [0, -1, 10_000])
def test_a_token_without_a_score_is_refused(pair: Pair, pos: int) -> None:
    with pytest.raises(PromptError, match="no score"):
        why(pair, text_ids(pair), pos)
