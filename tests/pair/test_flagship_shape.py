"""A random Qwen2 with the flagship's widths, vocabulary and untied unembedding, two layers deep."""

from pathlib import Path

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from core.measure.diff import diff
from core.pair.open import load_pair
from core.pair.prompts import Message
from core.pair.unembed import MAX_TEMPORARY_BYTES
from tests import oracle
from tests.conftest import TinyFolders
from tests.gpu.near import GPU
from tests.tiny import build_adapter

# config.json of deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B, but for the number of layers (28 there).
SHAPE = {
    "vocab_size": 151936,
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 2,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
}

DEVICES = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])


@pytest.fixture(scope="module")
def flagship(qwen2_base: Path, tmp_path_factory: pytest.TempPathFactory) -> TinyFolders:
    """Random weights; the tiny tokenizer with the flagship's chat template stands in for its own."""
    folder = tmp_path_factory.mktemp("flagship") / "base"
    torch.manual_seed(3)
    model = Qwen2ForCausalLM(Qwen2Config(**SHAPE, eos_token_id=1, bos_token_id=0)).to(torch.bfloat16)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).write_bytes((qwen2_base / name).read_bytes())
    return TinyFolders(folder, build_adapter(folder, folder.parent / "tuned", r=8))


@pytest.mark.slow
@DEVICES
def test_the_flagships_shape_agrees_with_plain_peft(flagship: TinyFolders, device: str) -> None:
    pair = load_pair(flagship.spec(), device, "float32")
    prompt = pair.prompts.chat([Message(role="user", content="What is asthma?")])
    with torch.no_grad():
        tuned = pair.unembed(pair.hidden(pair.ids([prompt.ids]), pair.tuned_gates()))[0]
    expected = oracle.logits(oracle.plain_tuned(flagship.base, flagship.tuned), prompt.ids)
    assert (tuned.cpu() - expected).abs().max() <= 1e-4


@pytest.mark.slow
@DEVICES
def test_the_flagships_unembedding_is_float32_in_bounded_slices(flagship: TinyFolders, device: str) -> None:
    pair = load_pair(flagship.spec(), device, "bfloat16")
    assert pair.d_vocab * pair.d_model * 4 > MAX_TEMPORARY_BYTES
    hidden = torch.randn(1, 3, pair.d_model, dtype=torch.bfloat16, device=device)
    weight = pair.model.get_output_embeddings().weight
    expected = hidden.double() @ weight[:2000].double().T
    assert (pair.unembed(hidden)[..., :2000] - expected).abs().max() < 1e-4
    prompt = pair.prompts.chat([Message(role="user", content="What is asthma?")])
    found = diff(pair, prompt, [5, 80, 33])
    assert found.reasoning_finished is False
    assert all(token.part == "reasoning" for token in found.tokens[-3:])
    assert (found.summary["kl_tuned_base"].n, found.summary["kl_tuned_base"].mean) != (0, None)
