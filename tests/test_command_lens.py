"""`lens` on the command line."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
from pydantic import TypeAdapter

from core.present.all_reports import REPORTS
from tests.command import Outcome, run_command, small_models
from tests.conftest import TinyFolders
from tests.tiny import N_LAYERS

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The PEFT config's `base_model_name_or_path` was renamed:UserWarning"),
]
TEXT = ["What is asthma?", "--answer", "A disease of the lungs."]


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with small_models(tmp_path_factory.mktemp("home")):
        yield


def run(folders: TinyFolders, *arguments: str) -> Outcome:
    return run_command("lens", *arguments, "--base", str(folders.base), "--tuned", str(folders.tuned), "--json")


def test_a_lens_has_every_field_and_ends_in_the_output_divergence(folders: TinyFolders) -> None:
    outcome = run(folders, *TEXT)
    assert outcome.code == 0, outcome.err
    report = outcome.report
    jsonschema.validate(report, TypeAdapter(REPORTS["lens"]).json_schema(mode="serialization"))
    assert report["layers"] == list(range(N_LAYERS))
    pair = ["--base", str(folders.base), "--tuned", str(folders.tuned)]
    diffed = run_command("diff", *TEXT, *pair, "--json").report
    masked = [token for token in diffed["tokens"] if token["part"] in ("reasoning", "answer")]
    assert report["positions"] == [token["pos"] for token in masked]
    assert report["tokens"] == [token["text"] for token in masked]
    assert report["kl"][-1] == pytest.approx([token["kl_tuned_base"] for token in masked], abs=1e-5)
    for name in ("kl", "norm", "cosine"):
        assert [len(row) for row in report[name]] == [len(masked)] * N_LAYERS
        assert len(report["noise"][name]) == len(report["mean"][name]) == N_LAYERS
    assert report["cell"] is None


def test_some_layers_all_tokens_and_one_cell(folders: TinyFolders) -> None:
    report = run(folders, *TEXT, "--layers", "1,3", "--mask", "all", "--cell", "1,4").report
    assert report["layers"] == [1, 3]
    assert report["positions"] == list(range(1, len(report["prompt_ids"]) + len(report["answer_ids"])))
    assert report["norm"][0][0] is None
    assert report["kl"][0][0] > 0
    cell = report["cell"]
    assert (cell["layer"], cell["pos"]) == (1, 4)
    assert cell["kl"] == pytest.approx(report["kl"][0][3], abs=1e-5)
    assert len(cell["base"]) == len(cell["tuned"]) == 5


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--layers", "4"], "Layer 4 does not exist"),
        (["--layers", "none"], "No layer is left"),
        (["--cell", "1"], "'1' is not a layer and a position"),
        (["--cell", "9,4"], "not all within 0..3"),
        (["--cell", "1,0"], "Token 0 has no score"),
        (["--metric", "angle"], "invalid choice"),
        (["--out", "lens.bmp"], ".bmp"),
    ],
)
def test_a_lens_that_makes_no_sense_is_refused(folders: TinyFolders, arguments: list[str], says: str) -> None:
    outcome = run(folders, *TEXT, *arguments)
    assert outcome.code == 2
    assert says in outcome.error["message"]


def test_files_hold_the_same_numbers_as_standard_output(folders: TinyFolders, tmp_path: Path) -> None:
    table = run(folders, *TEXT, "--out", str(tmp_path / "lens.csv"))
    report = table.report
    rows = list(csv.DictReader(io.StringIO((tmp_path / "lens.csv").read_text().split("\n", 1)[1])))
    assert [(int(row["layer"]), int(row["pos"])) for row in rows] == [
        (layer, pos) for layer in report["layers"] for pos in report["positions"]
    ]
    for column, name in (("lens_kl_tuned_base", "kl"), ("drift_norm", "norm"), ("drift_cosine", "cosine")):
        assert [float(row[column]) for row in rows] == [value for line in report[name] for value in line]
    for kind in ("json", "svg", "png", "pdf", "html"):
        assert run(folders, *TEXT, "--metric", "norm", "--out", str(tmp_path / f"lens.{kind}")).code == 0
    assert json.loads((tmp_path / "lens.json").read_text())["kl"] == report["kl"]
    assert "drift ‖h_t − h_b‖" in (tmp_path / "lens.svg").read_text()
    assert (tmp_path / "lens.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "lens.pdf").read_bytes().startswith(b"%PDF")
    assert "not which is right" in (tmp_path / "lens.html").read_text()


def test_without_json_it_is_a_line_a_layer_from_the_top(folders: TinyFolders) -> None:
    pair = ["--base", str(folders.base), "--tuned", str(folders.tuned)]
    outcome = run_command("lens", *TEXT, *pair, "--cell", "0,5")
    assert outcome.code == 0, outcome.err
    assert "approximate" in outcome.out
    starts = [line.split()[0] for line in outcome.out.splitlines() if line[:5].strip().isdigit()]
    assert starts == [str(layer) for layer in reversed(range(N_LAYERS))]
    assert "tuned would write: " in outcome.out
