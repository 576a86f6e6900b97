"""The layer × token lens against plain transformers in float64, and against what it must be by construction."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.errors import ArgumentError, PromptError, TooLongError
from core.measure.diff import diff
from core.measure.drift import drift_cosine, drift_norm
from core.measure.lens import BUDGET, Lens, layers_within, lens, lens_choices
from core.measure.noise import noise_of
from core.pair.padded_blocks import PaddedBlocks
from core.pair.pair import Pair
from core.pair.prompts import Message, Prompt
from core.pair.routes import padded_prefill
from tests.conftest import TinyFolders
from tests.oracle import plain_base, plain_tuned
from tests.tiny import N_LAYERS


def question(pair: Pair) -> Prompt:
    return pair.prompts.chat([Message(role="user", content="What is asthma?")])


def text_ids(pair: Pair) -> tuple[int, ...]:
    return (*question(pair).ids, *pair.prompts.answer_ids("A disease of the lungs."))


@dataclass(frozen=True)
class Plain:
    """One model by plain transformers in float64: residual streams (n_layers, pos, d_model), and their readings."""

    streams: Tensor
    log_p: Tensor


@torch.no_grad()
def plain(model: Any, causal: Any, ids: Sequence[int]) -> Plain:
    """`model` runs; `causal` is the causal language model in it, whose last hidden state comes already normed."""
    last: list[Tensor] = []
    hook = causal.model.layers[-1].register_forward_hook(lambda module, given, made: last.append(made))
    made = model(input_ids=torch.tensor([list(ids)]), output_hidden_states=True)
    hook.remove()
    streams = torch.stack([*(h[0] for h in made.hidden_states[1:-1]), last[0][0]])
    readings = causal.lm_head(causal.model.norm(streams))
    assert torch.allclose(readings[-1], made.logits[0])
    return Plain(streams, readings.log_softmax(-1))


@pytest.fixture(scope="module")
def oracle(folders: TinyFolders, pair: Pair) -> tuple[Plain, Plain]:
    base, tuned = plain_base(folders.base).double(), plain_tuned(folders.base, folders.tuned).double()
    ids = text_ids(pair)
    return plain(base, base, ids), plain(tuned, tuned.base_model.model, ids)


def test_every_cell_is_what_plain_transformers_gives_in_float64(pair: Pair, oracle: tuple[Plain, Plain]) -> None:
    base, tuned = oracle
    ids = text_ids(pair)
    found = lens(pair, ids, range(1, len(ids)))
    p, q = (torch.distributions.Categorical(logits=model.log_p) for model in (tuned, base))
    kl = torch.distributions.kl_divergence(p, q)
    norm = (tuned.streams - base.streams).norm(dim=-1) / base.streams.norm(dim=-1)
    cosine = 1 - torch.nn.functional.cosine_similarity(tuned.streams, base.streams, dim=-1)
    assert found.layers == tuple(range(N_LAYERS))
    for row in range(N_LAYERS):
        for column, pos in enumerate(found.positions):
            before = pos - 1
            assert found.kl[row][column] == pytest.approx(float(kl[row, before]), abs=1e-4, rel=1e-4)
            if before:
                assert found.norm[row][column] == pytest.approx(float(norm[row, before]), abs=1e-5)
                assert found.cosine[row][column] == pytest.approx(float(cosine[row, before]), abs=1e-5)
    assert found.mean.kl == pytest.approx(kl[:, :-1].mean(1).tolist(), abs=1e-4, rel=1e-4)
    assert found.mean.norm == pytest.approx(norm[:, 1:-1].mean(1).tolist(), abs=1e-5)


def check_last_row(pair: Pair, prompt: Prompt, answer: Sequence[int]) -> None:
    ids = (*prompt.ids, *answer)
    found = lens(pair, ids, range(1, len(ids)), [pair.n_layers - 1])
    tokens = diff(pair, prompt, answer).tokens[1:]
    assert found.kl[0] == pytest.approx([token.kl_tuned_base for token in tokens], abs=1e-5)


def test_the_last_row_is_the_output_divergence(pair: Pair) -> None:
    check_last_row(pair, question(pair), pair.prompts.answer_ids("A disease of the lungs."))


@pytest.mark.slow
def test_the_last_row_is_the_output_divergence_of_the_demo_pair(demo: Pair) -> None:
    check_last_row(demo, question(demo), demo.prompts.answer_ids("A chronic disease of the lungs."))


@pytest.mark.parametrize("changed", [0, 2, N_LAYERS - 1])
def test_a_change_in_one_layer_shows_from_that_layer_on_only(
    llama_base: Path, load_with: Callable[..., Pair], changed: int
) -> None:
    pair = load_with(llama_base, layers_to_transform=[changed])
    ids = text_ids(pair)
    found = lens(pair, ids, range(2, len(ids)))
    for row in range(N_LAYERS):
        for grid, noise in ((found.kl, found.noise.kl), (found.norm, found.noise.norm), (found.cosine, None)):
            if row < changed:
                assert max(grid[row]) <= 1e-9
            else:
                assert min(grid[row]) > (noise[row] if noise else 1e-9)


def test_the_state_of_the_first_token_has_a_reading_but_no_drift(pair: Pair) -> None:
    found = lens(pair, text_ids(pair), [1, 2])
    assert all(row[0] is None and row[1] is not None for grid in (found.norm, found.cosine) for row in grid)
    assert all(row[0] > 0 for row in found.kl)
    alone = lens(pair, text_ids(pair), [1])
    assert alone.mean.norm == alone.noise.norm == (None,) * N_LAYERS


def test_a_part_of_the_grid_equals_the_whole_there(pair: Pair) -> None:
    ids = text_ids(pair)
    whole = lens(pair, ids, range(1, len(ids)))
    part = lens(pair, ids, [4, 9, 5], [3, 1])
    assert (part.layers, part.positions) == ((1, 3), (4, 9, 5))
    for row, layer in enumerate(part.layers):
        for name in ("kl", "norm", "cosine"):
            expected = [getattr(whole, name)[layer][pos - 1] for pos in part.positions]
            assert getattr(part, name)[row] == pytest.approx(expected, abs=1e-6)


def test_noise_is_far_below_what_the_fine_tune_does_and_not_nothing(pair: Pair) -> None:
    ids = text_ids(pair)
    found = lens(pair, ids, range(2, len(ids)))
    assert min(found.noise.norm) > 0  # the two routes are not the same computation
    assert max(found.noise.norm) < 1e-5 < min(found.mean.norm)
    assert max(found.noise.kl) < 1e3 * noise_of(pair).kl


def test_the_other_route_is_the_left_padded_forward(pair: Pair) -> None:
    ids = text_ids(pair)
    blocks, gates = PaddedBlocks(pair, ids), pair.tuned_gates()
    with torch.no_grad():
        states = blocks.start()
        for layer in range(pair.n_layers):
            states = blocks.layer(layer, states, gates)
        found = blocks.finish(blocks.unpadded(states))
    assert torch.allclose(found, padded_prefill(pair, ids, gates), atol=1e-5)


def test_a_cell_gives_both_models_first_choices(pair: Pair, oracle: tuple[Plain, Plain]) -> None:
    ids = text_ids(pair)
    for layer in (0, N_LAYERS - 1):
        found = lens_choices(pair, ids, 6, layer)
        assert found.kl == pytest.approx(lens(pair, ids, [6], [layer]).kl[0][0], abs=1e-5)
        for choices, model in zip((found.base, found.tuned), oracle, strict=True):
            expected = model.log_p[layer, 5].topk(5)
            assert [choice.id for choice in choices] == expected.indices.tolist()
            assert [choice.logp for choice in choices] == pytest.approx(expected.values.tolist(), abs=1e-4)
            assert [choice.text for choice in choices] == [
                piece.text for piece in pair.prompts.pieces([choice.id for choice in choices])
            ]


@pytest.mark.parametrize(
    ("predicted", "layers", "error", "says"),
    [
        ([3], [N_LAYERS], ArgumentError, "not all within 0..3"),
        ([3], [-1], ArgumentError, "not all within 0..3"),
        ([3], [], ArgumentError, "No layer is left"),
        ([], None, PromptError, "No token is left"),
        ([0], None, PromptError, "Token 0 has no score"),
        ([2, 10_000], None, PromptError, "Token 10000 has no score"),
    ],
)
def test_what_cannot_be_read_is_refused(
    pair: Pair, predicted: list[int], layers: list[int] | None, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        lens(pair, text_ids(pair), predicted, layers)


def test_a_text_beyond_the_context_is_refused(pair: Pair) -> None:
    ids = text_ids(pair) * 40
    with pytest.raises(TooLongError, match="The context holds 512"):
        lens(pair, ids, [1])
    with pytest.raises(TooLongError, match="The context holds 512"):
        lens_choices(pair, ids, 1, 0)


def test_layers_are_left_out_evenly_and_never_the_last(pair: Pair) -> None:
    one_layer = 10 * pair.d_vocab * pair.d_model
    assert layers_within(pair, 10) == (0, 1, 2, 3)
    assert layers_within(pair, 10, 4 * one_layer) == (0, 1, 2, 3)
    assert layers_within(pair, 10, 3 * one_layer) == (1, 3)
    assert layers_within(pair, 10, 1.9 * one_layer) == (3,)
    assert layers_within(pair, 10, 0) == (3,)
    assert layers_within(pair, 10**9) == (3,)
    assert BUDGET["cuda"] > BUDGET["cpu"]


def test_progress_rises_to_one_and_may_stop_the_reading(pair: Pair) -> None:
    shares: list[float] = []
    lens(pair, text_ids(pair), [3, 4, 5], [0, 2], shares.append)
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)

    def stop(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lens(pair, text_ids(pair), [3], None, stop)


def test_drift_by_hand() -> None:
    base = torch.tensor([[3.0, 4.0], [1.0, 0.0], [2.0, 0.0]])
    tuned = torch.tensor([[3.0, 4.5], [0.0, 2.0], [-1.0, 0.0]])
    assert drift_norm(tuned, base).tolist() == pytest.approx([0.1, math.sqrt(5), 1.5])
    assert drift_cosine(tuned, base)[1:].tolist() == pytest.approx([1.0, 2.0])
    small = torch.tensor([1.0, 1e-8])  # 1 − cos would be 0 here, even in float64
    assert float(drift_cosine(small, torch.tensor([1.0, 0.0]))) == pytest.approx(5e-17, rel=1e-6)


def test_a_lens_is_compared_by_value(pair: Pair) -> None:
    first, second = (lens(pair, text_ids(pair), [3], [1]) for _ in range(2))
    assert isinstance(first, Lens)
    assert first == second
