"""A study from end to end: its numbers are those of one prompt alone, and no stop, kill or neighbour changes them."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from core.errors import ArgumentError, DataError, DeviceMemoryError, StudyError
from core.generate.answers import greedy_answer
from core.generate.cache import BufferedLayer
from core.intervene.plans import sweep_plans
from core.intervene.random_adapter import random_adapter
from core.intervene.recovery import sweep
from core.measure.diff import diff
from core.measure.lens import lens
from core.measure.multiple_choice import letter_probabilities, letter_prompt
from core.measure.options import parse_options
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.parts import MASKS
from core.pair.prompts import Message, Prompt
from core.pair.routes import prefill
from core.study.choice import parse_corpus
from core.study.engines import LocalEngine
from core.study.measure_prompt import reference_ids
from core.study.preview import preview_study
from core.study.runner import StudyProgress, resume_study, run_study
from core.study.schema import TABLES, VISITED
from core.study.settings import StudySettings, from_plain, to_plain
from core.study.store import open_store, read_record
from tests.command import PROJECT, environment
from tests.conftest import TinyFolders
from tests.generate.test_memory import full
from tests.study.runs import GENERAL, MEDICAL, read_table, row_of, small_settings, write_rows
from tests.tiny import N_LAYERS


@pytest.fixture(scope="module")
def whole(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudySettings]:
    """An uninterrupted study."""
    root = tmp_path_factory.mktemp("whole")
    settings = small_settings(root)
    outcome = run_study(LocalEngine(pair), settings, root / "study")
    assert outcome.state == "finished"
    return root / "study", settings


def same_tables(one: Path, other: Path) -> None:
    for name in TABLES:
        pd.testing.assert_frame_equal(read_table(one, name), read_table(other, name))


def asked(pair: Pair, question: str) -> Prompt:
    return pair.prompts.chat([Message(role="user", content=question)])


def one(table: pd.DataFrame, **where: object) -> pd.Series:
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_every_prompt_is_there_once_with_its_twin_and_kind(whole: tuple[Path, StudySettings]) -> None:
    prompts = read_table(whole[0], "prompts")
    assert list(prompts.document) == ["m1", "g1", "m2", "g2", "m3"]  # corpora take turns
    assert list(prompts.corpus) == ["medical", "general", "medical", "general", "medical"]
    assert list(prompts.twin) == ["g1", "m1", "g2", "m2", ""]
    assert one(prompts, document="m1").field == "lungs"
    assert prompts.groupby("corpus").swept.sum().to_dict() == {"medical": 2, "general": 2}
    assert prompts.groupby("corpus").controlled.sum().to_dict() == {"medical": 1, "general": 1}


@pytest.mark.parametrize("name", [name for name in TABLES if name != "adapter_sets"])  # see test_sets
def test_every_table_has_rows_and_no_column_is_empty_throughout(whole: tuple[Path, StudySettings], name: str) -> None:
    table = read_table(whole[0], name)
    assert list(table.columns) == list(TABLES[name])
    assert len(table)
    allowed = {"left_out", "reasoning_finished", "logit_difference_recovery", "logp_recovery", "cka_unbiased", "se"}
    allowed |= {"reasoning", "nll_base_reasoning_sum", "nll_tuned_reasoning_sum"}  # see test_reasoning
    assert {column for column in table if table[column].isna().all()} <= allowed


def test_a_reference_has_the_numbers_of_diff(pair: Pair, whole: tuple[Path, StudySettings]) -> None:
    prompt = asked(pair, MEDICAL[1]["question"])
    ids = reference_ids(pair, prompt, row_of(MEDICAL[1]))
    found = diff(pair, prompt, ids)
    row = one(read_table(whole[0], "answers"), document="m2", whose="reference")
    tokens = [t for t in found.tokens[len(prompt.ids) :] if t.part in MASKS["response"]]
    assert row.tokens == len(tokens)
    assert row.kl_sum == found.summary["kl_tuned_base"].sum
    assert row.nll_tuned_sum == pytest.approx(-sum(t.logp_tuned or 0 for t in tokens))
    assert row.nll_base_sum != pytest.approx(row.nll_tuned_sum)
    assert row.agreement == found.choices.agreement
    for name, noise in (
        ("kl_base_tuned", "kl_reverse_noise"),
        ("js_distance", "js_distance_noise"),
        ("tv", "tv_noise"),
    ):
        assert row[noise] == found.summary[name].noise
    asked_for = diff(pair, prompt, ids, mask="prompt").summary["kl_tuned_base"]
    assert (row.question_tokens, row.kl_question_sum) == (asked_for.n, pytest.approx(asked_for.sum))


def test_what_models_write_in_a_batch_they_write_alone(pair: Pair, whole: tuple[Path, StudySettings]) -> None:
    answers = read_table(whole[0], "answers")
    for row in MEDICAL[:2] + GENERAL:
        prompt = asked(pair, row["question"])
        for lane, gates in (("base", pair.base_gates()), ("tuned", pair.tuned_gates())):
            alone = greedy_answer(pair, prompt, gates, whole[1].max_new_tokens)
            found = one(answers, document=row["id"], whose=lane)
            assert tuple(found.ids) == alone
            assert found.kl_sum == pytest.approx(diff(pair, prompt, alone).summary["kl_tuned_base"].sum, rel=1e-9)


def test_a_swept_prompt_has_the_numbers_of_sweep(pair: Pair, whole: tuple[Path, StudySettings]) -> None:
    prompts, layers = read_table(whole[0], "prompts"), read_table(whole[0], "layers")
    document = one(prompts[prompts.controlled], corpus="general").document
    row = next(row for row in GENERAL if row["id"] == document)
    prompt = asked(pair, row["question"])
    ids = reference_ids(pair, prompt, row_of(row))[: whole[1].sweep_tokens]
    parts = pair.prompts.answer_parts(ids, prompt).parts
    predicted = [len(prompt.ids) + k for k, part in enumerate(parts) if part in MASKS["response"]]
    for kind, name in (("single", "single"), ("leave-one-out", "without"), ("prefix", "prefix")):
        found = sweep(pair, (*prompt.ids, *ids), predicted, sweep_plans(kind, N_LAYERS))
        for layer, result in enumerate(found.results):
            own = one(layers, document=document, adapter=0, kind=name, layer=layer)
            assert own.kl_sum / own.tokens == pytest.approx(result.k, rel=1e-5, abs=1e-9)
            assert own.kl_base_sum / own.tokens == pytest.approx(found.k_base, rel=1e-6)
    twin = random_adapter(pair, whole[1].seed + 1)
    found = sweep(twin, (*prompt.ids, *ids), predicted, sweep_plans("single", N_LAYERS))
    own = one(layers, document=document, adapter=2, kind="single", layer=2)
    assert own.kl_sum / own.tokens == pytest.approx(found.results[2].k, rel=1e-5)
    everything = one(layers, document=document, adapter=0, kind="prefix", layer=N_LAYERS - 1)
    assert everything.recovery == pytest.approx(1)
    shares = read_table(whole[0], "shapley")
    assert shares[shares.document == document].share.sum() == pytest.approx(1, abs=1e-4)


def test_words_sum_to_their_text_and_medical_ones_are_marked(whole: tuple[Path, StudySettings]) -> None:
    words, answers = read_table(whole[0], "words"), read_table(whole[0], "answers")
    for _, answer in answers.iterrows():
        own = words[(words.document == answer.document) & (words.whose == answer.whose) & ~words.format]
        assert own.score.sum() <= answer.kl_sum * (1 + 1e-9)
        assert own.tokens.sum() <= answer.tokens
    reference = words[(words.document == "m1") & (words.whose == "reference") & ~words.format]
    assert " ".join(reference.text) == MEDICAL[0]["answer"]
    assert reference.score.sum() == pytest.approx(one(answers, document="m1", whose="reference").kl_sum)
    assert {"Asthma", "lungs."} <= set(reference[reference.medical].text)
    assert not reference[reference.text.isin(["is", "the"])].medical.any()
    assert (reference.position.iloc[0], reference.position.iloc[-1]) == (0, 1)


def test_letters_are_those_of_the_question_alone(pair: Pair, whole: tuple[Path, StudySettings]) -> None:
    row = one(read_table(whole[0], "choices"), document="m3")
    question = "Which organ has airways?\nA. heart\nB. lungs\nC. blood"
    assert one(read_table(whole[0], "prompts"), document="m3").question == question
    options = parse_options(question)
    assert options is not None
    both = Gates.stack([pair.base_gates(), pair.tuned_gates()])
    base, tuned = letter_probabilities(pair, question, options, both)
    assert (row.right, row.base, row.tuned) == ("B", base.chosen, tuned.chosen)
    assert row.p_right_tuned == pytest.approx(tuned.probabilities[1], rel=1e-4)


def test_drift_is_that_of_the_lens(pair: Pair, whole: tuple[Path, StudySettings]) -> None:
    prompt = asked(pair, MEDICAL[0]["question"])
    ids = (*prompt.ids, *reference_ids(pair, prompt, row_of(MEDICAL[0])))
    parts = pair.prompts.answer_parts(ids[len(prompt.ids) :], prompt).parts
    predicted = [len(prompt.ids) + k for k, part in enumerate(parts) if part in MASKS["response"]]
    found = lens(pair, ids, predicted)
    own = read_table(whole[0], "representations").query("document == 'm1'")
    assert list(own.drift_norm) == pytest.approx(list(found.mean.norm), rel=1e-5)
    assert list(own.drift_cosine) == pytest.approx(list(found.mean.cosine), rel=1e-5)
    similarity = read_table(whole[0], "similarity")
    assert set(similarity.documents[similarity.corpus == "medical"]) == {3}
    assert similarity.cka.between(0, 1 + 1e-9).all()


@pytest.mark.parametrize("folders", ["llama"], indirect=True)
@pytest.mark.parametrize("after", [1, 4, 5, 7, 9, 11])
def test_a_stopped_study_resumes_to_the_same_tables(
    pair: Pair, whole: tuple[Path, StudySettings], tmp_path: Path, after: int
) -> None:
    seen: list[StudyProgress] = []
    stopped = run_study(LocalEngine(pair), whole[1], tmp_path / "s", seen.append, lambda: len(seen) >= after)
    assert stopped.state == "stopped"
    assert (stopped.progress.done, stopped.progress.sets_done) == (min(after, 5), max(after - 5, 0))
    assert len(read_table(tmp_path / "s", "prompts")) == min(after, 5)
    assert read_record(tmp_path / "s")["state"] == "stopped"
    resumed = resume_study(LocalEngine(pair), tmp_path / "s", seen.append)
    assert resumed.state == "finished"
    assert [told.done + told.sets_done for told in seen] == list(range(1, 5 + 2 * 4 + 1))
    assert (seen[-1].sets_of, seen[-1].seconds_left) == (2 * 4, 0)
    same_tables(tmp_path / "s", whole[0])


def test_answers_that_do_not_fit_say_so_and_keep_what_was_measured(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = small_settings(tmp_path, measurements=("reference", "answers"))
    with full(monkeypatch, BufferedLayer, "joined", 2) as failed, pytest.raises(DeviceMemoryError) as raised:
        run_study(LocalEngine(pair), settings, tmp_path / "study")
    assert failed == [1]
    assert raised.value.remedy == "Begin the study anew with fewer than 2 answers at once (--batch)."
    assert resume_study(LocalEngine(pair), tmp_path / "study").state == "finished"
    assert len(read_table(tmp_path / "study", "prompts")) == len(MEDICAL) + len(GENERAL)


def test_the_time_left_counts_what_prompts_cost_and_not_how_many(pair: Pair, tmp_path: Path) -> None:
    settings = small_settings(tmp_path, sweep_prompts=1, measurements=("reference", "layers", "shapley", "sets"))
    seen: list[StudyProgress] = []
    run_study(LocalEngine(pair), settings, tmp_path / "s", seen.append)
    swept = read_table(tmp_path / "s", "prompts").swept
    assert list(swept).count(True) == 2
    left = [
        1.0,
        *(told.seconds_left / (told.seconds + told.seconds_left) for told in seen if told.seconds_left is not None),
    ]
    spent = [before - after for before, after in pairwise(left)][: len(swept)]
    assert min(spent) > 0
    plain = max(share for share, layers in zip(spent, swept, strict=True) if not layers)
    assert min(share for share, layers in zip(spent, swept, strict=True) if layers) > 2 * plain
    assert read_record(tmp_path / "s")["runs"][-1]["seconds_left"] == 0


@pytest.mark.parametrize(
    ("measurements", "counts"),
    [
        (("reference",), (0, 0)),
        (("reference", "layers"), (4, 0)),
        (("layers", "controls"), (4, 2)),
        (("patches",), (4, 0)),
    ],
)
def test_a_preview_counts_the_prompts_whose_layers_are_asked_for(
    pair: Pair, tmp_path: Path, measurements: tuple[str, ...], counts: tuple[int, int]
) -> None:
    found = preview_study(pair, small_settings(tmp_path, measurements=measurements), timed=False)
    assert (found.swept, found.controlled) == counts


def test_a_preview_times_sets_where_no_row_has_an_answer(pair: Pair, tmp_path: Path) -> None:
    settings = small_settings(tmp_path, measurements=("answers", "layers", "sets"))
    for name in ("medical", "general"):
        options = {"options": ["heart", "lungs", "blood"], "letter": "B"}
        rows = [{"id": f"{name}{k}", "question": f"Which {name} one is number {k}?", **options} for k in range(2)]
        write_rows(tmp_path / f"{name}.jsonl", rows)
    found = preview_study(pair, settings)
    assert found.visits
    assert found.seconds_visit
    assert found.seconds is not None
    assert found.seconds > found.visits * found.seconds_visit


def test_studies_with_other_seeds_have_other_random_adapters(tmp_path: Path) -> None:
    seeds = [{small_settings(tmp_path, seed=seed).adapter_seed(number) for number in range(1, 41)} for seed in range(3)]
    assert len(set.union(*seeds)) == 3 * 40


_RUN = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from core.study.choice import parse_corpus
from core.study.engines import LocalEngine
from core.study.runner import run_study
from core.study.settings import from_plain
import json
from core.study.pairs import PairChoice
base, tuned, settings, folder, slow = sys.argv[1:]
engine = LocalEngine(PairChoice(None, base, tuned).load())
run_study(engine, from_plain(json.loads(settings)), Path(folder), lambda told: time.sleep(float(slow)))
"""


def start(
    folders: TinyFolders, settings: StudySettings, folder: Path, slow: float, first: str = "", more: Sequence[str] = ()
) -> subprocess.Popen[str]:
    arguments = [str(folders.base), str(folders.tuned), json.dumps(to_plain(settings)), str(folder), str(slow), *more]
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", first + _RUN, *arguments],
        cwd=PROJECT, env=environment(), text=True, stderr=subprocess.PIPE,
    )  # fmt: skip


def wait_for(said: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 90
    while not said():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


def n_done(folder: Path) -> int:
    """Prompts measured and visits made."""
    record = read_record(folder) if (folder / "study.json").exists() else {"done": 0, "sets_done": 0}
    return int(record["done"] + record["sets_done"])


@pytest.mark.parametrize("folders", ["llama"], indirect=True)
@pytest.mark.parametrize("after", [2, 7, 10])
def test_a_killed_study_resumes_to_the_same_tables_and_has_no_row_twice(
    pair: Pair, folders: TinyFolders, whole: tuple[Path, StudySettings], tmp_path: Path, after: int
) -> None:
    folder = tmp_path / "killed"
    process = start(folders, whole[1], folder, 0.3)
    try:
        wait_for(lambda: n_done(folder) >= after, process)
        with pytest.raises(StudyError, match="Another process"):  # while it runs, nobody else gets in
            resume_study(LocalEngine(pair), folder)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert n_done(folder) < 13
    assert read_record(folder)["state"] == "running"
    with open_store(folder) as store:
        assert after <= len(store.done()) + sum(len(store.visited(table)) for table in VISITED) < 13
    outcome = resume_study(LocalEngine(pair), folder)
    assert outcome.state == "finished"
    same_tables(folder, whole[0])
    assert not read_table(folder, "answers").duplicated(["document", "whose"]).any()


_KILLED = """
import os, signal, sqlite3, sys
where, left = sys.argv.pop(), int(sys.argv.pop())
connect, replace = sqlite3.connect, os.replace

def strike(here):
    global left
    left -= here
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

def watched(*args, **options):
    journal = connect(*args, **options)
    journal.set_trace_callback(lambda sql: strike(where == "commit" and sql == "COMMIT"))
    return journal

def replacing(source, target):
    strike(str(target).endswith(where))
    return replace(source, target)

sqlite3.connect, os.replace = watched, replacing
"""


@pytest.mark.parametrize("folders", ["llama"], indirect=True)
@pytest.mark.parametrize(("where", "nth"), [("commit", 3), ("commit", 9), ("study.json", 1), (".parquet", 4)])
def test_killed_just_before_something_is_written_it_resumes_to_the_same_tables(
    pair: Pair, folders: TinyFolders, whole: tuple[Path, StudySettings], tmp_path: Path, where: str, nth: int
) -> None:
    folder = tmp_path / "killed"
    process = start(folders, whole[1], folder, 0.0, _KILLED, (str(nth), where))
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    if (folder / "study.json").exists():
        assert resume_study(LocalEngine(pair), folder).state == "finished"
    else:
        assert where == "study.json"  # nothing was measured yet
        assert run_study(LocalEngine(pair), whole[1], folder).state == "finished"
    same_tables(folder, whole[0])


def test_a_folder_that_holds_a_study_is_not_begun_again(pair: Pair, whole: tuple[Path, StudySettings]) -> None:
    with pytest.raises(StudyError, match="already"):
        run_study(LocalEngine(pair), whole[1], whole[0])


def test_a_journal_without_its_record_is_not_thrown_away(pair: Pair, tmp_path: Path) -> None:
    settings, folder = small_settings(tmp_path, measurements=("reference",)), tmp_path / "s"
    seen: list[StudyProgress] = []
    run_study(LocalEngine(pair), settings, folder, seen.append, lambda: len(seen) >= 2)
    record = (folder / "study.json").read_bytes()
    (folder / "study.json").unlink()
    with pytest.raises(StudyError, match=r"lost its study.json, but its journal.sqlite holds 2 measured prompts"):
        run_study(LocalEngine(pair), settings, folder)
    (folder / "study.json").write_bytes(record)
    assert resume_study(LocalEngine(pair), folder).state == "finished"
    assert len(seen) == 2


@pytest.mark.parametrize("tables", ["", "CREATE TABLE measured (place INTEGER PRIMARY KEY, tables BLOB NOT NULL)"])
def test_a_journal_that_holds_nothing_gives_way(pair: Pair, tmp_path: Path, tables: str) -> None:
    settings, folder = small_settings(tmp_path, measurements=("reference",)), tmp_path / "s"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "journal.sqlite")) as journal, journal:
        journal.executescript(tables)
    assert run_study(LocalEngine(pair), settings, folder).state == "finished"


def test_another_fine_tune_does_not_resume(
    whole: tuple[Path, StudySettings], folders: TinyFolders, load_with: Callable[..., Pair]
) -> None:
    other = load_with(folders.base, seed=9)
    with pytest.raises(StudyError, match="another fine-tune"):
        resume_study(LocalEngine(other), whole[0])


def test_a_finished_study_resumes_to_itself(pair: Pair, whole: tuple[Path, StudySettings]) -> None:
    before = {name: read_table(whole[0], name) for name in TABLES}
    forwards = pair.forwards
    outcome = resume_study(LocalEngine(pair), whole[0])
    assert outcome.state == "finished"
    assert pair.forwards == forwards
    for name, table in before.items():
        pd.testing.assert_frame_equal(read_table(whole[0], name), table)


def test_a_study_whose_tables_cannot_be_written_is_not_finished(
    pair: Pair, whole: tuple[Path, StudySettings], tmp_path: Path
) -> None:
    folder = tmp_path / "s"

    def in_the_way(told: StudyProgress) -> None:
        (folder / "tables").touch()

    with pytest.raises(FileExistsError):
        run_study(LocalEngine(pair), whole[1], folder, in_the_way)
    assert (read_record(folder)["state"], read_record(folder)["done"]) == ("stopped", 5)
    (folder / "tables").unlink()
    forwards = pair.forwards
    assert resume_study(LocalEngine(pair), folder).state == "finished"
    assert pair.forwards == forwards
    same_tables(folder, whole[0])


def test_questions_that_changed_on_disk_do_not_change_a_study(pair: Pair, tmp_path: Path) -> None:
    settings = small_settings(tmp_path, measurements=("reference",))
    seen: list[StudyProgress] = []
    run_study(LocalEngine(pair), settings, tmp_path / "s", seen.append, lambda: bool(seen))
    (tmp_path / "medical.jsonl").unlink()
    assert resume_study(LocalEngine(pair), tmp_path / "s").state == "finished"
    assert len(read_table(tmp_path / "s", "answers")) == 4


def test_a_prompt_that_does_not_fit_is_named_or_left_out(pair: Pair, tmp_path: Path) -> None:
    settings = small_settings(tmp_path, measurements=("reference", "answers"))
    rows = [*MEDICAL[:2], {"id": "long", "question": "pain " * 600, "answer": "Yes."}]
    write_rows(tmp_path / "medical.jsonl", rows)
    with pytest.raises(DataError, match=r"long.*512"):
        run_study(LocalEngine(pair), settings, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    skipping = replace(settings, corpora=(replace(settings.corpora[0], skip_bad=True), settings.corpora[1]))
    outcome = run_study(LocalEngine(pair), skipping, tmp_path / "skipped")
    assert outcome.state == "finished"
    assert len(outcome.left_out) == 1
    prompts = read_table(tmp_path / "skipped", "prompts")
    assert "512" in one(prompts, document="long").left_out
    assert set(read_table(tmp_path / "skipped", "answers").document) == {"m1", "m2", "g1", "g2"}


def test_settings_come_back_from_json_and_know_their_own_hash(tmp_path: Path) -> None:
    settings = small_settings(tmp_path, system="Be brief.")
    again = from_plain(json.loads(json.dumps(to_plain(settings))))
    assert again == settings
    assert again.sha256 == settings.sha256
    assert replace(settings, seed=1).sha256 != settings.sha256
    with pytest.raises(ArgumentError, match="no settings"):
        from_plain({**to_plain(settings), "colour": "red"})
    with pytest.raises(ArgumentError, match="no measurement 'taste'"):
        replace(settings, measurements=("taste",))


def test_raw_questions_go_without_a_template(pair: Pair, tmp_path: Path) -> None:
    settings = small_settings(tmp_path, measurements=("reference", "letters"), raw=True)
    with pytest.raises(ArgumentError, match="no system prompt"):
        replace(settings, system="Be brief.")
    run_study(LocalEngine(pair), settings, tmp_path / "s")
    question, answer = MEDICAL[0]["question"], MEDICAL[0]["answer"]
    row = one(read_table(tmp_path / "s", "answers"), document="m1", whose="reference")
    asked = pair.prompts.raw(f"{question}\n")
    assert row.kl_sum == pytest.approx(diff(pair, asked, pair.prompts.answer_ids(answer)).summary["kl_tuned_base"].sum)
    choice = one(read_table(tmp_path / "s", "choices"), document="m3")
    text = one(read_table(tmp_path / "s", "prompts"), document="m3").question
    ids, skipped = letter_prompt(pair, text, raw=True)
    assert ids == pair.prompts.raw(f"{text}\nAnswer:").ids
    assert not skipped
    p = pair.unembed(prefill(pair, ids, pair.base_gates())[:, -1])[0].double().softmax(-1)
    forms = [[pair.prompts.answer_ids(f"{space}{letter}") for letter in "ABC"] for space in ("", " ")]
    likely = max(([p[own[0]].item() for own in form] for form in forms if all(map(is_single, form))), key=sum)
    assert choice.base == "ABC"[likely.index(max(likely))]
    assert choice.mass_base == pytest.approx(sum(likely))


def is_single(ids: tuple[int, ...]) -> bool:
    return len(ids) == 1


@pytest.mark.parametrize("needs_layers", ["controls", "sets", "part-sets"])
def test_what_is_made_of_layers_is_not_measured_without_them(tmp_path: Path, needs_layers: str) -> None:
    settings = small_settings(tmp_path, measurements=("reference", "layers", needs_layers))
    with pytest.raises(ArgumentError, match="Measure layers too"):
        replace(settings, measurements=("reference", needs_layers))


@pytest.mark.slow
def test_two_shipped_prompts_on_the_demo_pair(demo: Pair, tmp_path: Path) -> None:
    corpora = tuple(parse_corpus(f"shipped:{kind},rows=1") for kind in ("medical", "general"))
    settings = StudySettings(corpora, measurements=("reference", "answers", "representations"), max_new_tokens=24)
    outcome = run_study(LocalEngine(demo), settings, tmp_path / "s")
    assert outcome.state == "finished"
    prompts, words = read_table(tmp_path / "s", "prompts"), read_table(tmp_path / "s", "words")
    assert list(prompts.twin) == list(prompts.document[::-1])
    medical = words[(words.corpus == "medical") & (words.whose == "reference")]
    assert 0.02 < medical.medical.mean() < 0.6
    assert read_record(tmp_path / "s")["pair"]["pair"] == "demo"
