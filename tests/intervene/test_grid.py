"""Every cell of a grid against one plain forward pass with hooks, and what cells must equal among themselves."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from core.errors import PromptError
from core.intervene import grid as grid_module
from core.intervene.attributed import attributed_grid
from core.intervene.grid import Cell, grid
from core.intervene.patch import SITES
from core.pair.gates import DIRECTIONS
from core.pair.pair import Pair
from core.pair.prompts import Message
from tests.intervene.hooks import PlainPair, kl, plain_pair
from tests.intervene.test_walk import text_ids

TOLERANCE = 1e-4
LAYERS = range(4)
MLP = ["gate_proj", "up_proj", "down_proj"]


@pytest.fixture(scope="module")
def plain(pair: Pair) -> PlainPair:
    return plain_pair(pair)


def by_place(cells: tuple[Cell, ...]) -> dict[tuple[int, int], Cell]:
    return {(cell.layer, cell.pos): cell for cell in cells}


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("site", SITES)
def test_every_cell_is_what_hooks_on_plain_models_find(pair: Pair, plain: PlainPair, site: str, direction: str) -> None:
    ids = text_ids(pair)
    predicted = [9, len(ids) - 4, len(ids) - 2]
    where = [index - 1 for index in predicted]
    positions = [0, 5, 8, 9, len(ids) - 6, len(ids) - 5]
    found = grid(pair, ids, predicted, site, LAYERS, positions, direction)
    recipient, donor = (logits[where] for logits in plain.logits(ids, direction))
    k_base = float(kl(donor, recipient).mean())
    assert found.k_base == pytest.approx(k_base, abs=TOLERANCE)
    for cell in found.cells:
        patched = plain.patched(ids, site, cell.layer, [cell.pos], direction)[where]
        k = float(kl(donor, patched).mean())
        assert cell.k == pytest.approx(k, abs=TOLERANCE)
        assert cell.kl_recovery == pytest.approx(1 - k / k_base, abs=TOLERANCE)


@pytest.mark.parametrize("site", ["resid_post", "attn_out"])
def test_the_logit_difference_is_that_of_the_tokens_named(pair: Pair, plain: PlainPair, site: str) -> None:
    ids = text_ids(pair)
    pos = len(ids) - 3
    found = grid(pair, ids, [pos], site, LAYERS, [0, 6, pos - 2, pos - 1])
    base, tuned = (logits[pos - 1].double() for logits in plain.logits(ids, DIRECTIONS[0]))
    terms = tuned.softmax(-1) * (tuned.log_softmax(-1) - base.log_softmax(-1))
    assert (found.gained_id, found.lost_id) == (int(terms.argmax()), int(terms.argmin()))

    def difference(logits: torch.Tensor) -> float:
        return float(logits[found.gained_id] - logits[found.lost_id])

    for cell in found.cells:
        patched = plain.patched(ids, site, cell.layer, [cell.pos], DIRECTIONS[0])[pos - 1]
        expected = (difference(patched) - difference(base)) / (difference(tuned) - difference(base))
        assert cell.logit_difference_recovery == pytest.approx(expected, abs=TOLERANCE)


def test_over_an_answer_the_logit_difference_is_a_ratio_of_sums(pair: Pair, plain: PlainPair) -> None:
    ids = text_ids(pair)
    predicted = list(range(len(ids) - 5, len(ids)))
    found = grid(pair, ids, predicted, "resid_post", LAYERS, [len(ids) - 4])
    assert (found.gained_id, found.lost_id) == (None, None)
    where = [index - 1 for index in predicted]
    base, tuned = (logits[where].double() for logits in plain.logits(ids, DIRECTIONS[0]))
    terms = tuned.softmax(-1) * (tuned.log_softmax(-1) - base.log_softmax(-1))
    words = torch.stack([terms.argmax(-1), terms.argmin(-1)], -1)

    def total(logits: torch.Tensor) -> float:
        own = logits.double().gather(-1, words)
        return float((own[:, 0] - own[:, 1]).sum())

    for cell in found.cells:
        patched = plain.patched(ids, "resid_post", cell.layer, [cell.pos], DIRECTIONS[0])[where]
        expected = (total(patched) - total(base)) / (total(tuned) - total(base))
        assert cell.logit_difference_recovery == pytest.approx(expected, abs=TOLERANCE)


def test_what_leaves_a_layer_enters_the_next(pair: Pair) -> None:
    ids = text_ids(pair)
    target, positions = [len(ids) - 1, 12], [1, 6, 11, len(ids) - 2]
    before = by_place(grid(pair, ids, target, "resid_pre", LAYERS, positions).cells)
    after = by_place(grid(pair, ids, target, "resid_post", LAYERS, positions).cells)
    for layer, pos in after:
        if layer + 1 in LAYERS:
            assert before[layer + 1, pos].k == pytest.approx(after[layer, pos].k, abs=1e-5)
    assert all(before[0, pos].kl_recovery == pytest.approx(0, abs=1e-5) for pos in positions)  # the same embedding


def test_the_donors_last_state_is_the_donors_prediction(pair: Pair) -> None:
    ids = text_ids(pair)
    found = by_place(grid(pair, ids, [10], "resid_post", LAYERS, [8, 9]).cells)
    assert found[3, 9].kl_recovery == pytest.approx(1, abs=1e-5)
    assert found[3, 9].logit_difference_recovery == pytest.approx(1, abs=1e-4)
    assert found[3, 8].kl_recovery == pytest.approx(0, abs=1e-5)


def test_cells_after_the_target_are_blank(pair: Pair) -> None:
    ids = text_ids(pair)
    found = grid(pair, ids, [6, 9], "mlp_out", [1, 3], range(len(ids)))
    assert [(cell.layer, cell.pos) for cell in found.cells] == [(k, p) for k in (1, 3) for p in range(len(ids))]
    for cell in found.cells:
        figures = (cell.k, cell.kl_recovery, cell.logit_difference_recovery)
        assert (None in figures) == (cell.pos > 8)
        assert cell.pos <= 8 or figures == (None, None, None)


def test_a_change_of_one_mlp_is_found_where_it_is(load_with: Callable[..., Pair], llama_base: Path) -> None:
    """Only layer 2's MLP differs: nothing below it, nor its own attention, has anything to bring."""
    one = load_with(llama_base, target_modules=MLP, layers_to_transform=[2])
    ids = text_ids(one)
    predicted = range(len(ids) - 6, len(ids))
    own = range(len(ids) - 7, len(ids) - 1)
    recovery = {
        site: {place: cell.kl_recovery for place, cell in by_place(cells).items()}
        for site in SITES
        for cells in [grid(one, ids, predicted, site, LAYERS, own).cells]
    }
    for site in SITES:
        for (layer, _), value in recovery[site].items():
            if layer < 2 or (layer == 2 and site in ("resid_pre", "resid_mid", "attn_out")):
                assert value == pytest.approx(0, abs=1e-5)
    for pos in own:
        assert abs(recovery["mlp_out"][2, pos]) > 1e-3
        assert recovery["mlp_out"][2, pos] == pytest.approx(recovery["resid_post"][2, pos], abs=1e-5)
    assert max(abs(recovery["attn_out"][3, pos]) for pos in own) > 1e-3


def test_models_that_are_the_same_have_nothing_to_recover(load_with: Callable[..., Pair], llama_base: Path) -> None:
    same = load_with(llama_base, zero=True)
    ids = text_ids(same)
    found = attributed_grid(same, ids, [len(ids) - 1], "resid_post", LAYERS, [3, 4])
    assert all(cell.k == pytest.approx(0, abs=1e-9) for cell in found.grid.cells)
    assert {cell.kl_recovery for cell in found.grid.cells} == {None}
    assert {cell.attribution for cell in found.grid.cells} == {None}
    assert found.rank_correlation is None


def test_how_cells_are_batched_changes_no_figure(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = text_ids(pair)
    target = range(len(ids) - 8, len(ids))
    together = grid(pair, ids, target, "resid_mid", LAYERS, range(len(ids)))
    monkeypatch.setattr(grid_module, "TOKENS_AT_ONCE", 1)
    apart = grid(pair, ids, target, "resid_mid", LAYERS, range(len(ids)))
    for one, other in zip(together.cells, apart.cells, strict=True):
        assert (one.k is None) == (other.k is None)
        assert one.k is None or one.k == pytest.approx(other.k, abs=1e-5)
    assert apart.forwards_equivalent < together.forwards_equivalent


def test_a_cell_costs_what_comes_after_and_above_it(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid_module, "TOKENS_AT_ONCE", 1)
    ids = text_ids(pair)
    found = grid(pair, ids, [len(ids) - 1], "resid_post", [0, 2], [1, 5])
    end = len(ids) - 1
    after, above = [end - 1, end - 5], [3, 1]
    assert found.forwards_equivalent == pytest.approx(2 + sum(after) * sum(above) / (end * 4))


def test_cells_come_as_they_are_found_each_once(pair: Pair) -> None:
    ids = text_ids(pair)
    told: list[Cell] = []
    shares: list[float] = []
    found = grid(
        pair, ids, [len(ids) - 1], "attn_out", LAYERS, range(len(ids)), progress=shares.append, on_cells=told.extend
    )
    assert len(told) == len(by_place(tuple(told)))
    assert by_place(tuple(told)) == {place: cell for place, cell in by_place(found.cells).items() if cell.k is not None}
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_without_a_target_or_a_position_before_it_there_is_no_grid(pair: Pair) -> None:
    ids = text_ids(pair)
    with pytest.raises(PromptError, match="No token is left"):
        grid(pair, ids, [], "attn_out", LAYERS, [1])
    with pytest.raises(PromptError, match="of token 5"):
        grid(pair, ids, [5], "attn_out", LAYERS, [5, 6])


@pytest.mark.slow
def test_the_demo_pair_is_patched_as_plain_models_are(demo: Pair) -> None:
    plain = plain_pair(demo)
    prompt = demo.prompts.chat([Message(role="user", content="What are the symptoms of Marfan syndrome?")])
    ids = (*prompt.ids, *demo.prompts.answer_ids("Tall and slender, with long arms."))
    predicted = list(range(len(prompt.ids), len(ids)))
    where = [index - 1 for index in predicted]
    positions = [4, len(prompt.ids) - 1, len(ids) - 3]
    _, donor = (logits[where] for logits in plain.logits(ids, DIRECTIONS[0]))
    for site in SITES:
        for cell in grid(demo, ids, predicted, site, [0, 17, 29], positions).cells:
            patched = plain.patched(ids, site, cell.layer, [cell.pos], DIRECTIONS[0])[where]
            assert cell.k == pytest.approx(float(kl(donor, patched).mean()), abs=TOLERANCE)
