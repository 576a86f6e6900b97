"""How commands fail: exit codes and the error object."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import torch
from pydantic import TypeAdapter

from core.present.report import ErrorReport
from tests.command import Outcome, run_command, run_process, small_models
from tests.conftest import TinyFolders
from tests.tiny import build_adapter

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The PEFT config's `base_model_name_or_path` was renamed:UserWarning"),
]

QUESTION = "What is asthma?"
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache folder of this file's own, in which nothing is fetched."""
    with small_models(tmp_path_factory.mktemp("home")):
        yield


@pytest.fixture(scope="module")
def llama(llama_base: Path, tmp_path_factory: pytest.TempPathFactory) -> TinyFolders:
    return TinyFolders(llama_base, build_adapter(llama_base, tmp_path_factory.mktemp("tuned")))


def pair_of(folders: TinyFolders) -> list[str]:
    return ["--base", str(folders.base), "--tuned", str(folders.tuned)]


LONG = "word " * 600
NEEDS_NO_PAIR: list[tuple[list[str], str]] = [
    ([], "COMMAND"),
    (["frobnicate"], "frobnicate"),
    (["diff"], "QUESTION"),
    (["pairs", "--nonsense"], "--nonsense"),
    (["pairs", "--fetch", "nope"], "'nope'"),
    (["pairs", "--out", "list.csv"], ".csv"),
    (["ask", QUESTION, "--pair", "nope"], "'nope'"),
    (["ask", QUESTION, "--base", "."], "--base and --tuned"),
    (["ask", QUESTION, "--tuned", "."], "--base and --tuned"),
    (["ask", QUESTION, "--base", "/no/such", "--tuned", "."], "'/no/such'"),
    (["finetune", "--data", "x.jsonl,rows=0", "--adapter-dir", "never"], "'rows=0'"),
    (["finetune", "--data", "x.jsonl", "--adapter-dir", "never", "--targets", "lm_head"], "'lm_head'"),
]
NEEDS_A_PAIR: list[tuple[list[str], str]] = [
    (["diff", "  ", "--answer", "A"], "question is empty"),
    (["diff", "", "--raw", "--answer", "A"], "empty"),
    (["diff", QUESTION, "--answer", ""], "answer to score is empty"),
    (["diff", QUESTION, "--answer-ids", "1,x"], "'1,x'"),
    (["diff", QUESTION, "--answer-ids", ""], "''"),
    (["diff", QUESTION, "--answer-ids", "1,100000"], "100000"),
    (["diff", QUESTION, "--answer-ids", "-1"], "-1"),
    (["diff", QUESTION, "--answer", "A", "--answer-ids", "1"], "not allowed with"),
    (["diff", QUESTION, "--answer", "A", "--answer-from", "base"], "not allowed with"),
    (["diff", QUESTION, "--answer-from", "hybrid"], "hybrid"),
    (["diff", QUESTION, "--end"], "--end"),
    (["diff", QUESTION, "--answer", "A", "--mask", "everything"], "everything"),
    (["diff", QUESTION, "--answer", "A", "--raw", "--system", "S"], "--system"),
    (["diff", QUESTION, "--answer", "A", "--out", "picture.bmp"], ".bmp"),
    (["diff", QUESTION, "--answer", "A", "--out", "no-ending"], "no ending"),
    (["diff", QUESTION, "--answer", "A", "--out", "no/such/folder.json"], "no/such/folder.json"),
    (["diff", LONG, "--answer", "A"], "512"),
    (["diff", QUESTION, "--answer", LONG], "512"),
    (["ask", LONG], "512"),
    (["ask", QUESTION, "--layers", "4"], "Layer 4"),
    (["ask", QUESTION, "--layers", "2-1"], "'2-1'"),
    (["ask", QUESTION, "--layers", "upper"], "'upper'"),
    (["ask", QUESTION, "--layers", "1,,2"], "'1,,2'"),
    (["ask", QUESTION, "--part", "head"], "head"),
    (["ask", QUESTION, "--strength", "-0.5"], "-0.5"),
    (["ask", QUESTION, "--strength", "4.5"], "4.5"),
    (["ask", QUESTION, "--strength", "nan"], "nan"),
    (["ask", QUESTION, "--strength", "strong"], "strong"),
    (["ask", QUESTION, "--max-new-tokens", "0"], "0"),
    (["ask", QUESTION, "--max-new-tokens", "many"], "many"),
    (["ask", QUESTION, "--temperature", "-1"], "-1"),
    (["ask", QUESTION, "--top-p", "0"], "top-p"),
    (["ask", QUESTION, "--seed", "-1"], "-1"),
    (["ask", QUESTION, "--device", "abacus"], "abacus"),
    (["ask", QUESTION, "--dtype", "int8"], "int8"),
]


def check_refusal(outcome: Outcome, code: int, words: str) -> None:
    jsonschema.validate(outcome.report, TypeAdapter(ErrorReport).json_schema(mode="serialization"))
    assert outcome.code == code, outcome.err
    assert words in outcome.error["message"]
    assert outcome.error["remedy"]


@pytest.mark.parametrize(("arguments", "words"), NEEDS_NO_PAIR)
def test_bad_arguments_end_with_2(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check_refusal(run_command(*arguments, "--json"), 2, words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("arguments", "words"), NEEDS_A_PAIR)
def test_bad_input_ends_with_2(arguments: list[str], words: str, llama: TinyFolders) -> None:
    check_refusal(run_command(*arguments, *pair_of(llama), "--json"), 2, words)


def test_halves_that_do_not_belong_together_end_with_2(llama: TinyFolders, qwen2_base: Path) -> None:
    mixed = TinyFolders(qwen2_base, llama.base)
    check_refusal(run_command("ask", QUESTION, *pair_of(mixed), "--json"), 2, "not an adapter")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device_ends_with_2(llama: TinyFolders) -> None:
    check_refusal(run_command("ask", QUESTION, *pair_of(llama), "--device", "cuda", "--json"), 2, "CUDA")


def test_a_pair_that_is_not_here_ends_with_3(llama: TinyFolders, tmp_path: Path) -> None:
    check_refusal(run_command("ask", QUESTION, "--json"), 3, "has not been fetched")
    for halves in (TinyFolders(tmp_path, llama.tuned), TinyFolders(llama.base, tmp_path)):
        check_refusal(run_command("ask", QUESTION, *pair_of(halves), "--json"), 3, str(tmp_path))


def test_without_json_an_error_is_a_line_on_standard_error() -> None:
    outcome = run_command("ask", QUESTION, "--pair", "nope")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.count("\n") == 1
    assert "'nope'" in outcome.err
    assert "demo" in outcome.err


def test_the_process_ends_with_the_exit_code(tmp_path: Path) -> None:
    outcome = run_process("ask", QUESTION, "--json", GRAFT_HOME=tmp_path)
    check_refusal(outcome, 3, "has not been fetched")


def test_an_interrupted_command_ends_with_130(llama: TinyFolders, tmp_path: Path) -> None:
    data, out = tmp_path / "rows.jsonl", tmp_path / "adapter"
    data.write_text(json.dumps({"question": QUESTION, "answer": "A disease."}) + "\n")

    command = [sys.executable, "-m", "core", "finetune", "--base", str(llama.base), "--data", str(data)]
    command += ["--adapter-dir", str(out), "--epochs", "100000", "--json"]
    # Tests run in the background of a shell are given an interrupt that is ignored; a command typed is not.
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    finally:
        signal.signal(signal.SIGINT, usual)
    with process:
        try:
            while not (out / "curve.jsonl").exists():
                assert process.poll() is None
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            printed, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert json.loads(printed)["error"]["kind"] == "Interrupted"
