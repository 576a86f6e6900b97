"""The script that holds adapters beside each other, on the shipped adapter and a file of two rows."""

import gzip
import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from core.pair.pair import Pair

DOCS = Path(__file__).resolve().parents[2] / "docs"
ROWS = [
    {"id": "a", "question": "What is asthma?", "answer": "A disease of the airways.", "split": "val"},
    {"id": "b", "question": "What is a stroke?", "answer": "A loss of blood flow to the brain.", "split": "train"},
    {"id": "c", "question": "What is gout?", "answer": "Crystals of uric acid in a joint.", "split": "val"},
]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(DOCS))
    spec = importlib.util.spec_from_file_location("compare_adapters", DOCS / "compare_adapters.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(tmp_path: Path, demo: Pair) -> tuple[Path, Path]:
    """The shipped adapter with settings of a made-up run, and the file it says it was trained on."""
    adapter, files = tmp_path / "mine", tmp_path / "files"
    shutil.copytree(demo.identity.tuned_path, adapter)
    for folder in ("train", "eval", "control"):
        (files / folder).mkdir(parents=True)
    with gzip.open(files / "train" / "rows.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in ROWS)
    settings = json.loads((adapter / "settings.json").read_text())
    plain = {"path": "rows.jsonl.gz", "rows": None, "passes": 1}
    settings |= {"data": [{**plain, "passes": 3}], "replay": [plain], "epochs": 1, "rank": 16, "start_from": None}
    (adapter / "settings.json").write_text(json.dumps(settings))
    return adapter, files


def test_tokens_are_counted_from_the_files(script: ModuleType, run: tuple[Path, Path]) -> None:
    adapter, files = run
    models = script.Models(adapter)
    found = script.trained_on(adapter, files, models)
    tokenizer = models.tokenizer
    an_epoch = sum(
        len(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}],
                return_dict=True,
            )["input_ids"]
        )
        - 1  # the line break after the last turn is not trained on
        for row in ROWS
    )
    assert found["replay share"] == "25.0%"  # one pass of four over the same rows
    assert found["rows"] == "all ×3 rows, all rows"
    assert found["tokens seen"] == str(4 * an_epoch)


def test_a_file_that_is_not_there_leaves_the_tokens_open(script: ModuleType, run: tuple[Path, Path]) -> None:
    adapter, files = run
    (files / "train" / "rows.jsonl.gz").unlink()
    assert "missing" in script.trained_on(adapter, files, script.Models(adapter))["tokens seen"]


def test_the_table_has_a_row_an_adapter(
    script: ModuleType, run: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter, files = run
    monkeypatch.setattr(script, "LOSS_FILES", {"rows held out": "train/rows.jsonl.gz,where=split:val"})
    monkeypatch.setattr(sys, "argv", ["compare", "--files", str(files), str(adapter), str(adapter)])
    script.main()
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 4
    assert lines[0].endswith("| rows held out |")
    assert lines[2] == lines[3]
    change = float(lines[2].split("|")[-2].split()[0])
    assert change < 0  # short medical answers in the trained manner
