"""The same promises on a CUDA device; run where there is one."""

import pytest
import torch

from core.generate.answers import ask, standard_lanes
from core.generate.sampling import Sampling
from core.measure.diff import diff
from core.pair.gates import Gates
from core.pair.open import load_pair
from core.pair.prompts import Message
from tests.conftest import TinyFolders

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="There is no CUDA device on this machine"),
]


def test_lanes_and_scores_on_a_gpu_are_those_of_the_cpu(folders: TinyFolders) -> None:
    texts = {}
    for device in ("cpu", "cuda"):
        pair = load_pair(folders.spec(), device, "float32")
        prompt = pair.prompts.chat([Message(role="user", content="What is asthma?")])
        answers = ask(pair, prompt, standard_lanes(pair, {"hybrid": Gates.graft(pair.n_layers, [1])}), Sampling(), 12)
        texts[device] = [lane.ids for lane in answers.lanes]
        found = diff(pair, prompt, answers.lanes[2].ids)
        assert found.summary["kl_tuned_base"].mean == pytest.approx(answers.lanes[2].kl_to_base, abs=1e-4)
    assert texts["cpu"] == texts["cuda"]
