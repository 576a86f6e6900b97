"""`search` on the command line."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
from pydantic import TypeAdapter

from core.pair.gates import parse_layers
from core.present.all_reports import REPORTS
from tests.command import Outcome, run_command, small_models
from tests.conftest import TinyFolders
from tests.tiny import N_LAYERS, build_adapter

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The PEFT config's `base_model_name_or_path` was renamed:UserWarning"),
]
TEXT = ["What is asthma?", "--answer", "A disease of the lungs."]
FEW = ["--random", "3", "--random-adapters", "2"]


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with small_models(tmp_path_factory.mktemp("home")):
        yield


def run(folders: TinyFolders, command: str, *arguments: str, form: str = "--json") -> Outcome:
    pair = ("--base", str(folders.base), "--tuned", str(folders.tuned))
    return run_command(command, *arguments, *pair, *([form] if form else []))


def test_a_search_has_every_field_and_its_parts_agree(folders: TinyFolders) -> None:
    outcome = run(folders, "search", *TEXT, "--reach", "0.7", *FEW)
    assert outcome.code == 0, outcome.err
    jsonschema.validate(outcome.report, TypeAdapter(REPORTS["search"]).json_schema(mode="serialization"))
    report = outcome.report
    (found,) = report["sets"]
    assert {"layers", "part", "recovery", "random", "random_adapter"} <= set(found)
    assert (found["random"]["n"], found["random_adapter"]["n"]) == (3, 2)
    assert found["reached"] == report["reached"] == len(parse_layers(found["layers"], N_LAYERS))
    assert found["recovery"] == report["curve"][-1]["recovery"] >= 0.7
    assert all(step["recovery"] < 0.7 for step in report["curve"][:-1])
    assert report["shapley"] is None


def test_a_set_recovers_what_the_sweep_says(folders: TinyFolders) -> None:
    for direction in ("tuned-into-base", "base-into-tuned"):
        both = ("--direction", direction)
        swept = run(folders, "sweep", *TEXT, "--kind", "single", *both).report
        found = run(folders, "search", *TEXT, "--reach", "1", "--max-size", "1", *FEW, *both).report
        best = max(swept["plans"], key=lambda plan: plan["recovery"])
        assert found["sets"][0]["layers"] == best["layers"]
        assert found["sets"][0]["recovery"] == pytest.approx(best["recovery"], abs=1e-5)
        assert found["reached"] is None
        assert found["k_base"] == pytest.approx(swept["k_base"], rel=1e-5)
        alone = sum(plan["recovery"] for plan in swept["plans"])
        assert found["interaction"] == pytest.approx(1 - alone, abs=1e-4)


def test_shares_of_parts_sum_to_one_and_rank_the_set(folders: TinyFolders) -> None:
    outcome = run(folders, "search", *TEXT, "--method", "shapley", "--permutations", "6", *FEW)
    shares = outcome.report["shapley"]
    assert {(share["layer"], share["part"]) for share in shares} == {
        (layer, part) for layer in range(N_LAYERS) for part in ("attn", "mlp")
    }
    assert sum(share["share"] for share in shares) == pytest.approx(1)
    assert all(share["se"] > 0 for share in shares)
    ranked = sorted(shares, key=lambda share: -share["share"])
    (found,) = outcome.report["sets"]
    expected = [{"layer": own["layer"], "part": own["part"]} for own in ranked[: found["reached"]]]
    assert sorted(map(str, found["units"])) == sorted(map(str, expected))


def test_the_recorded_line_gives_the_same_again(folders: TinyFolders) -> None:
    arguments = ["--by", "part", "--permutations", "4", "--seed", "7", *FEW]
    first = run(folders, "search", *TEXT, *arguments).report
    again = run_command(*shlex.split(first["command"])[3:]).report
    assert again["command"] == first["command"]
    for field in ("sets", "curve", "shapley", "interaction"):
        assert again[field] == first[field]
    other = run(folders, "search", *TEXT, *arguments, "--seed", "8").report
    assert other["shapley"] != first["shapley"]
    assert other["sets"][0]["random_adapter"] != first["sets"][0]["random_adapter"]


def test_where_nothing_differs_there_are_words_and_no_numbers(llama_base: Path, tmp_path: Path) -> None:
    folders = TinyFolders(llama_base, build_adapter(llama_base, tmp_path / "zero", zero=True))
    report = run(folders, "search", *TEXT, "--permutations", "4").report
    assert (report["sets"], report["curve"]) == ([], [])
    assert (report["reached"], report["shapley"], report["interaction"]) == (None, None, None)
    assert "no difference to recover" in report["warnings"][-1]
    assert "no difference to recover" in run(folders, "search", *TEXT, form="").out


def test_as_text_it_names_set_and_controls(folders: TinyFolders) -> None:
    arguments = ["--reach", "1", "--method", "shapley", "--permutations", "2"]
    out = run(folders, "search", *TEXT, *arguments, *FEW, form="").out
    assert f"Recovery 1 is reached with {2 * N_LAYERS}: attn all; mlp all" in out
    assert f"random sets of {2 * N_LAYERS}: 1.0, sd 0, n 3" in out
    assert "in random adapters: 1.0, sd 0, n 2" in out
    assert "2 permutations" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--reach", "1.5"], "1.5"),
        (["--method", "shapley", "--permutations", "0"], "need permutations"),
        (["--method", "greedy-backward", "--max-size", "2"], "greedy-backward"),
        (["--random", "-1"], "-1"),
        (["--by", "head"], "invalid choice"),
        (["--mask", "prompt", "--answer-ids", "x"], "whole numbers"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(folders: TinyFolders, arguments: list[str], says: str) -> None:
    text = TEXT[:1] if "--answer-ids" in arguments else TEXT
    outcome = run(folders, "search", *text, *arguments)
    assert outcome.code == 2
    assert says in outcome.error["message"]
