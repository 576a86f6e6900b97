"""bfloat16 on a CUDA device, the default there: how far figures may lie from float32's, and what stays exact."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from core.generate.answers import ask
from core.generate.sampling import Sampling
from core.measure.diff import diff
from core.measure.divergence import kl_divergence
from core.measure.noise import noise_of
from core.pair.open import load_pair
from core.pair.pair import Pair
from core.pair.prompts import Message, Prompt
from core.pair.routes import prefill
from tests.conftest import TinyFolders
from tests.gpu.near import DEVICE, GPU
from tests.gpu.test_answers import lanes_of

pytestmark = GPU


@pytest.fixture(scope="module")
def half(folders: TinyFolders) -> Pair:
    return load_pair(folders.spec(), DEVICE)


def test_a_pair_is_in_bfloat16_there_unless_asked_otherwise(half: Pair) -> None:
    assert (half.dtype, half.model.dtype, half.adapter.active) == ("bfloat16", torch.bfloat16, True)


def test_scores_lie_near_those_of_float32(pair: Pair, half: Pair, prompt: Prompt) -> None:
    ids = pair.prompts.answer_ids("Asthma is a chronic disease of the airways in the lungs.")
    exact, rough = (diff(own, prompt, ids).summary for own in (pair, half))
    for name in ("kl_tuned_base", "kl_base_tuned", "js", "tv"):
        assert rough[name].mean == pytest.approx(exact[name].mean, rel=0.1)


def test_a_model_does_not_diverge_from_itself(half: Pair, prompt: Prompt) -> None:
    with torch.no_grad():
        logits = half.unembed(prefill(half, prompt.ids, half.base_gates()))[0]
    assert logits.dtype == torch.float32
    assert not kl_divergence(logits, logits).any()


def test_without_a_change_base_and_tuned_are_one_but_for_noise(
    load_with: Callable[..., Pair], llama_base: Path
) -> None:
    same = load_pair(load_with(llama_base, zero=True).spec, DEVICE)
    prompt = same.prompts.chat([Message(role="user", content="What is asthma?")])
    found = diff(same, prompt, same.prompts.answer_ids("A chronic disease.")).tokens
    scored = [token.kl_tuned_base for token in found if token.kl_tuned_base is not None]
    assert 0 <= min(scored) <= max(scored) <= 5 * noise_of(same).kl


def test_lanes_are_written_and_scored_to_their_end(half: Pair, prompt: Prompt) -> None:
    found = ask(half, prompt, lanes_of(half), Sampling(0.9, seed=7, coupled=True), 24)
    for lane in found.lanes:
        assert lane.finished in ("end", "length")
        assert lane.kl_to_base is not None
        assert lane.kl_to_base >= 0
