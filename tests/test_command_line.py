"""The command line's contract: what is on standard output, field by field, and how commands fail."""

import csv
import hashlib
import io
import json
import math
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import TypeAdapter
from transformers import AutoConfig, AutoTokenizer

import core
from core.pair import registry
from core.present.all_reports import REPORTS
from tests.command import PROJECT, Outcome, run_command, small_models
from tests.conftest import TinyFolders
from tests.tiny import N_LAYERS, build_adapter

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The PEFT config's `base_model_name_or_path` was renamed:UserWarning"),
]

QUESTION = "What is asthma?"
ANSWER = "A disease of the\nairways: 3 µg é 😀, 'quoted'."

EVERY = {"schema_version", "command", "provenance"}
PROVENANCE = {
    "pair", "base_id", "base_sha256", "tuned_id", "tuned_sha256", "template_sha256", "device", "dtype", "seed",
    "versions", "noise_floor",
}  # fmt: skip
DIFF = {"prompt_ids", "answer_ids", "answer_text", "mask", "units", "summary", "concentration", "tokens"}
SUMMARY = {"mean", "sum", "median", "p95", "p99", "max", "n", "noise"}
SCORES = {
    "kl_tuned_base", "kl_base_tuned", "js", "tv", "entropy_base", "entropy_tuned", "logp_base", "logp_tuned",
    "delta_logp", "rank_base", "rank_tuned", "top_base", "top_tuned",
}  # fmt: skip
ASK = {"prompt_ids", "lanes", "first_divergence"}
LANE = {
    "name", "gates", "text", "ids", "finished", "kl_to_base", "kl_to_tuned", "repetition", "tokens_per_second",
}  # fmt: skip
PAIR = {"name", "ready", "base", "tuned", "n_layers", "d_model", "d_vocab"}
HALF = {"id", "path", "sha256"}


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache folder of this file's own, in which nothing is fetched."""
    with small_models(tmp_path_factory.mktemp("home")):
        yield


def pair_of(folders: TinyFolders) -> list[str]:
    return ["--base", str(folders.base), "--tuned", str(folders.tuned)]


@pytest.fixture(scope="module")
def llama(llama_base: Path, tmp_path_factory: pytest.TempPathFactory) -> TinyFolders:
    return TinyFolders(llama_base, build_adapter(llama_base, tmp_path_factory.mktemp("tuned")))


@pytest.fixture(scope="module")
def diffed(folders: TinyFolders) -> Outcome:
    return run_command("diff", QUESTION, "--answer", ANSWER, *pair_of(folders), "--json")


@pytest.fixture(scope="module")
def asked(folders: TinyFolders) -> Outcome:
    return run_command("ask", QUESTION, "--max-new-tokens", "6", *pair_of(folders), "--json")


@pytest.fixture
def listed(llama: TinyFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outcome]:
    """`pairs` with a registry that has a pair that is here beside one that is not."""
    here = f'[here]\ntitle = "Here"\n[here.base]\nid = "b"\npath = "{llama.base}"\n'
    here += f'[here.tuned]\nid = "t"\npath = "{llama.tuned}"\n'
    (tmp_path / "pairs.toml").write_text(here + registry.REGISTRY_FILE.read_text())
    monkeypatch.setattr(registry, "REGISTRY_FILE", tmp_path / "pairs.toml")
    registry.known_pairs.cache_clear()
    yield run_command("pairs", "--json")
    registry.known_pairs.cache_clear()


def check_schema(outcome: Outcome, kind: type) -> None:
    jsonschema.validate(outcome.report, TypeAdapter(kind).json_schema(mode="serialization"))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_diff_has_every_field_of_the_contract(diffed: Outcome) -> None:
    assert diffed.code == 0, diffed.err
    report = diffed.report
    check_schema(diffed, REPORTS["diff"])
    assert set(report) >= EVERY | DIFF
    assert set(report["provenance"]) >= PROVENANCE
    assert set(report["concentration"]) >= {"top_1pct", "top_5pct", "top_10pct"}
    assert set(report["summary"]) >= {"kl_tuned_base", "kl_base_tuned", "js", "tv", "delta_logp"}
    assert all(set(summary) >= SUMMARY for summary in report["summary"].values())
    assert all(set(token) >= SCORES | {"pos", "id", "text", "bytes", "part"} for token in report["tokens"])
    choices = [choice for token in report["tokens"][1:] for choice in token["top_base"] + token["top_tuned"]]
    assert all(set(choice) == {"id", "text", "logp"} for choice in choices)


def test_ask_has_every_field_of_the_contract(asked: Outcome) -> None:
    assert asked.code == 0, asked.err
    check_schema(asked, REPORTS["ask"])
    assert set(asked.report) >= EVERY | ASK
    assert set(asked.report["provenance"]) >= PROVENANCE
    assert [lane["name"] for lane in asked.report["lanes"]] == ["base", "hybrid", "tuned"]
    assert all(set(lane) >= LANE for lane in asked.report["lanes"])


def test_pairs_has_every_field_of_the_contract(listed: Outcome) -> None:
    assert listed.code == 0, listed.err
    check_schema(listed, REPORTS["pairs"])
    assert EVERY | {"pairs"} <= set(listed.report)
    assert set(listed.report["provenance"]) >= PROVENANCE
    for pair in listed.report["pairs"]:
        assert set(pair) >= PAIR
        assert set(pair["base"]) >= HALF
        assert set(pair["tuned"]) >= HALF | {"kind"}


def test_pairs_tells_what_is_here_from_what_is_not(listed: Outcome, llama: TinyFolders) -> None:
    found = {pair["name"]: pair for pair in listed.report["pairs"]}
    here, demo = found["here"], found["demo"]
    config = AutoConfig.from_pretrained(llama.base)
    assert here["ready"] is True
    assert here["base"] == {"id": "b", "path": str(llama.base), "sha256": sha256(llama.base / "model.safetensors")}
    assert here["tuned"] == {
        "id": "t",
        "kind": "adapter",
        "path": str(llama.tuned),
        "sha256": sha256(llama.tuned / "adapter_model.safetensors"),
    }
    assert (here["n_layers"], here["d_model"], here["d_vocab"]) == (N_LAYERS, 48, config.vocab_size)
    assert demo["ready"] is False
    assert [demo["base"]["path"], demo["base"]["sha256"], demo["n_layers"], demo["d_model"], demo["d_vocab"]] == [
        None, None, None, None, None,
    ]  # fmt: skip


def test_provenance_names_weights_template_settings_and_versions(diffed: Outcome, folders: TinyFolders) -> None:
    found = diffed.report["provenance"]
    template = AutoTokenizer.from_pretrained(folders.base).chat_template
    assert found["base_id"] == str(folders.base)
    assert found["base_sha256"] == sha256(folders.base / "model.safetensors")
    assert found["tuned_sha256"] == sha256(folders.tuned / "adapter_model.safetensors")
    assert found["template_sha256"] == hashlib.sha256(template.encode()).hexdigest()
    assert (found["device"], found["dtype"], found["seed"]) == ("cpu", "float32", 0)
    assert found["versions"] == {
        "graft": core.__version__, "torch": version("torch"), "transformers": version("transformers"),
        "peft": version("peft"),
    }  # fmt: skip
    assert 0 <= found["noise_floor"] < 1e-6
    assert diffed.report["schema_version"] == 1


def without_speeds(report: dict[str, Any]) -> dict[str, Any]:
    lanes = [{**lane, "tokens_per_second": None} for lane in report.get("lanes", [])]
    return {**report, "lanes": lanes}


def test_the_recorded_line_recomputes_the_report(diffed: Outcome, asked: Outcome) -> None:
    for first in (diffed, asked):
        words = shlex.split(first.report["command"])
        assert words[:3] == ["python", "-m", "core"]
        again = run_command(*words[3:])
        assert without_speeds(again.report) == without_speeds(first.report)


def test_token_zero_has_no_score_and_every_other_has(diffed: Outcome) -> None:
    first, *others = diffed.report["tokens"]
    assert [first[name] for name in sorted(SCORES)] == [None] * len(SCORES)
    assert all(token[name] is not None for token in others for name in SCORES)
    assert all(len(token["top_base"]) == len(token["top_tuned"]) == 10 for token in others)


def test_tokens_are_prompt_and_answer_in_order(diffed: Outcome) -> None:
    report = diffed.report
    assert [token["id"] for token in report["tokens"]] == report["prompt_ids"] + report["answer_ids"]
    assert [token["pos"] for token in report["tokens"]] == list(range(len(report["tokens"])))


def test_bytes_are_lossless_and_broken_characters_show_as_such(diffed: Outcome) -> None:
    answer = diffed.report["tokens"][len(diffed.report["prompt_ids"]) :]
    content = [bytes.fromhex(token["bytes"]) for token in answer]
    assert b"".join(content).decode() == ANSWER == diffed.report["answer_text"]
    assert [token["text"] for token in answer] == [piece.decode(errors="replace") for piece in content]
    assert any("\ufffd" in token["text"] for token in answer), "the answer was to hold a character of several tokens"


def test_every_number_of_a_token_has_a_unit(diffed: Outcome) -> None:
    report = diffed.report
    numbers = {name for name, value in report["tokens"][-1].items() if isinstance(value, float)}
    assert numbers | set(report["summary"]) <= set(report["units"])
    assert {report["units"][name] for name in ("kl_tuned_base", "js", "entropy_base", "delta_logp")} == {"nats"}
    assert report["units"]["tv"] == "1"


def test_what_does_not_exist_is_null(llama: TinyFolders) -> None:
    outcome = run_command(
        "diff", QUESTION, "--answer", "No reasoning.", "--mask", "reasoning", *pair_of(llama), "--json"
    )
    summary = outcome.report["summary"]["kl_tuned_base"]
    assert summary["n"] == 0
    assert [summary[name] for name in sorted(SUMMARY - {"n"})] == [None] * 7
    assert set(outcome.report["concentration"].values()) == {None}
    check_schema(outcome, REPORTS["diff"])


@pytest.mark.parametrize("arguments", [["diff", QUESTION, "--answer", ANSWER], ["ask", QUESTION], ["pairs"]])
def test_without_json_there_is_readable_text(arguments: list[str], llama: TinyFolders) -> None:
    more = [] if arguments == ["pairs"] else [*pair_of(llama), "--max-new-tokens", "3"]
    outcome = run_command(*arguments, *more)
    assert outcome.code == 0
    words = {"diff": "KL(tuned‖base): mean", "ask": "== hybrid", "pairs": "demo: SmolLM2-135M"}
    assert words[arguments[0]] in outcome.out
    assert not outcome.out.startswith("{")


def test_out_writes_the_same_report_as_json(llama: TinyFolders, tmp_path: Path) -> None:
    for arguments in (["diff", QUESTION, "--answer", ANSWER], ["ask", QUESTION, "--max-new-tokens", "3"]):
        out = tmp_path / f"{arguments[0]}.json"
        outcome = run_command(*arguments, *pair_of(llama), "--out", str(out), "--json")
        assert json.loads(out.read_text()) == outcome.report


def test_out_writes_a_diffs_tokens_as_csv(llama: TinyFolders, tmp_path: Path) -> None:
    out = tmp_path / "tokens.csv"
    outcome = run_command("diff", QUESTION, "--answer", ANSWER, *pair_of(llama), "--out", str(out), "--json")
    rows = list(csv.DictReader(io.StringIO(out.read_bytes().decode(), newline="")))
    tokens = outcome.report["tokens"]
    assert set(rows[0]) >= (SCORES | {"pos", "id", "text", "bytes", "part"}) - {"top_base", "top_tuned"}
    assert [row["text"] for row in rows] == [token["text"] for token in tokens]
    assert rows[0]["kl_tuned_base"] == ""
    assert [float(row["js"]) for row in rows[1:]] == [token["js"] for token in tokens[1:]]


def test_finetune_reports_its_settings_and_result(llama: TinyFolders, tmp_path: Path) -> None:
    data, out = tmp_path / "rows.jsonl", tmp_path / "adapter"
    data.write_text(json.dumps({"question": QUESTION, "answer": "A disease."}) + "\n")
    outcome = run_command(
        "finetune", "--base", str(llama.base), "--data", str(data), "--heldout", str(data), "--adapter-dir", str(out),
        "--rank", "2", "--dtype", "float32", "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    check_schema(outcome, REPORTS["finetune"])
    report: dict[str, Any] = outcome.report
    assert set(report) >= EVERY
    assert report["settings"]["rank"] == 2
    assert report["result"]["adapter_sha256"] == sha256(out / "adapter_model.safetensors")
    assert math.isfinite(report["result"]["heldout_after"]["rows.jsonl"])


def test_help_does_not_wait_for_what_only_a_study_or_a_fine_tune_needs() -> None:
    look = (
        "import contextlib, sys; from core.__main__ import main\n"
        "with contextlib.suppress(SystemExit): main(['ask', '--help'])\n"
        "print('imported:', *sorted({'peft', 'scipy.stats', 'torch'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", look]
    seen = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=True)
    assert "usage: python -m core ask" in seen.stdout
    assert seen.stdout.splitlines()[-1] == "imported: torch"
