"""`grid` on the command line."""

from collections.abc import Iterator

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
CELL = {"layer", "pos", "k", "kl_recovery", "logit_difference_recovery", "attribution"}


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with small_models(tmp_path_factory.mktemp("home")):
        yield


def grid(folders: TinyFolders, *arguments: str) -> Outcome:
    pair = ("--base", str(folders.base), "--tuned", str(folders.tuned))
    return run_command("grid", *TEXT, *arguments, *pair, "--json")


def diff(folders: TinyFolders) -> dict:
    return run_command("diff", *TEXT, "--base", str(folders.base), "--tuned", str(folders.tuned), "--json").report


def test_a_grid_of_one_target_has_every_field(folders: TinyFolders) -> None:
    tokens = diff(folders)["tokens"]
    pos = len(tokens) - 2
    outcome = grid(folders, "--site", "attn_out", "--target", str(pos), "--positions", f"2,{pos - 3}-{pos}")
    assert outcome.code == 0, outcome.err
    jsonschema.validate(outcome.report, TypeAdapter(REPORTS["grid"]).json_schema(mode="serialization"))
    report = outcome.report
    assert (report["site"], report["target"]) == ("attn_out", pos)
    assert report["k_base"] == pytest.approx(tokens[pos]["kl_tuned_base"], rel=1e-4)
    assert set(report["contrast"]) == {"gained_id", "lost_id"}
    assert report["contrast"]["gained_id"] != report["contrast"]["lost_id"]
    places = [(layer, at) for layer in range(N_LAYERS) for at in (2, pos - 3, pos - 2, pos - 1, pos)]
    assert [(cell["layer"], cell["pos"]) for cell in report["cells"]] == places
    for cell in report["cells"]:
        assert set(cell) == CELL
        blank = {name for name in CELL if cell[name] is None}
        assert blank == (CELL - {"layer", "pos"} if cell["pos"] == pos else set())
        if not blank:
            assert cell["kl_recovery"] == pytest.approx(1 - cell["k"] / report["k_base"])
    assert -1 <= report["rank_correlation"] <= 1
    assert report["n_compared"] == 4 * N_LAYERS
    incomplete = report["completeness_error"] > 0.005
    assert any("miss what they should add up to" in warning for warning in report["warnings"]) == incomplete
    assert not any("whole residual" in warning for warning in report["warnings"])


def test_a_grid_of_the_whole_answer_patches_its_tokens_and_says_what_the_residual_is(folders: TinyFolders) -> None:
    outcome = grid(folders, "--site", "resid_post", "--layers", "1,3", "--quick")
    assert outcome.code == 0, outcome.err
    report = outcome.report
    first = len(report["prompt_ids"])
    answer = range(first, first + len(report["answer_ids"]))
    assert [(cell["layer"], cell["pos"]) for cell in report["cells"]] == [(k, p) for k in (1, 3) for p in answer]
    assert report["target"] == "response"
    assert report["contrast"] == {"gained_id": None, "lost_id": None}
    exact = [cell for cell in report["cells"] if cell["kl_recovery"] is not None]
    assert report["n_compared"] == len(exact) <= 64
    assert any("whole residual stream" in warning for warning in report["warnings"])


def test_the_direction_turns_donor_and_recipient_around(folders: TinyFolders) -> None:
    tokens = diff(folders)["tokens"]
    pos = str(len(tokens) - 1)
    back = grid(folders, "--site", "mlp_out", "--target", pos, "--direction", "base-into-tuned").report
    assert back["k_base"] == pytest.approx(tokens[-1]["kl_base_tuned"], rel=1e-4)


def test_without_json_it_reads_as_text(folders: TinyFolders) -> None:
    outcome = run_command(
        "grid", *TEXT, "--site", "mlp_out", "--base", str(folders.base), "--tuned", str(folders.tuned)
    )
    assert outcome.code == 0, outcome.err
    assert "Rank correlation of attribution and recovery" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--target", "first"], "is no position"),
        (["--target", "0"], "Token 0 has no score"),
        (["--positions", "3,x"], "not understood at 'x'"),
        (["--positions", "5-3"], "run backwards"),
        (["--positions", "3-9999"], "Position 9999 does not exist"),
        (["--target", "4", "--positions", "4"], "No chosen position comes before"),
        (["--layers", "none"], "No layer is chosen"),
        (["--layers", "99"], "Layer 99 does not exist"),
        (["--site", "resid"], "invalid choice"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(folders: TinyFolders, arguments: list[str], says: str) -> None:
    outcome = grid(folders, "--site", "mlp_out", *arguments)
    assert outcome.code == 2
    assert says in outcome.error["message"]
