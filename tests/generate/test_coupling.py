"""Coupled draws: each row draws from its own distribution, and two rows differ only where these do."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor

from core.errors import ArgumentError
from core.generate.coupling import gumbel_noise
from core.generate.lanes import Decoding
from core.generate.sampling import RowSampler, Sampling, coupled_choices
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.routes import prefill

DRAWS = 6000
P = torch.tensor([0.40, 0.25, 0.15, 0.12, 0.08])
Q = torch.tensor([0.10, 0.30, 0.25, 0.05, 0.30])
IDS = [5, 80, 33, 200, 7, 150]
ANSWER = [41, 99, 300, 12, 12, 260, 71, 8, 150, 33, 33, 214, 90, 5, 61, 377, 102, 9]


def draws(probabilities: Tensor, temperature: float = 1.0, top_p: float = 1.0, n: int = DRAWS) -> list[int]:
    """The first choice under each of `n` seeds."""
    return [
        RowSampler(Sampling(temperature, top_p, seed, coupled=True)).choose(probabilities.log()) for seed in range(n)
    ]


def chi_square(chosen: list[int], expected: Tensor) -> float:
    counts = torch.bincount(torch.tensor(chosen), minlength=len(expected)).double()
    assert counts[expected == 0].sum() == 0
    kept = expected > 0
    wanted = expected[kept] * len(chosen)
    return float(((counts[kept] - wanted) ** 2 / wanted).sum())


# A chi-square of four degrees of freedom exceeds 23.5 once in ten thousand times, of one 15.1.
@pytest.mark.parametrize(
    ("temperature", "top_p", "expected", "limit"),
    [
        (1.0, 1.0, P, 23.5),
        (0.5, 1.0, P**2 / (P**2).sum(), 23.5),
        (2.0, 1.0, P.sqrt() / P.sqrt().sum(), 23.5),
        (1.0, 0.6, torch.tensor([0.40, 0.25, 0, 0, 0]) / 0.65, 15.1),
        # temperature first: squared, the first two already hold 0.83
        (0.5, 0.8, torch.tensor([0.16, 0.0625, 0, 0, 0]) / 0.2225, 15.1),
    ],
)
def test_each_row_draws_from_its_own_distribution(
    temperature: float, top_p: float, expected: Tensor, limit: float
) -> None:
    assert chi_square(draws(P, temperature, top_p), expected.double()) < limit


def test_steps_of_one_seed_are_independent_draws() -> None:
    sampler = RowSampler(Sampling(1.0, seed=4, coupled=True))
    chosen = [sampler.choose(P.log()) for _ in range(DRAWS)]
    assert chi_square(chosen, P.double()) < 23.5
    pairs = [5 * a + b for a, b in zip(chosen[::2], chosen[1::2], strict=True)]
    assert chi_square(pairs, torch.outer(P, P).flatten().double()) < 61.0  # 24 degrees of freedom: once in 20,000


def test_neighbouring_seeds_are_independent_draws() -> None:
    chosen = draws(P)
    pairs = [5 * a + b for a, b in zip(chosen[::2], chosen[1::2], strict=True)]
    assert chi_square(pairs, torch.outer(P, P).flatten().double()) < 61.0


def test_noise_is_standard_gumbel() -> None:
    """Mean Euler's constant, variance π²/6, and e^−x exponential: its largest of n near ln n."""
    noise = gumbel_noise(7, 3, 200_000)
    assert noise.dtype == torch.float64
    assert torch.isfinite(noise).all()
    assert float(noise.mean()) == pytest.approx(0.5772, abs=0.012)
    assert float(noise.var()) == pytest.approx(1.6449, abs=0.04)
    assert float((noise < 0).double().mean()) == pytest.approx(0.36788, abs=0.005)
    assert 9 < float(noise.max()) < 23


def test_words_keep_their_noise_in_a_larger_vocabulary() -> None:
    assert torch.equal(gumbel_noise(7, 3, 1001), gumbel_noise(7, 3, 2000)[:1001])


def test_noise_differs_between_steps_and_seeds_in_all_their_bits() -> None:
    keys = [(0, 0), (0, 1), (1, 0), (1, 1), (2**32, 0), (2**63 - 1, 0), (0, 2**32), (1 + 2**32, 1)]
    found = [gumbel_noise(seed, step, 4000) for seed, step in keys]
    for index, one in enumerate(found):
        for other in found[:index]:
            assert not (one == other).any()
            assert abs(float(torch.corrcoef(torch.stack([one, other]))[0, 1])) < 0.08  # five standard errors


def test_noise_asks_no_other_generator() -> None:
    before = gumbel_noise(11, 2, 500).clone()
    state = torch.random.get_rng_state()
    gumbel_noise.cache_clear()
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(99)
    found: list[Tensor] = []
    thread = threading.Thread(target=lambda: found.append(gumbel_noise(11, 2, 500)))
    thread.start()
    thread.join()
    assert torch.equal(found[0], before)


def test_noise_is_the_same_in_another_process() -> None:
    program = "from core.generate.coupling import gumbel_noise; print(gumbel_noise(2**40 + 3, 17, 3)[2].item().hex())"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=True)
    assert float.fromhex(done.stdout) == float(gumbel_noise(2**40 + 3, 17, 3)[2])


def collision(p: Tensor, q: Tensor) -> float:
    """Probability that two Gumbel-coupled draws agree: Σ_i 1 / Σ_j max(p_j/p_i, q_j/q_i)."""
    return sum(1 / float(torch.maximum(p / p[i], q / q[i]).sum()) for i in range(len(p)))


def test_two_rows_part_as_often_as_the_gumbel_coupling_says() -> None:
    first, second = draws(P), draws(Q)
    rate = sum(a != b for a, b in zip(first, second, strict=True)) / DRAWS
    expected = 1 - collision(P, Q)
    total_variation = float((P - Q).abs().sum() / 2)
    standard_error = (expected * (1 - expected) / DRAWS) ** 0.5
    assert rate == pytest.approx(expected, abs=4 * standard_error)
    assert total_variation + 4 * standard_error < rate < 2 * total_variation / (1 + total_variation)
    assert rate < 1 - float((P * Q).sum()) - 4 * standard_error  # what rows of unrelated seeds would do


def test_rows_with_equal_logits_always_choose_the_same() -> None:
    logits = torch.randn(40, 300, generator=torch.Generator().manual_seed(0)) * 3
    one, other = (RowSampler(Sampling(0.8, 0.9, seed=5, coupled=True)) for _ in range(2))
    assert [one.choose(row) for row in logits] == [other.choose(row.clone()) for row in logits]


def test_a_row_that_begins_later_takes_the_noise_of_its_step() -> None:
    logits = torch.randn(30, 300, generator=torch.Generator().manual_seed(1))
    sampling = Sampling(1.0, 0.95, seed=6, coupled=True)
    whole = coupled_choices(sampling, logits)
    assert coupled_choices(sampling, logits[12:], first_step=12) == whole[12:]
    later = RowSampler(sampling, first_step=12)
    assert [later.choose(row) for row in logits[12:]] == whole[12:]
    assert coupled_choices(sampling, logits[12:]) != whole[12:]


def test_greedy_needs_no_coupling() -> None:
    with pytest.raises(ArgumentError, match="greedy needs no coupling"):
        Sampling(coupled=True)
    with pytest.raises(ArgumentError, match="not coupled"):
        coupled_choices(Sampling(1.0), torch.zeros(1, 5))


def test_decoded_lanes_take_what_the_shared_noise_chooses(pair: Pair) -> None:
    """Each lane on its own text, teacher-forced; two lanes with equal gates write the same, others part somewhere."""
    sampling = Sampling(0.9, 0.95, seed=2, coupled=True)
    gates = Gates.stack([pair.base_gates(), pair.tuned_gates(), pair.tuned_gates()])
    decoding = Decoding(pair, IDS, gates, sampling, 16)
    list(decoding)
    assert decoding.tokens[1] == decoding.tokens[2]
    assert decoding.tokens[0] != decoding.tokens[1]
    for lane in (0, 1):
        written = decoding.tokens[lane]
        states = prefill(pair, (*IDS, *written), gates.take([lane]))[0, len(IDS) - 1 : -1]
        assert coupled_choices(sampling, pair.unembed(states)) == written
