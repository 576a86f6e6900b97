import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import core.measure.positions as positions
import core.pair.unembed as unembed_module
from core.errors import ShapeError
from core.measure.positions import PositionScores, concatenate, score_positions
from core.pair.unembed import Unembedding

D_VOCAB, D_MODEL, N = 97, 16, 13
END_IDS = (2, 5)


def _exact(generator: torch.Generator, *shape: int) -> Tensor:
    """Random multiples of 1/64, whose products and sums are exact in float32 in any order."""
    return torch.randint(-100, 101, shape, generator=generator).float() / 64


@pytest.fixture
def weight() -> Tensor:
    return _exact(torch.Generator().manual_seed(1), D_VOCAB, D_MODEL)


@pytest.fixture
def states() -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states of base and tuned, and the written tokens."""
    generator = torch.Generator().manual_seed(2)
    base = _exact(generator, N, D_MODEL) / 4
    tuned = base + _exact(generator, N, D_MODEL) / 4
    return base, tuned, torch.randint(0, D_VOCAB, (N,), generator=generator)


def _naive_kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return (p * np.log(p / q)).sum(axis=1)


def _naive(weight: Tensor, base: Tensor, tuned: Tensor, ids: Tensor) -> dict[str, np.ndarray]:
    """Every metric as the promised bound writes it, in float64."""
    matrix, written, rows = weight.double().numpy(), ids.numpy(), np.arange(len(ids))
    z_b, z_t = base.double().numpy() @ matrix.T, tuned.double().numpy() @ matrix.T
    p_b, p_t = (np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) for z in (z_b, z_t))
    m = (p_b + p_t) / 2
    js = (_naive_kl(p_t, m) + _naive_kl(p_b, m)) / 2
    logp_b, logp_t = np.log(p_b[rows, written]), np.log(p_t[rows, written])
    return {
        "kl_tuned_base": _naive_kl(p_t, p_b),
        "kl_base_tuned": _naive_kl(p_b, p_t),
        "js": js,
        "js_distance": np.sqrt(js / np.log(2)),
        "tv": np.abs(p_t - p_b).sum(axis=1) / 2,
        "entropy_base": -(p_b * np.log(p_b)).sum(axis=1),
        "entropy_tuned": -(p_t * np.log(p_t)).sum(axis=1),
        "logp_base": logp_b,
        "logp_tuned": logp_t,
        "delta_logp": logp_t - logp_b,
        "rank_base": np.array([1 + sum(z > row[i] for z in row) for row, i in zip(z_b, written, strict=True)]),
        "rank_tuned": np.array([1 + sum(z > row[i] for z in row) for row, i in zip(z_t, written, strict=True)]),
        "end_base": sum(p_b[:, i] for i in END_IDS),
        "end_tuned": sum(p_t[:, i] for i in END_IDS),
    }


def _same(a: PositionScores, b: PositionScores, atol: float) -> None:
    for name, found in a.values.items():
        torch.testing.assert_close(found, b.values[name], rtol=0, atol=atol, msg=name)
    for model in ("base", "tuned"):
        torch.testing.assert_close(a.top_logp[model], b.top_logp[model], rtol=0, atol=atol)


def test_values_equal_a_naive_recomputation(weight: Tensor, states: tuple[Tensor, Tensor, Tensor]) -> None:
    scores = score_positions(Unembedding(weight), *states, END_IDS)
    expected = _naive(weight, *states)
    assert scores.values.keys() == expected.keys()
    assert len(scores) == N
    for name, numbers in expected.items():
        assert scores.values[name].dtype == torch.float64
        np.testing.assert_allclose(scores.values[name].numpy(), numbers, rtol=0, atol=1e-6, err_msg=name)
    assert (np.abs(expected["kl_tuned_base"] - expected["kl_base_tuned"]) > 1e-3).any()


def test_the_same_states_differ_nowhere(weight: Tensor, states: tuple[Tensor, Tensor, Tensor]) -> None:
    base, _, ids = states
    values = score_positions(Unembedding(weight), base, base.clone(), ids, END_IDS).values
    for name in ("kl_tuned_base", "kl_base_tuned", "tv", "delta_logp"):
        assert (values[name] == 0).all(), name
    assert (values["js_distance"] < 1e-7).all()
    assert (values["rank_base"] == values["rank_tuned"]).all()


def test_swapping_the_models_swaps_the_directions(weight: Tensor, states: tuple[Tensor, Tensor, Tensor]) -> None:
    base, tuned, ids = states
    there = score_positions(Unembedding(weight), base, tuned, ids, END_IDS)
    back = score_positions(Unembedding(weight), tuned, base, ids, END_IDS)
    assert torch.equal(there.values["kl_tuned_base"], back.values["kl_base_tuned"])
    assert torch.equal(there.values["delta_logp"], -back.values["delta_logp"])
    assert torch.equal(there.top_ids["tuned"], back.top_ids["base"])


def test_ten_best_come_in_order(weight: Tensor, states: tuple[Tensor, Tensor, Tensor]) -> None:
    scores = score_positions(Unembedding(weight), *states, END_IDS)
    for model, hidden in zip(("base", "tuned"), states[:2], strict=True):
        logits = hidden.double().numpy() @ weight.double().numpy().T
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        ids = scores.top_ids[model].numpy()
        assert ids.shape == (N, 10)
        assert all(len(set(row)) == 10 for row in ids.tolist())
        best = -np.sort(-log_p, axis=1)[:, :10]
        np.testing.assert_allclose(scores.top_logp[model].numpy(), best, rtol=0, atol=1e-6)
        np.testing.assert_allclose(np.take_along_axis(log_p, ids, axis=1), best, rtol=0, atol=1e-6)


def test_a_vocabulary_below_ten_gives_all_of_it(states: tuple[Tensor, Tensor, Tensor]) -> None:
    base, tuned, ids = states
    small = Unembedding(_exact(torch.Generator().manual_seed(4), 7, D_MODEL))
    scores = score_positions(small, base, tuned, ids % 7, END_IDS)
    assert all(sorted(row) == list(range(7)) for row in scores.top_ids["tuned"].tolist())


class _Counted(Unembedding):
    """Remembers how many positions it was asked for at once."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__(weight)
        self.positions: list[int] = []

    def __call__(self, hidden: Tensor) -> Tensor:
        self.positions.append(len(hidden))
        return super().__call__(hidden)


@pytest.mark.parametrize(("at_once", "chunks"), [(1, [1] * 13), (5, [5, 5, 3]), (13, [13]), (50, [13])])
def test_chunks_make_no_difference(
    at_once: int,
    chunks: list[int],
    weight: Tensor,
    states: tuple[Tensor, Tensor, Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unembed = _Counted(weight)
    whole = score_positions(unembed, *states, END_IDS)
    unembed.positions.clear()
    limit = at_once * positions._BYTES_PER_ENTRY * D_VOCAB
    monkeypatch.setattr(unembed_module, "MAX_TEMPORARY_BYTES", limit)
    scores = score_positions(unembed, *states, END_IDS)
    assert unembed.positions == [size for size in chunks for _ in ("base", "tuned")]
    _same(scores, whole, atol=1e-12)
    assert torch.equal(scores.top_ids["base"], whole.top_ids["base"])


def test_concatenating_keeps_the_order(weight: Tensor, states: tuple[Tensor, Tensor, Tensor]) -> None:
    unembed = Unembedding(weight)
    parts = [score_positions(unembed, *(s[cut] for s in states), END_IDS) for cut in (slice(4), slice(4, None))]
    _same(concatenate(parts), score_positions(unembed, *states, END_IDS), atol=1e-12)


@pytest.mark.parametrize(("base", "tuned", "n_ids"), [((4, D_MODEL), (5, D_MODEL), 4), ((4, D_MODEL), (4, D_MODEL), 3)])
def test_shapes_that_disagree_are_named(
    base: tuple[int, int], tuned: tuple[int, int], n_ids: int, weight: Tensor
) -> None:
    ids = torch.zeros(n_ids, dtype=torch.int64)
    with pytest.raises(ShapeError) as caught:
        score_positions(Unembedding(weight), torch.zeros(base), torch.zeros(tuned), ids, END_IDS)
    for shape in (base, tuned, (n_ids,)):
        assert str(shape) in caught.value.message


class TestUnembedding:
    def test_slices_of_a_bfloat16_weight_equal_the_whole_product(
        self, weight: Tensor, states: tuple[Tensor, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        coarse = weight.bfloat16()
        monkeypatch.setattr(unembed_module, "MAX_TEMPORARY_BYTES", 10 * 4 * D_MODEL)
        for hidden in (states[0], states[0].reshape(1, N, D_MODEL), states[0].bfloat16()):
            logits = Unembedding(coarse)(hidden)
            assert logits.dtype == torch.float32
            assert torch.equal(logits, hidden.float() @ coarse.float().T)

    def test_a_large_bfloat16_weight_is_never_upcast_as_a_whole(
        self, states: tuple[Tensor, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        generator = torch.Generator().manual_seed(5)
        weight, hidden = _exact(generator, 500, 128).bfloat16(), _exact(generator, 7, 128) / 8
        limit = 160_000  # the weight itself has 128,000 bytes, upcast twice as many
        assert weight.numel() * 4 > limit
        monkeypatch.setattr(unembed_module, "MAX_TEMPORARY_BYTES", limit)
        with _LargestResult() as seen:
            score_positions(Unembedding(weight), hidden, hidden + 0.125, torch.arange(7), END_IDS)
        assert limit / 2 < seen.n_bytes <= limit

    @pytest.mark.parametrize("d_vocab", [49_152, 151_936])
    def test_as_many_positions_as_fit_into_256_mb(self, d_vocab: int) -> None:
        per_entry = positions._BYTES_PER_ENTRY
        n = Unembedding(torch.zeros(d_vocab, 1)).positions_at_once(per_entry)
        assert n * per_entry * d_vocab <= 256 * 2**20 < (n + 1) * per_entry * d_vocab

    def test_at_least_one_position_is_taken(self) -> None:
        assert Unembedding(torch.zeros(10, 1)).positions_at_once(2**40) == 1


class _LargestResult(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation returns."""

    n_bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor):
                self.n_bytes = max(self.n_bytes, tensor.numel() * tensor.element_size())
        return result
