"""`study` on the command line: run, resume, preview, and what it refuses."""

import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.present.all_reports import REPORTS
from tests.command import MODULE, PROJECT, Outcome, check_schema, environment, run_command, small_models
from tests.conftest import TinyFolders
from tests.study.made_up import full_tables, write_study
from tests.study.runs import GENERAL, MEDICAL, read_table, write_rows

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The PEFT config's `base_model_name_or_path` was renamed:UserWarning"),
]
SMALL = ["--max-new-tokens", "8", "--batch", "2", "--sweep-prompts", "2", "--control-prompts", "0"]


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with small_models(tmp_path_factory.mktemp("home")):
        yield


def corpora(folder: Path) -> list[str]:
    medical, general = write_rows(folder / "m.jsonl", MEDICAL), write_rows(folder / "g.jsonl", GENERAL)
    return ["--corpus", f"{medical},kind=medical", f"{general},kind=general"]


def named(folders: TinyFolders) -> list[str]:
    return ["--base", str(folders.base), "--tuned", str(folders.tuned), "--json"]


def run(folders: TinyFolders, *arguments: str) -> Outcome:
    return run_command("study", *arguments, *named(folders))


def test_a_run_leaves_tables_and_says_how_many_rows(folders: TinyFolders, tmp_path: Path) -> None:
    outcome = run(folders, "run", str(tmp_path / "s"), *corpora(tmp_path), *SMALL)
    assert outcome.code == 0, outcome.err
    check_schema(outcome, REPORTS["study"])
    report = outcome.report
    assert (report["state"], report["done"], report["prompts"]) == ("finished", 5, 5)
    assert (report["sets_done"], report["sets_of"]) == (8, 8)
    assert report["provenance"]["base_sha256"]
    assert {name: len(read_table(tmp_path / "s", name)) for name in report["tables"]} == report["tables"]
    assert report["tables"]["answers"] == 4 + 3 * 5
    assert "5 of 5 prompts" in outcome.err
    assert shlex.split(report["command"])[3:5] == ["study", "run"]
    again = run(folders, "run", str(tmp_path / "s"), *corpora(tmp_path), *SMALL)
    assert again.code == 2
    assert "already" in again.error["message"]


def test_corpora_named_one_by_one_are_all_read(folders: TinyFolders, tmp_path: Path) -> None:
    flag, *both = corpora(tmp_path)
    together, apart = (
        run(folders, "preview", *words, "--untimed").report["preview"]["corpora"]
        for words in ((flag, *both), [word for spec in both for word in (flag, spec)])
    )
    assert [one["kind"] for one in apart] == ["medical", "general"]
    assert apart == together


def test_interrupted_it_stops_after_the_prompt_in_hand_and_resumes(folders: TinyFolders, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    rows = [
        {**row, "id": f"{row['id']}-{k}", "question": f"{row['question']} {k}"} for k in range(8) for row in MEDICAL
    ]
    spec = f"{write_rows(tmp_path / 'many.jsonl', rows)},kind=medical"
    process = subprocess.Popen(
        [*MODULE, "study", "run", str(folder), "--corpus", spec, *SMALL, *named(folders)],
        cwd=PROJECT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 90
    while not (folder / "study.json").exists() or not json.loads((folder / "study.json").read_text())["done"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    stopped = json.loads(out)
    assert process.returncode == 130, err
    assert stopped["state"] == "stopped"
    assert 0 < stopped["done"] < 24
    resumed = run_command("study", "resume", str(folder), "--json")
    assert resumed.code == 0, resumed.err
    assert (resumed.report["state"], resumed.report["done"]) == ("finished", 24)
    assert len(read_table(folder, "prompts")) == 24


def test_a_preview_shows_rows_and_leaves_nothing(folders: TinyFolders, tmp_path: Path) -> None:
    outcome = run(folders, "preview", *corpora(tmp_path), *SMALL)
    assert outcome.code == 0, outcome.err
    check_schema(outcome, REPORTS["study"])
    preview = outcome.report["preview"]
    medical = preview["corpora"][0]
    assert (medical["rows"], medical["kind"]) == (3, "medical")
    assert [row["id"] for row in medical["shown"]] == ["m1", "m2", "m3"]
    assert "What is asthma?" in medical["shown"][0]["prompt"]
    assert medical["shown"][2]["letter"] == "B"
    assert medical["reference_tokens"] == sum(row["n_reference"] for row in medical["shown"]) > 0
    assert preview["visits"] == 8
    assert preview["seconds_visit"] > 0
    assert preview["seconds"] == pytest.approx(
        5 * preview["seconds_plain"] + 4 * preview["seconds_swept"] + 8 * preview["seconds_visit"]
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.jsonl", "m.jsonl"]
    assert run(folders, "preview", *corpora(tmp_path), "--untimed").report["preview"]["seconds"] is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run"], "needs a folder"),
        (["preview", "folder"], "takes no folder"),
        (["resume", "nowhere"], "There is no study in nowhere"),
        (["run", "folder", "--corpus", "rows.csv"], "medical or general"),
        (["run", "folder", "--measure", "taste"], "no measurement 'taste'"),
        (["run", "folder", "--batch", "0"], "batch is 0"),
        (["run", "folder", "--workers", "2"], "go with --engine ray"),
        (["run", "folder", "--out", "study.csv"], "not a known form"),
        (["run", "folder", "--out", "study.pdf"], "not a known form"),
        (["report"], "needs a folder"),
        (["report", "nowhere"], "There is no study in nowhere"),
        (["report", "folder", "other"], "takes one folder"),
        (["compare", "folder"], "needs two folders"),
    ],
)
def test_what_makes_no_sense_is_refused(folders: TinyFolders, arguments: list[str], says: str) -> None:
    outcome = run(folders, *arguments)
    assert outcome.code == 2
    assert says in outcome.error["message"]
    assert not Path("folder").exists()


def test_words_for_people(folders: TinyFolders, tmp_path: Path) -> None:
    pair = ["--base", str(folders.base), "--tuned", str(folders.tuned)]
    preview = run_command("study", "preview", *corpora(tmp_path), "--untimed", *pair)
    assert "m (medical): 3 of 3 rows" in preview.out
    assert "⟦Asthma is a chronic disease" in preview.out
    done = run_command("study", "run", str(tmp_path / "s"), *corpora(tmp_path), "--measure", "reference", *pair)
    assert "finished: 5 of 5 prompts" in done.out


def test_a_report_is_one_object_and_a_file(folders: TinyFolders, tmp_path: Path) -> None:
    folder, page = str(tmp_path / "s"), tmp_path / "s.html"
    assert run(folders, "run", folder, *corpora(tmp_path), *SMALL).code == 0
    outcome = run_command("study", "report", folder, "--out", str(page), "--json")
    assert outcome.code == 0, outcome.err
    check_schema(outcome, REPORTS["study"])
    report = outcome.report
    verdicts = {one["number"]: one["verdict"] for one in report["report"]["findings"]}
    assert {"1a", "1b", "1c", "2a", "4a"} <= set(verdicts)
    assert set(verdicts.values()) <= {"inconclusive", "no difference to explain"}  # five documents decide nothing
    assert report["provenance"]["tuned_sha256"]
    hashes = [figure["data_sha256"] for figure in report["report"]["figures"]]
    assert hashes
    text = page.read_text()
    assert all(one in text for one in hashes)
    assert "http" not in text.replace("http-equiv", "")
    words = run_command("study", "report", folder)
    assert "1 Did it learn medicine, and did it forget?" in words.out
    assert f"1a {report['report']['findings'][0]['sentence']}" in words.out


def test_two_studies_are_compared(tmp_path: Path) -> None:
    tables = full_tables()
    own = {name: tables[name] for name in ("prompts", "answers")}
    a, b = write_study(tmp_path / "a", own), write_study(tmp_path / "b", own, state="stopped", done=3)
    outcome = run_command("study", "compare", str(a), str(b), "--json")
    assert outcome.code == 0, outcome.err
    check_schema(outcome, REPORTS["study"])
    compared = outcome.report["comparison"]["comparison"]
    assert compared["shared"] == {"medical": 40, "general": 40}
    assert {one["difference"]["value"] for one in compared["paired"]} == {0.0}
    words = run_command("study", "compare", str(a), str(b)).out
    assert "1a Fine-tuning made medical reference answers likelier: A " in words
    assert "given twice" in run_command("study", "compare", str(a), str(a), "--json").error["message"]
