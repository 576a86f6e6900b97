"""`weights` on the command line."""

import csv
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
from pydantic import TypeAdapter
from scipy.stats import spearmanr

from core.pair.gates import PARTS, PROJECTIONS
from core.present.all_reports import REPORTS
from tests.command import Outcome, run_command, small_models
from tests.conftest import TinyFolders
from tests.tiny import N_LAYERS

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The PEFT config's `base_model_name_or_path` was renamed:UserWarning"),
]
TEXT = ["--text", "What is asthma?", "--answer", "A disease of the lungs."]
MEASURES = ("relative_frobenius", "spectral", "stable_rank", "on_data")


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with small_models(tmp_path_factory.mktemp("home")):
        yield


def run(folders: TinyFolders, *arguments: str) -> Outcome:
    return run_command("weights", *arguments, "--base", str(folders.base), "--tuned", str(folders.tuned), "--json")


def test_without_a_text_everything_but_on_data_is_there(folders: TinyFolders) -> None:
    outcome = run(folders)
    assert outcome.code == 0, outcome.err
    report = outcome.report
    jsonschema.validate(report, TypeAdapter(REPORTS["weights"]).json_schema(mode="serialization"))
    assert [(m["layer"], m["projection"]) for m in report["modules"]] == [
        (layer, name) for layer in range(N_LAYERS) for name in PROJECTIONS
    ]
    assert [(p["layer"], p["part"]) for p in report["parts"]] == [(n, part) for n in range(N_LAYERS) for part in PARTS]
    for module in report["modules"]:
        values = module["singular_values"]
        assert len(values) == 4
        assert values == sorted(values, reverse=True)
        assert module["frobenius"] == pytest.approx(math.hypot(*values))
        assert module["spectral"] == values[0]
        assert module["stable_rank"] == pytest.approx(sum((v / values[0]) ** 2 for v in values))
        assert module["part"] == ("attn" if module["projection"] in PARTS["attn"] else "mlp")
    assert {m["on_data"] for m in [*report["modules"], *report["parts"]]} == {None}
    assert [report[name] for name in ("prompt_ids", "answer_ids", "answer_from", "n_tokens", "mask", "effects")] == [
        None
    ] * 6


def test_a_text_adds_on_data_and_changes_nothing_else(folders: TinyFolders) -> None:
    bare, report = run(folders).report, run(folders, *TEXT).report
    assert report["n_tokens"] == len(report["prompt_ids"]) + len(report["answer_ids"]) - 1
    assert report["answer_from"] == "given"
    assert all(m["on_data"] > 0 for m in [*report["modules"], *report["parts"]])
    for name in ("modules", "parts"):
        assert [{**one, "on_data": None} for one in report[name]] == bare[name]
    longer = run(folders, *TEXT[:3], "A disease of the lungs and the airways.").report
    assert longer["modules"][0]["on_data"] != report["modules"][0]["on_data"]


def test_effects_are_those_of_a_sweep_and_the_correlation_is_scipys(folders: TinyFolders) -> None:
    report = run(folders, *TEXT, "--effects", "--mask", "all").report
    pair = ["--base", str(folders.base), "--tuned", str(folders.tuned)]
    sweep = ["sweep", TEXT[1], *TEXT[2:], "--kind", "single", "--part", "each", "--mask", "all"]
    swept = run_command(*sweep, *pair, "--json").report
    assert report["mask"] == "all"
    found = {(plan["layers"], plan["part"]): plan["recovery"] for plan in report["effects"]["plans"]}
    expected = {(plan["layers"], plan["part"]): plan["recovery"] for plan in swept["plans"]}
    assert found == pytest.approx(expected, abs=1e-6)
    agreement = {(one["measure"], one["part"]): one for one in report["effects"]["agreement"]}
    assert set(agreement) == {(measure, part) for measure in MEASURES for part in ("each", "attn", "mlp")}
    for (measure, part), one in agreement.items():
        own = [p for p in report["parts"] if p["part"] == part or (part == "each" and p["part"] != "both")]
        recoveries = [found[str(p["layer"]), p["part"]] for p in own]
        assert one["correlation"] == pytest.approx(spearmanr([p[measure] for p in own], recoveries).statistic)
        assert one["n"] == len(own) == (2 * N_LAYERS if part == "each" else N_LAYERS)
        assert one["by_chance"] == pytest.approx(min(1.0, 1.96 / math.sqrt(len(own) - 1)))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--answer", "A disease."], "--answer goes with a text"),
        (["--answer-from", "base"], "--answer-from goes with a text"),
        (["--effects"], "--effects goes with a text"),
        (["--metric", "on_data"], "--metric on_data goes with a text"),
        (["--metric", "rank"], "invalid choice"),
        (["--out", "weights.bmp"], ".bmp"),
    ],
)
def test_what_makes_no_sense_is_refused(folders: TinyFolders, arguments: list[str], says: str) -> None:
    outcome = run(folders, *arguments)
    assert outcome.code == 2
    assert says in outcome.error["message"]


def test_files_hold_the_same_numbers_as_standard_output(folders: TinyFolders, tmp_path: Path) -> None:
    report = run(folders, *TEXT, "--out", str(tmp_path / "weights.csv")).report
    rows = list(csv.DictReader(io.StringIO((tmp_path / "weights.csv").read_text().split("\n", 1)[1])))
    assert [(int(row["layer"]), row["projection"]) for row in rows] == [
        (m["layer"], m["projection"]) for m in report["modules"]
    ]
    for name in (*MEASURES, "frobenius", "base_frobenius"):
        assert [float(row[name]) for row in rows] == [m[name] for m in report["modules"]]
    for kind in ("json", "svg", "png", "pdf", "html"):
        assert run(folders, "--metric", "spectral", "--out", str(tmp_path / f"weights.{kind}")).code == 0
    assert json.loads((tmp_path / "weights.json").read_text())["parts"] == run(folders).report["parts"]
    for kind in ("svg", "html"):
        drawn = (tmp_path / f"weights.{kind}").read_text()
        assert "spectral norm" in drawn
        assert "not what it does" in drawn
        assert "Asked" not in drawn
    assert (tmp_path / "weights.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "weights.pdf").read_bytes().startswith(b"%PDF")


def test_without_json_it_is_a_line_a_part_from_the_top(folders: TinyFolders) -> None:
    pair = ["--base", str(folders.base), "--tuned", str(folders.tuned)]
    outcome = run_command("weights", *TEXT, "--effects", *pair)
    assert outcome.code == 0, outcome.err
    starts = [tuple(line.split()[:2]) for line in outcome.out.splitlines() if line[:5].strip().isdigit()]
    assert starts == [(str(layer), part) for layer in reversed(range(N_LAYERS)) for part in reversed(PARTS)]
    assert f"{7 * N_LAYERS} of {7 * N_LAYERS} projections are changed" in outcome.out
    assert outcome.out.count("among MLPs") == 4
