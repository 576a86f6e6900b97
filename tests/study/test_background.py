"""A study that runs by itself: beside questions, stopped, resumed, refused, unloaded; and where it lies."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.errors import ArgumentError, DataError, StudyError
from core.generate.lane import Lane
from core.generate.requests import Progress
from core.generate.sampling import Sampling
from core.generate.worker import Worker
from core.generate.writing import Job
from core.pair.pair import Pair
from core.study.background import BackgroundStudy, StudyDesk
from core.study.choice import CorpusChoice, parse_corpus
from core.study.engines import LocalEngine
from core.study.runner import run_study
from core.study.settings import StudySettings
from core.study.shelf import all_shelved, shelved, studies_home, study_folder
from core.study.store import open_store
from core.study.uploads import Upload, choice_of_upload, read_with_uploads, upload_of
from tests.study.runs import small_settings, write_rows
from tests.study.test_runner import same_tables


@pytest.fixture(scope="module")
def tiny(load_with: Callable[..., Pair], llama_base: Path) -> Pair:
    return load_with(llama_base)


@pytest.fixture
def worker(tiny: Pair) -> Iterator[Worker]:
    worker = Worker(tiny)
    yield worker
    worker.shutdown()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRAFT_STUDIES", str(tmp_path / "studies"))
    return tmp_path / "studies"


def many(folder: Path, rows: int = 200) -> StudySettings:
    """More prompts than can be measured before somebody stops it."""
    path = write_rows(
        folder / "many.jsonl", [{"question": f"What is {n}?", "answer": f"It is {n}."} for n in range(rows)]
    )
    corpus = parse_corpus(f"{path},kind=medical")
    return StudySettings((corpus,), measurements=("reference",), batch=1, sweep_prompts=0)


def begun(study: BackgroundStudy) -> BackgroundStudy:
    until(lambda: study.progress is not None and study.progress.done >= 2)
    return study


def until(happened: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_study_beside_others_gives_the_tables_it_gives_alone(worker: Worker, tmp_path: Path, home: Path) -> None:
    settings = small_settings(tmp_path)
    run_study(LocalEngine(worker.pair), settings, tmp_path / "alone")
    study = StudyDesk().start(worker, study_folder("beside"), settings)
    answers, sums = [], []
    while not study.ended:
        asked = worker.submit(
            Job(_prompt(worker.pair), (Lane("tuned", worker.pair.tuned_gates()),), Sampling(), 5), "me"
        )
        summed = worker.call(lambda pair, progress: pair.n_layers, "me")
        assert summed.wait(60)
        assert asked.wait(60)
        answers.append(tuple(asked.records[0].ids))
        sums.append(summed.result)
    assert study.error is None
    assert shelved("beside").state == "finished"
    same_tables(tmp_path / "alone", home / "beside")
    assert len(set(answers)) == 1
    assert set(sums) == {worker.pair.n_layers}


def _prompt(pair: Pair) -> Any:
    return pair.prompts.chat([{"role": "user", "content": "What is asthma?"}])


def test_what_gives_way_is_held_up_by_all_others_and_holds_up_none(worker: Worker) -> None:
    order: list[str] = []

    def long(pair: Pair, progress: Progress) -> str:
        while "short" not in order:
            progress(0.5)
        order.append("long")
        return "done"

    slow = worker.call(long, "study", gives_way=True)
    until(lambda: slow.status == "running")
    quick = worker.call(lambda pair, progress: order.append("short"), "me")
    assert worker.place(quick) == 0
    assert quick.wait(30)
    assert slow.wait(30)
    assert order == ["short", "long"]
    assert slow.result == "done"


def test_it_stops_after_the_prompt_in_hand_and_goes_on(worker: Worker, tmp_path: Path, home: Path) -> None:
    desk, settings = StudyDesk(), many(tmp_path, 30)
    study = begun(desk.start(worker, study_folder("long one"), settings))
    study.want_tables()
    until(lambda: shelved("long-one").stamp or study.ended)
    study.stop()
    assert study.wait(60)
    left = shelved("long-one")
    assert left.state == "stopped"
    assert 2 <= left.done < 30
    assert study.progress is not None
    assert left.done == study.progress.done
    again = desk.start(worker, left.folder, None)
    assert again.wait(120)
    assert again.error is None
    assert shelved("long-one").done == 30
    with open_store(left.folder) as store:
        assert len(list(store.rows("prompts"))) == 30


def test_one_runs_at_a_time_and_names_are_taken_once(worker: Worker, tmp_path: Path, home: Path) -> None:
    desk, settings = StudyDesk(), many(tmp_path)
    study = begun(desk.start(worker, study_folder("one"), settings))
    assert shelved("one").state == "running"
    with pytest.raises(StudyError, match="one is running"):
        desk.start(worker, study_folder("two"), settings)
    with pytest.raises(StudyError, match="Another process is at work"):
        open_store(study.folder)
    study.stop()
    assert study.wait(60)
    with pytest.raises(StudyError, match="a study named one already"):
        desk.start(worker, study_folder("one"), settings)


def test_unloading_the_pair_gives_up_the_prompt_in_hand_and_keeps_the_rest(
    tiny: Pair, tmp_path: Path, home: Path
) -> None:
    worker = Worker(tiny)
    study = begun(StudyDesk().start(worker, study_folder("left"), many(tmp_path)))
    worker.shutdown()
    assert study.wait(60)
    left = shelved("left")
    assert left.state == "stopped"
    assert left.done >= 2
    assert left.stamp  # tables are there
    other = Worker(tiny)
    again = begun(StudyDesk().start(other, left.folder, None))
    again.close()
    other.shutdown()
    assert shelved("left").done > left.done
    refused = StudyDesk().start(other, left.folder, None)
    assert refused.wait(60)
    assert refused.error is not None
    assert "unloaded" in refused.error.message


def test_a_bug_while_measuring_is_told_and_the_study_can_go_on(
    worker: Worker, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", logged.append)
    monkeypatch.setattr("core.study.measure_prompt.answer_row", lambda *_: 1 / 0)
    study = StudyDesk().start(worker, study_folder("broken"), many(tmp_path, 3))
    assert study.wait(60)
    assert study.error is not None
    assert "ZeroDivisionError" in study.error.message
    assert [entry.exc_type for entry in logged] == [ZeroDivisionError]
    monkeypatch.undo()
    monkeypatch.setenv("GRAFT_STUDIES", str(home))
    assert shelved("broken").state == "stopped"
    again = StudyDesk().start(worker, study_folder("broken"), None)
    assert again.wait(60)
    assert again.error is None
    assert shelved("broken").state == "finished"


def test_a_study_that_cannot_begin_leaves_nothing_that_was_uploaded(worker: Worker, home: Path) -> None:
    upload = upload_of("mine.csv", b"question,answer\nWhat?,\n")
    settings = StudySettings((choice_of_upload(upload, "medical"),))
    study = StudyDesk().start(worker, study_folder("bad"), settings, [upload])
    assert study.wait(60)
    assert isinstance(study.error, DataError)
    assert "mine.csv row 1 has neither" in study.error.message
    assert not (home / "bad").exists()
    assert all_shelved() == ((), ())


def test_uploads_are_read_without_a_trace_and_kept_with_the_study(worker: Worker, home: Path) -> None:
    upload = upload_of("../My cases!.csv", "q,answer\n“Why?”,Because.\n".encode())
    assert (upload.label, upload.file_name) == ("My-cases", "My-cases.csv")
    choice = choice_of_upload(upload, "general", "question=q")
    settings = StudySettings((choice,), measurements=("reference",))
    (corpus,) = read_with_uploads(settings, [upload])
    assert [row.question for row in corpus.rows] == ["“Why?”"]
    assert not home.exists()
    study = StudyDesk().start(worker, study_folder("mine"), settings, [upload])
    assert study.wait(60)
    assert study.error is None
    assert (home / "mine" / "uploads" / "My-cases.csv").read_text() == upload.text
    with open_store(home / "mine") as store:
        assert store.corpora() == (corpus,)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("cases.parquet", b"", "of no kind that can be uploaded"),
        ("cases", b"", "of no kind that can be uploaded"),
        ("cases.csv", b"\xff\xfe", "not UTF-8"),
    ],
)
def test_what_cannot_be_uploaded_says_why(name: str, content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        upload_of(name, content)


def test_no_column_of_an_upload_leads_to_another_file() -> None:
    upload = Upload("mine", "mine.csv", "")
    with pytest.raises(ArgumentError, match="at= goes with a preset"):
        choice_of_upload(upload, "medical", "at=/etc")
    found = choice_of_upload(upload, "medical", "question=/etc/passwd,kind=general,name=other")
    assert (found.path, found.label, found.kind) == (Path("mine.csv"), "mine", "medical")
    assert isinstance(found, CorpusChoice)


@pytest.mark.parametrize("name", ["", "..", "../up", "/etc", "a/b", ".hidden", "a" * 61, "x\x00", "naïve", "-f"])
def test_names_that_are_no_plain_names_are_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match="name"):
        study_folder(name)


def test_a_name_lies_in_the_folder_of_studies(home: Path) -> None:
    assert study_folder(" my  first study ") == home / "my-first-study"
    assert studies_home() == home


def test_the_shelf_says_what_it_cannot_read(worker: Worker, tmp_path: Path, home: Path) -> None:
    run_study(LocalEngine(worker.pair), many(tmp_path, 2), home / "good")
    (home / "old").mkdir()
    (home / "old" / "study.json").write_text('{"schema_version": "0"}')
    (home / "no.name").mkdir()
    (home / "no.name" / "study.json").write_text("{}")
    studies, unread = all_shelved()
    assert [(study.name, study.state, study.done) for study in studies] == [("good", "finished", 2)]
    assert studies[0].of_pair(worker.pair)
    assert [error.message for error in unread] == [
        error.message for error in unread if "another version" in error.message
    ]
    assert len(unread) == 1
