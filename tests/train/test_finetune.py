"""Fine-tuning runs on a tiny base: what they learn, leave and refuse."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from core.errors import ArgumentError, TrainingError
from core.pair.files import sha256_of
from core.train.rows import FileChoice
from core.train.settings import FinetuneResult, FinetuneSettings
from tests.command import small_models
from tests.train.runs import BASE_NAME, LEARNED, UNSEEN, Row, curve_of, settings_for, train, training_losses, write_rows

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The PEFT config's `base_model_name_or_path` was renamed:UserWarning"),
]

HEADINGS = ("## Thinking\n\n", "\n\n## Final Response\n\n")


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with small_models(tmp_path_factory.mktemp("home")):
        yield


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("learned") / "learned.jsonl", LEARNED)


@pytest.fixture(scope="module")
def unseen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("unseen") / "unseen.jsonl", UNSEEN)


@pytest.fixture(scope="module")
def finished(
    llama_base: Path, learned: Path, unseen: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, FinetuneResult]:
    """A run of sixty steps without replay, scored on its own rows and on others."""
    out = tmp_path_factory.mktemp("finished") / "adapter"
    heldout = (FileChoice(learned), FileChoice(unseen))
    return out, train(llama_base, out, settings_for(learned, heldout=heldout, epochs=30, heldout_every=25))


def test_overfits_ten_rows(finished: tuple[Path, FinetuneResult]) -> None:
    out, result = finished
    assert result.heldout_after["learned.jsonl"] < 0.05 * result.heldout_before["learned.jsonl"]
    losses = training_losses(out)
    assert list(losses) == [10, 20, 30, 40, 50, 60]
    assert losses[60] < 0.25 * losses[10]
    assert result.steps == 60


def test_the_curve_holds_the_heldout_losses_of_base_run_and_adapter(finished: tuple[Path, FinetuneResult]) -> None:
    out, result = finished
    points = [(point["step"], point["heldout"]) for point in curve_of(out) if point["heldout"] is not None]
    assert [step for step, _ in points] == [0, 25, 50, 60]
    assert points[0][1] == result.heldout_before
    assert points[-1][1] == result.heldout_after


def test_the_result_counts_rows_and_tokens(finished: tuple[Path, FinetuneResult], llama_base: Path) -> None:
    out, result = finished
    tokenizer = AutoTokenizer.from_pretrained(llama_base)
    lengths = [len(prompt_ids(tokenizer, row)) + len(answer_tokens(tokenizer, row)[0]) for row in LEARNED]
    assert (result.n_rows, result.n_tokens) == (10, sum(lengths))
    assert result.adapter_sha256 == sha256_of(out / "adapter_model.safetensors")
    assert Path(result.out) == out


def test_plain_peft_loads_the_adapter_and_its_factors_are_half_precision(
    finished: tuple[Path, FinetuneResult], llama_base: Path
) -> None:
    out, _ = finished
    factors = load_file(out / "adapter_model.safetensors")
    assert len(factors) == 2 * 7 * 4  # A and B, of seven projections, in four layers
    assert {tensor.dtype for tensor in factors.values()} == {torch.float16}
    loaded = plain_tuned(llama_base, out)
    held = {name: tensor for name, tensor in loaded.state_dict().items() if "lora_" in name}
    assert len(held) == len(factors)
    for name, tensor in factors.items():
        assert torch.equal(held[name.replace(".weight", ".default.weight")], tensor.float())


def test_what_is_passed_on_names_the_base_and_no_local_folder(
    finished: tuple[Path, FinetuneResult], llama_base: Path
) -> None:
    out, _ = finished
    assert json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"] == BASE_NAME
    files = [path for path in out.iterdir() if path.is_file() and path.name not in ("settings.json", "curve.jsonl")]
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {path.name for path in files}
    assert [path.name for path in files if str(llama_base).encode() in path.read_bytes()] == []


def plain_base(base: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()


def plain_tuned(base: Path, adapter: Path) -> Any:
    return PeftModel.from_pretrained(plain_base(base), adapter).eval()


def prompt_ids(tokenizer: Any, row: Row) -> list[int]:
    turn = [{"role": "user", "content": row["question"]}]
    ids: list[int] = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=True)["input_ids"]
    return ids


def answer_tokens(tokenizer: Any, row: Row) -> tuple[list[int], list[bool]]:
    """An answer's ids and which of them are words of reasoning or answer, by character offsets."""
    reasoning = row.get("reasoning")
    pieces = [(HEADINGS[0], False), (reasoning, True), (HEADINGS[1], False)] if reasoning else []
    pieces.append((row["answer"], True))
    counted = [is_word for text, is_word in pieces for _ in text]
    encoded = tokenizer("".join(text for text, _ in pieces), add_special_tokens=False, return_offsets_mapping=True)
    kept = [counted[start] for start, _ in encoded["offset_mapping"]]
    return [*encoded["input_ids"], tokenizer.eos_token_id], [*kept, False]


@torch.no_grad()
def plain_loss(model: Any, base: Path, rows: list[Row]) -> float:
    """Nats per word token, one unpadded text at a time."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    losses: list[float] = []
    for row in rows:
        prompt, (answer, kept) = prompt_ids(tokenizer, row), answer_tokens(tokenizer, row)
        log_p = torch.log_softmax(model(torch.tensor([prompt + answer])).logits[0].double(), dim=-1)
        scored = zip(range(len(prompt), len(prompt) + len(answer)), answer, kept, strict=True)
        losses += [-float(log_p[pos - 1, token]) for pos, token, counts in scored if counts]
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("name", "rows"), [("learned.jsonl", LEARNED), ("unseen.jsonl", UNSEEN)])
def test_heldout_losses_are_those_of_plain_transformers_and_peft(
    finished: tuple[Path, FinetuneResult], llama_base: Path, name: str, rows: list[Row]
) -> None:
    out, result = finished
    before = plain_loss(plain_base(llama_base), llama_base, rows)
    after = plain_loss(plain_tuned(llama_base, out), llama_base, rows)
    assert result.heldout_before[name] == pytest.approx(before, rel=1e-5)
    assert result.heldout_after[name] == pytest.approx(after, rel=1e-4)
    assert before != pytest.approx(after, rel=0.01)


def test_replay_rows_and_passes_are_counted(llama_base: Path, learned: Path, unseen: Path, tmp_path: Path) -> None:
    settings = settings_for(learned, replay=(FileChoice(unseen, passes=3),), max_steps=1)
    assert settings.data[0].passes == 1
    result = train(llama_base, tmp_path / "out", settings)
    assert result.n_rows == 10 + 3 * 2
    assert (result.heldout_before, result.heldout_after) == ({}, {})


def test_the_same_settings_give_the_same_adapter(llama_base: Path, learned: Path, tmp_path: Path) -> None:
    settings = settings_for(learned, max_steps=4, dropout=0.1)
    first, again = (train(llama_base, tmp_path / name, settings) for name in ("first", "again"))
    other = train(llama_base, tmp_path / "other", replace(settings, seed=1))
    assert first.adapter_sha256 == again.adapter_sha256
    assert first.adapter_sha256 != other.adapter_sha256


def test_a_finished_folder_is_not_overwritten(
    finished: tuple[Path, FinetuneResult], llama_base: Path, learned: Path
) -> None:
    out, result = finished
    with pytest.raises(TrainingError, match="already holds a finished adapter"):
        train(llama_base, out, settings_for(learned))
    assert sha256_of(out / "adapter_model.safetensors") == result.adapter_sha256


def test_a_folder_with_another_run_is_refused(llama_base: Path, learned: Path, tmp_path: Path) -> None:
    train(llama_base, tmp_path, settings_for(learned, max_steps=1))
    (tmp_path / "adapter_model.safetensors").unlink()
    with pytest.raises(TrainingError, match="run with other settings"):
        train(llama_base, tmp_path, settings_for(learned, max_steps=1, rank=8))
    train(llama_base, tmp_path, settings_for(learned, max_steps=1))


def test_a_folder_that_cannot_be_made_is_named(llama_base: Path, learned: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    out = tmp_path / "file" / "adapter"
    with pytest.raises(TrainingError) as caught:
        train(llama_base, out, settings_for(learned))
    assert str(out) in caught.value.message
    assert caught.value.remedy


def test_projections_the_model_lacks_are_refused(llama_base: Path, learned: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="does not fit this model"):
        train(llama_base, tmp_path / "out", settings_for(learned, targets=("c_attn",)))


@pytest.mark.parametrize("steps", [3, 20])
def test_a_diverging_run_says_so_and_leaves_no_adapter(
    llama_base: Path, learned: Path, tmp_path: Path, steps: int
) -> None:
    with pytest.raises(TrainingError, match=r"diverged.*--learning-rate"):
        train(llama_base, tmp_path / "out", settings_for(learned, learning_rate=1e6, max_steps=steps))
    assert not (tmp_path / "out" / "adapter_model.safetensors").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"rank": 0}, {"alpha": -1}, {"learning_rate": 0.0}, {"learning_rate": float("nan")}, {"clip": 0.0},
        {"batch_size": 0}, {"accumulation": 0}, {"epochs": 0}, {"dropout": 1.0}, {"dropout": -0.1}, {"warmup": 1.5},
        {"heldout_every": 0}, {"heldout_rows": -1},
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        settings_for(tmp_path / "any.jsonl", **changes)


def test_settings_need_data() -> None:
    with pytest.raises(ArgumentError, match="no data"):
        FinetuneSettings(data=())
