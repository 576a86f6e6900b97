import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from core.errors import AdapterError, GraftError, PairUnavailableError
from core.pair.open import load_pair
from core.pair.pair import Pair
from tests import oracle
from tests.conftest import TinyFolders
from tests.tiny import TARGETS, build_adapter

IDS = [9, 120, 44, 6, 250, 31]


# peft 0.21 takes the bias of lora_B for a damaged shard when it saves; what it saves is right.
@pytest.mark.filterwarnings("ignore:Adapter 'default'.*invalid shape")
@pytest.mark.parametrize(
    "settings",
    [
        {"use_rslora": True},
        {"rank_pattern": {"layers.1.mlp.up_proj": 2}, "alpha_pattern": {"layers.2.self_attn.q_proj": 32}},
        {"bias": "all"},
        {"bias": "lora_only", "target_modules": ["q_proj", "v_proj"]},
        {"lora_bias": True, "target_modules": ["q_proj", "k_proj", "v_proj"]},
        {"target_modules": ["o_proj", "down_proj"], "layers_to_transform": [0, 2]},
    ],
    ids=["rslora", "patterns", "bias-all", "bias-lora-only", "lora-bias", "some-layers"],
)
def test_peft_settings_are_followed(qwen2_base: Path, tmp_path: Path, settings: dict[str, object]) -> None:
    """Qwen2 has biases, so bias settings are real there. Both ends of the gates agree with peft."""
    tuned = build_adapter(qwen2_base, tmp_path / "tuned", **settings)
    pair = load_pair(TinyFolders(qwen2_base, tuned).spec())
    with torch.no_grad():
        base = pair.unembed(pair.hidden(pair.ids([IDS]), pair.base_gates()))[0]
        found = pair.unembed(pair.hidden(pair.ids([IDS]), pair.tuned_gates()))[0]
    assert (base - oracle.logits(oracle.plain_base(qwen2_base), IDS)).abs().max() <= 1e-4
    assert (found - oracle.logits(oracle.plain_tuned(qwen2_base, tuned), IDS)).abs().max() <= 1e-4
    assert (found - base).abs().max() > 1e-2


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning")
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "whole saved modules"),
        ({"trainable_token_indices": [1, 2]}, "token embeddings"),
        ({"target_modules": [*TARGETS, "lm_head"]}, "lm_head"),
        ({"target_modules": ["embed_tokens", "q_proj"]}, "embed_tokens"),
    ],
)
def test_unsupported_adapters_are_refused_by_name(
    qwen2_base: Path, tmp_path: Path, settings: dict[str, object], named: str
) -> None:
    tuned = build_adapter(qwen2_base, tmp_path / "tuned", **settings)
    with pytest.raises(AdapterError, match=named):
        load_pair(TinyFolders(qwen2_base, tuned).spec())


def test_a_full_checkpoint_is_refused_by_name(llama_base: Path) -> None:
    with pytest.raises(AdapterError, match="full checkpoint"):
        load_pair(TinyFolders(llama_base, llama_base).spec())


def test_pickled_weights_are_refused(llama_base: Path, tmp_path: Path) -> None:
    tuned = build_adapter(llama_base, tmp_path / "tuned")
    torch.save({}, tuned / "adapter_model.bin")
    (tuned / "adapter_model.safetensors").unlink()
    with pytest.raises(PairUnavailableError, match="safetensors"):
        load_pair(TinyFolders(llama_base, tuned).spec())


def test_an_adapter_of_another_model_does_not_fit(llama_base: Path, tmp_path: Path) -> None:
    tuned = build_adapter(llama_base, tmp_path / "tuned")
    from safetensors.torch import load_file, save_file

    weights = load_file(tuned / "adapter_model.safetensors")
    save_file(
        {k: torch.cat([v, v], dim=1) if "lora_A" in k else v for k, v in weights.items()},
        tuned / "adapter_model.safetensors",
    )
    with pytest.raises(AdapterError, match="does not fit"):
        load_pair(TinyFolders(llama_base, tuned).spec())


def test_a_truncated_file_is_a_clear_error(llama_base: Path, tmp_path: Path) -> None:
    tuned = build_adapter(llama_base, tmp_path / "tuned")
    path = tuned / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(GraftError, match="does not fit"):
        load_pair(TinyFolders(llama_base, tuned).spec())


def test_the_banner_counts_modules_and_moves_logits(pair: Pair) -> None:
    report = pair.adapter
    assert (report.hit, report.targeted) == (pair.n_layers * 7, pair.n_layers * 7)
    assert report.active
    assert report.warnings == ()
    assert report.banner.startswith(f"adapter active: {report.hit} of {report.targeted} modules, probe Δ ")


def test_a_zero_adapter_says_that_it_changes_nothing(llama_base: Path, load_with: Callable[..., Pair]) -> None:
    report = load_with(llama_base, zero=True).adapter
    assert not report.active
    assert "zero" in report.warnings[0]
    assert "NOT active" in report.banner


def test_missing_modules_are_counted(llama_base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tuned = build_adapter(llama_base, tmp_path / "tuned")
    weights = load_file(tuned / "adapter_model.safetensors")
    kept = {k: v for k, v in weights.items() if "layers.3.mlp.up_proj" not in k}
    save_file(kept, tuned / "adapter_model.safetensors")
    with pytest.warns(UserWarning, match="missing adapter keys"):
        pair = load_pair(TinyFolders(llama_base, tuned).spec())
    assert (pair.adapter.hit, pair.adapter.targeted) == (27, 28)
    assert "27 of the 28" in pair.adapter.warnings[0]


def test_another_base_name_is_a_visible_warning(llama_base: Path, tmp_path: Path) -> None:
    tuned = build_adapter(llama_base, tmp_path / "tuned")
    config = json.loads((tuned / "adapter_config.json").read_text())
    (tuned / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "some/other-model"}))
    warnings = load_pair(TinyFolders(llama_base, tuned).spec()).adapter.warnings
    assert any("some/other-model" in warning for warning in warnings)


def test_a_moved_base_folder_keeps_its_name(llama_base: Path, tmp_path: Path) -> None:
    tuned = build_adapter(llama_base, tmp_path / "tuned")
    moved = tmp_path / "elsewhere" / llama_base.name
    shutil.copytree(llama_base, moved)
    assert load_pair(TinyFolders(moved, tuned).spec()).adapter.warnings == ()
