"""`why`, `sweep` and hybrids by name on the command line."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.present.all_reports import REPORTS
from tests.command import Outcome, check_schema, run_command, small_models
from tests.conftest import TinyFolders
from tests.tiny import N_LAYERS

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The PEFT config's `base_model_name_or_path` was renamed:UserWarning"),
]
TEXT = ["What is asthma?", "--answer", "A disease of the lungs."]
PLAN = {"name", "layers", "part", "k", "recovery", "recovery_noise", "logit_difference_recovery", "layer_rows"} | {
    "logp", "logp_recovery", "kl"
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with small_models(tmp_path_factory.mktemp("home")):
        yield


def run(folders: TinyFolders, command: str, *arguments: str) -> Outcome:
    return run_command(command, *arguments, "--base", str(folders.base), "--tuned", str(folders.tuned), "--json")


def test_a_sweep_has_every_field_and_its_recovery_is_one_minus_the_ratio(folders: TinyFolders) -> None:
    outcome = run(folders, "sweep", *TEXT, "--kind", "single", "--part", "each")
    assert outcome.code == 0, outcome.err
    check_schema(outcome, REPORTS["sweep"])
    report = outcome.report
    assert [plan["name"] for plan in report["plans"]] == [
        f"single {k} {part}" for part in ("attn", "mlp") for k in range(N_LAYERS)
    ]
    assert {"k_base", "k_noise", "answer_ids", "mask", "layer_rows_total", "forwards_equivalent", "seconds"} <= set(
        report
    )
    for plan in report["plans"]:
        assert set(plan) == PLAN
        assert plan["recovery"] == pytest.approx(1 - plan["k"] / report["k_base"])
        assert plan["k"] == pytest.approx(sum(plan["kl"]) / len(report["positions"]))
    assert sum(plan["layer_rows"] for plan in report["plans"]) < report["layer_rows_total"]
    assert report["forwards_equivalent"] == pytest.approx(report["layer_rows_total"] / N_LAYERS)


def test_k_of_nothing_is_the_mean_divergence_that_diff_gives(folders: TinyFolders) -> None:
    swept = run(folders, "sweep", *TEXT, "--kind", "prefix").report
    diffed = run(folders, "diff", *TEXT).report
    assert swept["k_base"] == pytest.approx(diffed["summary"]["kl_tuned_base"]["mean"], rel=1e-4)
    assert swept["answer_ids"] == diffed["answer_ids"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--kind", "window", "--width", "0"], "Windows of 0 layers"),
        (["--kind", "sideways"], "invalid choice"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_refused(folders: TinyFolders, arguments: list[str], says: str) -> None:
    outcome = run(folders, "sweep", *TEXT, *arguments)
    assert outcome.code == 2
    assert says in outcome.error["message"]


def test_a_mask_without_tokens_is_refused(folders: TinyFolders) -> None:
    """The Llama template opens no reasoning, the Qwen2 one opens it and the text never closes it."""
    parts = {token["part"] for token in run(folders, "diff", *TEXT).report["tokens"]}
    empty = "answer" if "reasoning" in parts else "reasoning"
    outcome = run(folders, "sweep", *TEXT, "--kind", "single", "--mask", empty)
    assert outcome.code == 2
    assert "No token is left to score" in outcome.error["message"]


def test_why_has_every_field_and_counts_positions_as_diff_does(folders: TinyFolders) -> None:
    diffed = run(folders, "diff", *TEXT).report
    pos = len(diffed["prompt_ids"]) + 1
    outcome = run(folders, "why", *TEXT, "--pos", str(pos))
    assert outcome.code == 0, outcome.err
    check_schema(outcome, REPORTS["why"])
    found = outcome.report["why"]
    token = diffed["tokens"][pos]
    assert (found["token_id"], found["pos"]) == (token["id"], pos)
    assert found["terms"]["kl"] == pytest.approx(token["kl_tuned_base"], rel=1e-4)
    assert [choice["id"] for choice in found["choices"]["tuned"]] == [choice["id"] for choice in token["top_tuned"]]
    assert found["written"]["base"][0] == token["rank_base"]
    assert len(outcome.report["effects"]["alone"]["results"]) == N_LAYERS
    assert run(folders, "why", *TEXT, "--pos", str(pos), "--quick").report["effects"] is None


def test_why_of_a_token_without_a_score_is_refused(folders: TinyFolders) -> None:
    outcome = run(folders, "why", *TEXT, "--pos", "0")
    assert outcome.code == 2
    assert "no score" in outcome.error["message"]


def test_hybrids_by_name_become_lanes(folders: TinyFolders) -> None:
    outcome = run(
        folders,
        "ask",
        "What is asthma?",
        "--max-new-tokens",
        "4",
        "--lane",
        "Low: 0 / mlp",
        "--lane",
        "High: 1-2 / 0.5",
    )
    assert outcome.code == 0, outcome.err
    report = outcome.report
    assert [lane["name"] for lane in report["lanes"]] == ["base", "hybrid", "hybrid-2", "tuned"]
    assert [(hybrid["name"], hybrid["layers"]) for hybrid in report["hybrids"]] == [("Low", "0"), ("High", "1-2")]
    assert report["lanes"][2]["gates"][1] == [0.5, 0.5]
    again = run_command(*shlex.split(report["command"])[3:])
    assert [lane["ids"] for lane in again.report["lanes"]] == [lane["ids"] for lane in report["lanes"]]


def test_lanes_and_layers_do_not_go_together(folders: TinyFolders) -> None:
    outcome = run(folders, "ask", "What?", "--lane", "a: 1", "--layers", "1")
    assert outcome.code == 2
    assert "do not go together" in outcome.error["message"]


def test_a_dry_run_needs_no_folder_and_trains_nothing(llama_base: Path, tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text('{"question": "Why?", "answer": "Because."}\n' * 3)
    outcome = run_command("finetune", "--base", str(llama_base), "--data", str(data), "--dry-run", "--json")
    assert outcome.code == 0, outcome.err
    check_schema(outcome, REPORTS["finetune"])
    assert outcome.report["result"] is None
    assert outcome.report["preview"]["rows"][0]["trained"].startswith("Because.")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]
    refused = run_command("finetune", "--base", str(llama_base), "--data", str(data), "--json")
    assert refused.code == 2
    assert "--adapter-dir" in refused.error["message"]


@pytest.mark.parametrize("form", ["svg", "pdf", "csv"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["sweep", *TEXT, "--kind", "single"],
        ["why", *TEXT, "--pos", "8", "--quick"],
        ["grid", *TEXT, "--site", "mlp_out", "--quick"],
        ["search", *TEXT, "--random", "2", "--random-adapters", "1"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_every_layer_report_is_written_in_every_form(
    folders: TinyFolders, tmp_path: Path, arguments: list[str], form: str
) -> None:
    file = tmp_path / f"figure.{form}"
    outcome = run(folders, *arguments, "--out", str(file))
    assert outcome.code == 0, outcome.err
    content = file.read_bytes()
    if form == "pdf":
        assert content.startswith(b"%PDF")
    else:
        assert "data sha" in content.decode().lower()
        assert str(folders.base.name) in content.decode()
