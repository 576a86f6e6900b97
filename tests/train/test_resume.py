"""Fine-tuning runs that were stopped: they go on as if nothing had happened."""

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.train.choice import FileChoice
from tests.command import MODULE, PROJECT, environment, run_command, small_models
from tests.train.runs import LEARNED, UNSEEN, curve_of, settings_for, train, training_losses, write_rows

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The PEFT config's `base_model_name_or_path` was renamed:UserWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with small_models(tmp_path_factory.mktemp("home")):
        yield


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("learned") / "learned.jsonl", LEARNED)


def lose_the_end(out: Path, last_kept: int) -> None:
    """Takes a finished run back to where it was when checkpoint `last_kept` had just been written."""
    (out / "adapter_model.safetensors").unlink()
    for folder in (out / "checkpoints").iterdir():
        if int(folder.name.removeprefix("checkpoint-")) > last_kept:
            shutil.rmtree(folder)


@pytest.mark.parametrize("checkpoint_every", [10, 15])
def test_a_run_resumed_in_a_later_epoch_ends_as_if_uninterrupted(
    llama_base: Path, learned: Path, tmp_path: Path, checkpoint_every: int
) -> None:
    settings = settings_for(learned, batch_size=1, epochs=2, learning_rate=1e-3, checkpoint_every=checkpoint_every)
    whole = train(llama_base, tmp_path, settings)
    lose_the_end(tmp_path, last_kept=checkpoint_every)
    assert train(llama_base, tmp_path, settings).adapter_sha256 == whole.adapter_sha256


@pytest.mark.parametrize("written", [[], ["adapter_config.json", "adapter_model.safetensors"]])
def test_a_half_written_checkpoint_is_passed_over(
    llama_base: Path, learned: Path, tmp_path: Path, written: list[str]
) -> None:
    settings = settings_for(learned, batch_size=1, learning_rate=1e-3, checkpoint_every=5)
    whole = train(llama_base, tmp_path, settings)
    (tmp_path / "adapter_model.safetensors").unlink()
    for path in (tmp_path / "checkpoints" / "checkpoint-10").iterdir():
        if path.name not in written:
            path.unlink()
    assert train(llama_base, tmp_path, settings).adapter_sha256 == whole.adapter_sha256


def test_the_curve_of_a_resumed_run_holds_each_step_once(llama_base: Path, learned: Path, tmp_path: Path) -> None:
    settings = settings_for(learned, batch_size=1, epochs=3, learning_rate=1e-3, checkpoint_every=10)
    train(llama_base, tmp_path, settings)
    lose_the_end(tmp_path, last_kept=20)
    train(llama_base, tmp_path, settings)
    assert [point["step"] for point in curve_of(tmp_path) if point["loss"] is not None] == [10, 20, 30]


def kill_after_checkpoint(command: list[str], checkpoint: Path) -> None:
    """Starts a command and kills it once a checkpoint is complete."""
    process = subprocess.Popen(
        command, cwd=PROJECT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not (checkpoint / "trainer_state.json").is_file():
        assert process.poll() is None, "the run ended before its first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL


def test_a_killed_run_goes_on_to_the_same_losses(llama_base: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [row | {"question": f"{k}?"} for k in range(10) for row in LEARNED])
    heldout = write_rows(tmp_path / "unseen.jsonl", UNSEEN)
    settings = settings_for(data, heldout=(FileChoice(heldout),), batch_size=1, learning_rate=1e-3, checkpoint_every=50)
    whole = train(llama_base, tmp_path / "whole", settings)

    stopped = tmp_path / "stopped"
    arguments = ["finetune", "--base", str(llama_base), "--data", str(data), "--heldout", str(heldout)]
    arguments += ["--adapter-dir", str(stopped), "--dtype", "float32", "--batch-size", "1"]
    arguments += ["--learning-rate", "1e-3", "--checkpoint-every", "50", "--json"]
    kill_after_checkpoint([*MODULE, *arguments], stopped / "checkpoints" / "checkpoint-50")
    assert not (stopped / "adapter_model.safetensors").exists()
    already = (stopped / "curve.jsonl").read_text()

    resumed = run_command(*arguments)
    assert resumed.code == 0, resumed.err
    assert resumed.report["result"]["steps"] == whole.steps == 100
    assert (stopped / "curve.jsonl").read_text().startswith(already)
    expected = training_losses(tmp_path / "whole")
    assert list(expected) == list(range(10, 101, 10))
    assert training_losses(stopped) == pytest.approx(expected, abs=1e-5)
    assert resumed.report["result"]["heldout_before"] == pytest.approx(whole.heldout_before, abs=1e-5)
    assert resumed.report["result"]["heldout_after"] == pytest.approx(whole.heldout_after, abs=1e-4)


@pytest.mark.parametrize("checkpoint_every", [2, 3])
def test_a_run_that_stopped_by_itself_resumes_to_the_same_adapter(
    llama_base: Path, learned: Path, tmp_path: Path, checkpoint_every: int
) -> None:
    """Killed while it was saving: at the step where patience ended, or a step before."""
    unseen = write_rows(tmp_path / "unseen.jsonl", UNSEEN)
    settings = settings_for(
        learned, heldout=(FileChoice(unseen),), epochs=60, learning_rate=3e-2, heldout_every=2, patience=3,
        checkpoint_every=checkpoint_every,
    )  # fmt: skip
    whole = train(llama_base, tmp_path / "run", settings)
    assert whole.steps < 120
    (tmp_path / "run" / "adapter_model.safetensors").unlink()
    again = train(llama_base, tmp_path / "run", settings)
    assert (again.adapter_sha256, again.steps, again.best_step) == (whole.adapter_sha256, whole.steps, whole.best_step)
    assert sum(point["final"] for point in curve_of(tmp_path / "run")) == 1
