"""Our step loop against `generate`, row by row."""

import gc
import threading
import time
import weakref
from pathlib import Path

import pytest
import torch

from core.errors import ArgumentError, TooLongError
from core.generate.answers import greedy_answer
from core.generate.lane import Lane
from core.generate.lanes import Decoding
from core.generate.sampling import Sampling
from core.measure.noise import measure_noise
from core.pair.gates import Gates
from core.pair.pair import Pair
from tests import oracle
from tests.conftest import TinyFolders

PROMPT = [5, 80, 33, 200, 7, 150]
NEW = 24


def decode(pair: Pair, gates: Gates, sampling: Sampling = Sampling(), n: int = NEW) -> list[list[int]]:  # noqa: B008
    decoding = Decoding(pair, PROMPT, gates, sampling, n)
    for _ in decoding:
        pass
    return decoding.tokens


def three(pair: Pair) -> Gates:
    return Gates.stack([pair.base_gates(), Gates.graft(pair.n_layers, [1, 2]), pair.tuned_gates()])


def agree(ours: list[int], theirs: list[int], pair: Pair, gates: Gates) -> None:
    """Equal up to a first position whose two best logits are closer than twice the noise; that reservation is rare."""
    for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if a != b:
            ids = pair.ids([[*PROMPT, *ours[:index]]])
            with torch.no_grad():
                best = pair.unembed(pair.hidden(ids, gates))[0, -1].topk(2).values
            assert best[0] - best[1] < 2 * measure_noise(pair).logit, f"differ at {index} without a tie"
            return


def test_greedy_lanes_are_what_generate_writes(pair: Pair, folders: TinyFolders) -> None:
    lanes = decode(pair, three(pair))
    agree(lanes[0], oracle.generate(oracle.plain_base(folders.base), PROMPT, NEW), pair, pair.base_gates())
    tuned = oracle.plain_tuned(folders.base, folders.tuned)
    agree(lanes[2], oracle.generate(tuned, PROMPT, NEW), pair, pair.tuned_gates())
    assert lanes[0] != lanes[2]


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.9), (1.3, 0.5)])
def test_sampled_lanes_are_what_generate_writes(
    pair: Pair, folders: TinyFolders, temperature: float, top_p: float
) -> None:
    ours = decode(pair, three(pair), Sampling(temperature, top_p, seed=3))
    settings = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
    for lane, model, seed in (
        (0, oracle.plain_base(folders.base), 3),
        (2, oracle.plain_tuned(folders.base, folders.tuned), Lane("tuned", pair.tuned_gates()).own_seed(3)),
    ):
        torch.manual_seed(seed)
        assert ours[lane] == oracle.generate(model, PROMPT, NEW, **settings)


def test_lanes_with_equal_gates_and_seed_write_the_same(pair: Pair) -> None:
    one, other = decode(pair, pair.tuned_gates(2), Sampling(1.0, 1.0, seed=9))
    assert one == other
    assert decode(pair, pair.tuned_gates(), Sampling(1.0, 1.0, seed=10))[0] != one


def test_a_lane_writes_the_same_alone_and_beside_others(pair: Pair) -> None:
    gates = three(pair)
    for sampling in (Sampling(), Sampling(1.0, 0.95, seed=4), Sampling(1.0, 0.95, seed=4, coupled=True)):
        together = decode(pair, gates, sampling)
        for lane in range(3):
            assert decode(pair, gates.take([lane]), sampling)[0] == together[lane]


def test_teacher_forcing_a_greedy_answer_reproduces_it(pair: Pair) -> None:
    for gates in (pair.base_gates(), pair.tuned_gates(), Gates.graft(pair.n_layers, [0])):
        written = decode(pair, gates)[0]
        with torch.no_grad():
            logits = pair.unembed(pair.hidden(pair.ids([[*PROMPT, *written]]), gates))[0]
        forced = logits[len(PROMPT) - 1 : -1].argmax(-1).tolist()
        agree(written, forced, pair, gates)


def test_one_forward_a_step(pair: Pair) -> None:
    before = pair.forwards
    lanes = decode(pair, three(pair), n=10)
    assert pair.forwards - before == max(len(lane) for lane in lanes)


def test_a_lane_that_ends_leaves_the_batch(pair: Pair) -> None:
    """The end token of one lane's choice is made the end of turn; the others go on as if alone."""
    gates = three(pair)
    undisturbed = Decoding(pair, PROMPT, gates, max_new_tokens=NEW)
    list(undisturbed)
    free = undisturbed.tokens
    stop = next(t for t in free[0][3:] if t not in free[0][:3] and t not in free[1] and t not in free[2])
    original = pair.prompts.end_ids
    pair.prompts.end_ids = (*original, stop)
    try:
        decoding = Decoding(pair, PROMPT, gates, max_new_tokens=NEW)
        for _ in decoding:
            pass
    finally:
        pair.prompts.end_ids = original
    assert decoding.finished == ["end", *undisturbed.finished[1:]]
    assert decoding.tokens[0] == free[0][: free[0].index(stop) + 1]
    assert decoding.tokens[1:] == free[1:]


def test_two_interleaved_decodings_keep_their_gates(pair: Pair) -> None:
    alone = [decode(pair, pair.base_gates())[0], decode(pair, pair.tuned_gates())[0]]
    first = Decoding(pair, PROMPT, pair.base_gates(), max_new_tokens=NEW)
    second = Decoding(pair, PROMPT, pair.tuned_gates(), max_new_tokens=NEW)
    for _ in range(NEW // 2):
        next(first)
        next(second)
    closer = threading.Thread(target=first.close)
    closer.start()
    closer.join()
    rest = list(second)
    assert list(first) == []
    assert first.tokens[0] == alone[0][: NEW // 2]
    assert second.tokens[0] == alone[1]
    assert len(rest) == NEW - NEW // 2


def test_closing_while_a_step_runs_ends_the_iteration_and_frees_the_cache(pair: Pair) -> None:
    decoding = Decoding(pair, PROMPT, three(pair), max_new_tokens=300)
    seen = 0

    def run() -> None:
        nonlocal seen
        for _ in decoding:
            seen += 1

    thread = threading.Thread(target=run)
    thread.start()
    while seen < 3:
        time.sleep(0.001)
    cache = weakref.ref(decoding._batch._cache)
    decoding.close()
    thread.join(timeout=10)
    assert not thread.is_alive()
    gc.collect()
    assert cache() is None
    assert seen < 300


def test_a_long_answer_outgrows_the_first_buffers(pair: Pair) -> None:
    short = decode(pair, pair.base_gates(), n=20)[0]
    long = decode(pair, pair.base_gates(), n=220)[0]
    assert long[:20] == short
    assert len(long) == 220 or long[-1] in pair.prompts.end_ids


def test_the_context_is_the_limit(pair: Pair) -> None:
    prompt = PROMPT * 85  # 510 of 512
    decoding = Decoding(pair, prompt, pair.base_gates(), max_new_tokens=50)
    assert len(list(decoding)) == 2
    with pytest.raises(TooLongError, match="512"):
        Decoding(pair, PROMPT * 86, pair.base_gates())


@pytest.mark.parametrize(
    "settings", [{"temperature": -1.0}, {"temperature": float("nan")}, {"top_p": 0.0}, {"top_p": 1.1}, {"seed": -1}]
)
def test_bad_sampling_settings(settings: dict[str, float]) -> None:
    with pytest.raises(ArgumentError):
        Sampling(**settings)  # type: ignore[arg-type]


def test_nothing_asked_for(pair: Pair) -> None:
    with pytest.raises(ArgumentError, match="max_new_tokens"):
        Decoding(pair, PROMPT, pair.base_gates(), max_new_tokens=0)


@pytest.mark.slow
def test_the_demo_pair_writes_what_generate_writes(demo: Pair) -> None:
    prompt = demo.prompts.chat([{"role": "user", "content": "What is asthma and how is it treated?"}])
    base_folder, tuned_folder = Path(demo.identity.base_path), Path(demo.identity.tuned_path)
    plain = {0: oracle.plain_base(base_folder), 1: oracle.plain_tuned(base_folder, tuned_folder)}
    for strength, model in plain.items():
        ours = greedy_answer(demo, prompt, Gates.uniform(demo.n_layers, float(strength)), 48)
        assert list(ours) == oracle.generate(model, prompt.ids, 48)
