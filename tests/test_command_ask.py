"""`ask` beyond three lanes: patched and amplified hybrids, forks, shared noise, cross-scores, letters."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.present.all_reports import REPORTS
from tests.command import Outcome, check_schema, run_command, small_models
from tests.conftest import TinyFolders
from tests.tiny import build_adapter

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The PEFT config's `base_model_name_or_path` was renamed:UserWarning"),
]
QUESTION = "What is asthma?"


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with small_models(tmp_path_factory.mktemp("home")):
        yield


def ask(folders: TinyFolders, *arguments: str, question: str = QUESTION) -> Outcome:
    models = ("--base", str(folders.base), "--tuned", str(folders.tuned))
    return run_command("ask", question, *arguments, *models, "--max-new-tokens", "12", "--json")


def by_name(outcome: Outcome) -> dict[str, dict[str, object]]:
    assert outcome.code == 0, outcome.err
    check_schema(outcome, REPORTS["ask"])
    return {lane["name"]: lane for lane in outcome.report["lanes"]}


def test_patched_and_amplified_hybrids_stand_beside_grafted_ones(folders: TinyFolders) -> None:
    lanes = by_name(ask(folders, "--lane", "Grafted: 0-2", "--lane", "Patched: 2 / resid_post", "--amplify", "0"))
    assert list(lanes) == ["base", "hybrid", "hybrid-2", "hybrid-3", "tuned"]
    assert [lanes[name]["kind"] for name in lanes] == ["graft", "graft", "patch", "amplify", "graft"]
    assert lanes["hybrid-2"]["ids"] == lanes["hybrid"]["ids"]  # the whole residual at 2 is layers 0 to 2
    assert lanes["hybrid-3"]["ids"] == lanes["tuned"]["ids"]  # nothing added to the fine-tuned model
    assert lanes["hybrid-2"]["patch"] == {"site": "resid_post", "layers": [2]}
    assert lanes["hybrid-3"]["alpha"] == 0


def test_a_fork_leaves_base_for_the_other_models_choice(folders: TinyFolders) -> None:
    outcome = ask(folders, "--fork-at", "3", "--fork-at", "tuned:2=lungs>base")
    lanes = by_name(outcome)
    first, second = outcome.report["forks"]
    assert first["fork"]["parent"] == first["fork"]["model"] == "base"
    assert first["answer"]["ids"][:3] == lanes["base"]["ids"][:3]
    assert first["answer"]["ids"][3] != lanes["base"]["ids"][3]
    assert first["answer"]["begun"] == 4
    assert second["fork"]["model"] == "base"
    assert second["answer"]["ids"][:2] == lanes["tuned"]["ids"][:2]
    assert second["answer"]["text"].find("lungs") >= 0


def test_a_fork_names_lanes_as_they_were_named(folders: TinyFolders) -> None:
    outcome = ask(folders, "--lane", "Lent: 2 / mlp_out", "--fork-at", "Lent:2= lungs>tuned", "--fork-at", "2= x>Lent")
    by_name(outcome)
    assert [(own["fork"]["parent"], own["fork"]["model"]) for own in outcome.report["forks"]] == [
        ("hybrid", "tuned"), ("base", "hybrid"),
    ]  # fmt: skip


def test_a_fork_that_puts_in_what_stands_there_says_whose_choice_it_is(llama_base: Path, tmp_path: Path) -> None:
    same = TinyFolders(llama_base, build_adapter(llama_base, tmp_path / "tuned", zero=True))
    refused = ask(same, "--fork-at", "tuned:2")
    assert refused.code == 2
    assert "base's first choice too" in refused.error["message"]
    assert "--fork-at 'tuned:2=TEXT'" in refused.error["remedy"]


def test_more_tokens_than_the_context_holds_are_refused_at_once(folders: TinyFolders) -> None:
    models = ("--base", str(folders.base), "--tuned", str(folders.tuned))
    refused = run_command("ask", QUESTION, *models, "--max-new-tokens", "100000000", "--json")
    assert refused.code == 2
    assert "the context holds" in refused.error["message"]


def test_shared_noise_reports_how_often_the_models_part(folders: TinyFolders) -> None:
    lanes = by_name(ask(folders, "--coupled", "--temperature", "1", "--layers", "all"))
    assert lanes["hybrid"]["ids"] == lanes["tuned"]["ids"]
    for lane in lanes.values():
        assert 0 <= lane["parting_rate"] <= 1  # type: ignore[operator]
        assert 0 < lane["mean_tv"] <= 1  # type: ignore[operator]


def test_every_answer_under_every_model(folders: TinyFolders) -> None:
    outcome = ask(folders, "--cross", "--lane", "Patched: 2 / mlp_out")
    by_name(outcome)
    cross = outcome.report["cross"]
    assert [row["answer"] for row in cross["answers"]] == ["base", "hybrid", "tuned"]
    assert [score["model"] for score in cross["answers"][0]["models"]] == ["base", "tuned"]  # a patch is no one model


def test_options_in_the_question_give_letters(folders: TinyFolders) -> None:
    question = "Which organ does asthma affect?\nA. the lungs\nB. the heart\nC. the skin"
    outcome = ask(folders, "--lane", "Patched: 2 / mlp_out", "--amplify", "2", question=question)
    by_name(outcome)
    letters = outcome.report["letters"]
    assert [own["lane"] for own in letters] == ["base", "hybrid", "hybrid-2", "tuned"]
    for own in letters:
        assert sum(own["choice"]["probabilities"]) == pytest.approx(1)
        assert own["flipped"] == (own["choice"]["chosen"] != letters[0]["choice"]["chosen"])
    assert ask(folders).report["letters"] is None


def test_answers_are_written_as_a_table_or_picture(folders: TinyFolders, tmp_path: Path) -> None:
    table, page = tmp_path / "answers.csv", tmp_path / "answers.html"
    lanes = by_name(ask(folders, "--out", str(table)))
    by_name(ask(folders, "--out", str(page)))
    about, *rows = table.read_text().split("\n", 1)
    found = list(csv.DictReader(io.StringIO(rows[0])))
    assert [row["text"] for row in found] == [lane["text"] for lane in lanes.values()]
    assert about.rsplit(" ", 1)[1] in page.read_text()  # the same data hash
    assert ask(folders, "--out", str(tmp_path / "answers.txt")).code == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--fork-at", "base"], "not understood"),
        (["--fork-at", "nobody:1"], "no lane 'nobody'"),
        (["--fork-at", "base:99"], "no token 99"),
        (["--fork-at", "base:-1"], "no token -1"),
        (["--fork-at", "base:1>nobody"], "no lane 'nobody'"),
        (["--amplify", "9"], "-1..3"),
        (["--coupled"], "greedy needs no coupling"),
        (["--lane", "a: 1 / mlp_out / 0.5"], "site together with strength"),
        (["--lane", "a: 1 / alpha=1"], "alpha together with layers 1"),
        (["--lane", "a: 9 / mlp_out"], "Layer 9 does not exist"),
    ],
)
def test_what_makes_no_sense_is_refused(folders: TinyFolders, arguments: list[str], says: str) -> None:
    outcome = ask(folders, *arguments)
    assert outcome.code == 2
    assert says in outcome.report["error"]["message"]
