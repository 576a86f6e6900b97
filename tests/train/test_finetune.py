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

from core.errors import ArgumentError, DataError, TooLongError, TrainingError
from core.pair.files import sha256_of
from core.pair.load import end_of_turn_ids, load_base
from core.pair.prompts import PromptBuilder
from core.pair.registry import Source
from core.train.choice import FileChoice
from core.train.data import gather
from core.train.finetune import with_adapter
from core.train.preview import preview
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


def test_a_mended_file_trains_into_the_folder_that_was_refused(llama_base: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "rows.jsonl", tmp_path / "adapter"
    data.write_text('{"q": "What is asthma?", "answer": "A disease."}\n')
    with pytest.raises(DataError, match="line 1 has no 'question'"):
        train(llama_base, out, settings_for(data, max_steps=1))
    write_rows(data, LEARNED)
    assert train(llama_base, out, settings_for(data, max_steps=1)).steps == 1
    assert json.loads((out / "settings.json").read_text())["data"][0]["sha256"] == sha256_of(data)


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


def test_validation_rows_are_set_aside_and_never_trained_on(llama_base: Path, learned: Path, tmp_path: Path) -> None:
    model, tokenizer = load_base(llama_base, "cpu", torch.float32)
    prompts = PromptBuilder(tokenizer, end_of_turn_ids(model, tokenizer), 512)
    found = gather(settings_for(learned, validation=0.3), prompts, lambda line: None)
    trained, aside = ({example.row_id for example in rows} for rows in (found.train, found.heldout["validation"]))
    assert (len(trained), len(aside)) == (7, 3)
    assert not trained & aside
    result = train(llama_base, tmp_path, settings_for(learned, max_steps=1, validation=0.3))
    assert result.n_rows == 7
    assert list(result.heldout_after) == ["validation"]


def test_early_stopping_keeps_the_best_factors(llama_base: Path, learned: Path, unseen: Path, tmp_path: Path) -> None:
    """At a rate that overfits, the unseen rows get worse after a while; the adapter is that of the best score."""
    settings = settings_for(
        learned, heldout=(FileChoice(unseen),), epochs=60, learning_rate=3e-2, heldout_every=2, patience=4
    )
    result = train(llama_base, tmp_path, settings)
    scores = {
        point["step"]: point["heldout"][unseen.name]
        for point in curve_of(tmp_path)
        if point["heldout"] is not None and 0 < point["step"] < result.steps
    }
    assert result.steps < 120
    assert result.best_step == min(scores, key=scores.__getitem__)
    assert result.heldout_after[unseen.name] == pytest.approx(scores[result.best_step], abs=1e-3)


def test_checkpointing_activations_changes_no_factor(llama_base: Path, learned: Path, tmp_path: Path) -> None:
    plain = train(llama_base, tmp_path / "plain", settings_for(learned))
    saving = train(llama_base, tmp_path / "saving", settings_for(learned, gradient_checkpointing=True))
    assert saving.adapter_sha256 == plain.adapter_sha256


def test_checkpointing_is_really_on(llama_base: Path, learned: Path) -> None:
    """Each layer's forward runs twice where activations are not kept."""
    model, _ = load_base(llama_base, "cpu", torch.float32)
    peft_model = with_adapter(model, settings_for(learned))
    peft_model.activation_checkpointing_enable({"use_reentrant": False})
    peft_model.train()
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    for layer in model.model.layers:
        layer.self_attn.register_forward_pre_hook(count)  # recomputing may stop before a layer ends
    peft_model(input_ids=torch.tensor([[1, 2, 3]]), labels=torch.tensor([[1, 2, 3]])).loss.backward()
    assert calls == 2 * len(model.model.layers)


def test_two_small_batches_accumulated_are_one_large_one(
    llama_base: Path, learned: Path, unseen: Path, tmp_path: Path
) -> None:
    heldout = (FileChoice(unseen),)
    large = train(llama_base, tmp_path / "large", settings_for(learned, heldout=heldout, batch_size=10))
    small = train(llama_base, tmp_path / "small", settings_for(learned, heldout=heldout, batch_size=5, accumulation=2))
    assert small.steps == large.steps == 1
    assert small.heldout_after[unseen.name] == pytest.approx(large.heldout_after[unseen.name], abs=1e-4)


def test_a_preview_shows_rows_and_writes_nothing(
    llama_base: Path, learned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAFT_HOME", str(tmp_path / "home"))
    before = sorted(learned.parent.iterdir())
    shown = preview(Source(id="tiny", path=str(llama_base)), settings_for(learned, epochs=3), lambda line: None)
    assert (shown.n_rows, shown.n_steps) == (10, 6)
    assert [row.row_id for row in shown.rows] == [f"learned.jsonl line {k}" for k in (1, 6, 10)]
    assert "What is disease 0?" in shown.rows[0].prompt
    assert shown.rows[0].trained.startswith("Number 0 of the lungs.")
    assert shown.seconds > 0
    assert list(tmp_path.iterdir()) == []
    assert sorted(learned.parent.iterdir()) == before


def test_rows_beyond_the_context_are_skipped_where_that_was_asked_for(llama_base: Path, tmp_path: Path) -> None:
    long = {"question": "Why?", "answer": "pain " * 2000}
    data = write_rows(tmp_path / "rows.jsonl", [*LEARNED, long])
    with pytest.raises(TooLongError, match=r"rows\.jsonl line 11"):
        train(llama_base, tmp_path / "refused", settings_for(data, max_steps=1))
    skipping = FinetuneSettings(data=(FileChoice(data, skip_bad=True),), max_steps=1, dtype="float32")
    assert train(llama_base, tmp_path / "skipped", skipping).n_rows == len(LEARNED)


def test_an_adapter_is_trained_further_from_where_it_was(
    finished: tuple[Path, FinetuneResult], learned: Path, llama_base: Path, tmp_path: Path
) -> None:
    first, result = finished
    heldout = (FileChoice(learned),)
    further = train(
        llama_base, tmp_path / "out", settings_for(learned, heldout=heldout, start_from=first, learning_rate=1e-9)
    )
    assert further.heldout_before["learned.jsonl"] == pytest.approx(result.heldout_after["learned.jsonl"], abs=1e-6)
    old, new = (load_file(folder / "adapter_model.safetensors") for folder in (first, tmp_path / "out"))
    assert all(torch.equal(old[name], new[name]) for name in old)
    record = json.loads((tmp_path / "out" / "settings.json").read_text())["start_from"]
    assert record == {"path": "adapter", "sha256": sha256_of(first / "adapter_model.safetensors")}


@pytest.mark.parametrize("changes", [{"rank": 4}, {"alpha": 8}, {"targets": ("q_proj",)}])
def test_an_adapter_of_another_shape_is_not_trained_further(
    finished: tuple[Path, FinetuneResult], learned: Path, llama_base: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(TrainingError, match="rank"):
        train(llama_base, tmp_path / "out", settings_for(learned, start_from=finished[0], **changes))


def test_a_folder_without_an_adapter_is_named(learned: Path, llama_base: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no adapter"):
        train(llama_base, tmp_path / "out", settings_for(learned, start_from=tmp_path))
    for name, text in (("adapter_config.json", "{"), ("adapter_model.safetensors", "x")):
        (tmp_path / name).write_text(text)
    with pytest.raises(TrainingError, match="cannot be trained further"):
        train(llama_base, tmp_path / "out", settings_for(learned, start_from=tmp_path))
