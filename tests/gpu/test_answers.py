"""Answers on a CUDA device: the tokens and figures of the CPU, for one person and for many at once."""

import gc
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from core.errors import DeviceMemoryError
from core.generate.answers import ask, standard_lanes
from core.generate.lane import Lane, amplified_lane, patched_lane
from core.generate.letters import lane_letters
from core.generate.sampling import Sampling
from core.generate.worker import Worker
from core.generate.writing import Job
from core.measure.cross import cross_scores
from core.measure.diff import diff
from core.measure.options import parse_options
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.prompts import Message, Prompt
from tests.gpu.near import DEVICE, GPU, assert_near

pytestmark = GPU
N_NEW = 24
OF_A_LIBRARY = 2**28
"""Bytes that cuBLAS may keep for a thread that computes for the first time."""
SAMPLINGS = {
    "greedy": Sampling(),
    "drawn": Sampling(0.8, 0.95, seed=3),
    "drawn under one noise": Sampling(0.9, 0.95, seed=7, coupled=True),
}
WORDS = ("asthma", "chest pain", "a heart attack", "the blood test", "troponin", "the doctor", "a lung", "help")


def lanes_of(pair: Pair) -> tuple[Lane, ...]:
    """One of every kind between base and tuned."""
    base, tuned = pair.base_gates(), pair.tuned_gates()
    hybrids: dict[str, Gates | Lane] = {
        "grafted": Gates.graft(pair.n_layers, [1]),
        "halfway": Gates.uniform(pair.n_layers, 0.5),
        "patched": patched_lane("patched", base, tuned, "mlp_out", (1, 2)),
        "amplified": amplified_lane("amplified", base, tuned, 1.0),
    }
    return standard_lanes(pair, hybrids)


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
def test_every_kind_of_lane_writes_what_it_writes_on_the_cpu(
    pair: Pair, on_gpu: Pair, prompt: Prompt, sampling: Sampling
) -> None:
    here, there = (ask(own, prompt, lanes_of(own), sampling, N_NEW) for own in (pair, on_gpu))
    assert len({lane.ids for lane in there.lanes}) > 1
    assert_near(here, there)


def test_an_answer_is_scored_as_on_the_cpu_token_by_token(pair: Pair, on_gpu: Pair, prompt: Prompt) -> None:
    ids = ask(pair, prompt, lanes_of(pair)[-1:], Sampling(), N_NEW).lanes[0].ids
    here, there = (diff(own, prompt, ids) for own in (pair, on_gpu))
    assert_near(here, there)
    assert all(token.kl_tuned_base is None or token.kl_tuned_base >= 0 for token in there.tokens)


def test_answers_are_as_likely_under_every_model_as_on_the_cpu(pair: Pair, on_gpu: Pair, prompt: Prompt) -> None:
    models = {"base": pair.base_gates(), "upper": Gates.graft(pair.n_layers, [2, 3]), "tuned": pair.tuned_gates()}
    texts = {word: pair.prompts.answer_ids(f"It may be {word}.") for word in WORDS[:3]}
    assert_near(*(cross_scores(own, prompt, texts, models) for own in (pair, on_gpu)))


def test_every_kind_of_lane_chooses_the_letter_it_chooses_on_the_cpu(pair: Pair, on_gpu: Pair) -> None:
    question = "What is asthma?\nA. A disease of the lungs\nB. A blood test\nC. A doctor"
    options = parse_options(question)
    assert options is not None
    assert_near(*(lane_letters(own, question, options, lanes_of(own)) for own in (pair, on_gpu)))


def test_eight_people_at_once_get_what_each_gets_alone(on_gpu: Pair) -> None:
    jobs = [
        Job(on_gpu.prompts.chat([Message(role="user", content=f"What is {word}?")]), lanes_of(on_gpu), sampling, N_NEW)
        for word, sampling in zip(WORDS, list(SAMPLINGS.values()) * 3, strict=False)
    ]
    worker = Worker(on_gpu)

    def asked(number: int) -> list[list[int]]:
        request = worker.submit(jobs[number], f"person {number}")
        assert request.wait(60)
        assert (request.status, request.error) == ("done", None)
        return [record.ids for record in request.records]

    try:
        with ThreadPoolExecutor(len(WORDS)) as people:
            together = list(people.map(asked, range(len(WORDS))))
    finally:
        worker.shutdown()
    for job, found in zip(jobs, together, strict=True):
        alone = ask(on_gpu, job.prompt, job.lanes, job.sampling, N_NEW)
        assert found == [list(lane.ids) for lane in alone.lanes]


def test_what_does_not_fit_is_refused_and_the_pair_goes_on(on_gpu: Pair, prompt: Prompt) -> None:
    """The device gives two gigabytes more than it has given; 8,192 rows of 512 tokens take more."""
    before = ask(on_gpu, prompt, lanes_of(on_gpu), Sampling(), N_NEW)
    worker = Worker(on_gpu)
    gc.collect()
    torch.cuda.empty_cache()
    held = torch.cuda.memory_allocated()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**31) / torch.cuda.mem_get_info()[1])
    try:
        with pytest.raises(DeviceMemoryError, match="8192 × 512 tokens in one forward pass do not fit"):
            on_gpu.hidden(torch.zeros(8192, 512, dtype=torch.int64), on_gpu.tuned_gates(8192))
        gc.collect()
        assert torch.cuda.memory_allocated() - held < OF_A_LIBRARY
        many = torch.zeros(1, on_gpu.d_model, device=DEVICE).expand(2**21, -1)
        task = worker.call(lambda own, _: own.unembed(many), "me")
        assert task.wait(60)
        assert isinstance(task.error, DeviceMemoryError)
        assert torch.cuda.memory_allocated() - held < OF_A_LIBRARY  # though the error is kept
        request = worker.submit(Job(prompt, lanes_of(on_gpu), Sampling(), N_NEW), "me")
        assert request.wait(60)
        assert request.error is None
        assert [record.ids for record in request.records] == [list(lane.ids) for lane in before.lanes]
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        worker.shutdown()
    after = ask(on_gpu, prompt, lanes_of(on_gpu), Sampling(), N_NEW)
    assert_near(before, after)
