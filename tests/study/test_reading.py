"""Corpora as a study reads them: every source, every column, and every row that cannot be used."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import ArgumentError, DataError
from core.study.choice import PRESETS, CorpusChoice, parse_corpus
from core.study.corpora import Corpus, CorpusRow, read_corpora, read_corpus
from core.study.prompts import batches, study_prompts
from core.study.settings import StudySettings

GOOD = {"id": "q1", "question": "What is asthma?", "answer": "A disease of the airways."}


def write(path: Path, *lines: Any) -> Path:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def read(spec: object, seed: int = 0) -> Corpus:
    return read_corpus(parse_corpus(f"{spec},kind=medical"), seed)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.csv", "rows.parquet"])
def test_the_same_rows_come_out_of_every_kind_of_file(tmp_path: Path, name: str) -> None:
    rows = [{"Q": "What is asthma?", "A": "A disease.", "topic": "lungs"}, {"Q": "Why?", "A": "None", "topic": "x"}]
    path = tmp_path / name
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        import pandas as pd

        pd.DataFrame(rows).to_parquet(path)
    else:
        write(path, *rows)
    corpus = read(f"{path},question=Q,answer=A,field=topic,name=mine")
    assert corpus.name == "mine"
    assert [(row.question, row.answer, row.field) for row in corpus.rows] == [
        ("What is asthma?", "A disease.", "lungs"),
        ("Why?", "None", "x"),
    ]
    assert len({row.id for row in corpus.rows}) == 2


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv"])
def test_a_reasoning_comes_with_its_answer_or_is_left_out(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    rows = [
        {
            "question": "What is asthma?",
            "reasoning": " Okay, so.\n\nThe lungs. ",
            "answer": "A disease.",
            "options": "",
        },
        {"question": "Why?", "reasoning": "", "answer": "So.", "options": ""},
        {"question": "Which?", "reasoning": "Not x.", "answer": "", "options": '["x", "y"]'},
    ]
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        write(path, *rows)
    found, without, other = read(path), read(f"{path},reasoning="), read(f"{path},reasoning=question")
    assert [row.reasoning for row in found.rows] == ["Okay, so.\n\nThe lungs.", None, None]
    assert [row.answer for row in found.rows] == ["A disease.", "So.", None]
    assert [row.reasoning for row in without.rows] == [None, None, None]
    assert [row.reasoning for row in other.rows] == ["What is asthma?", "Why?", None]
    assert found.sha256 != without.sha256


def test_rows_without_a_reasoning_keep_the_hash_they_had() -> None:
    """What earlier versions wrote into `study.json` of these rows."""
    hashes = [read_corpus(parse_corpus(f"shipped:{kind}"), 0).sha256 for kind in ("medical", "general")]
    assert hashes == [
        "ad2785fdab6fd5ef0d8e0084a5448fdc3528b3ad337c5e356880b17ed64e0403",
        "9b88d29b7065e3a5e239665d804bc6772767daa9a460b3e96d1fe225d12baa6b",
    ]


def test_shipped_corpora_keep_their_twins_when_few_rows_are_drawn() -> None:
    corpora = read_corpora([parse_corpus(f"shipped:{kind},rows=5") for kind in ("medical", "general")], seed=3)
    assert [corpus.kind for corpus in corpora] == ["medical", "general"]
    assert [row.twin for row in corpora[0].rows] == [row.id for row in corpora[1].rows]
    again, other = (read_corpus(parse_corpus("shipped:medical,rows=5"), seed) for seed in (3, 4))
    assert again.sha256 == corpora[0].sha256 != other.sha256
    assert (len(again.rows), again.n_found) == (5, 126)


@pytest.mark.parametrize("letter", ["B", "b", 1, "lungs"])
def test_options_become_lines_and_the_right_one_a_letter(tmp_path: Path, letter: object) -> None:
    line = {
        "question": "Which organ has airways?",
        "options": ["heart", "lungs"],
        "letter": letter,
        "context": "A man.",
    }
    (row,) = read(write(tmp_path / "rows.jsonl", line)).rows
    assert row == CorpusRow(
        id="rows.jsonl line 1",
        question="A man.\n\nWhich organ has airways?\nA. heart\nB. lungs",
        answer=None,
        options=("heart", "lungs"),
        letter="B",
    )
    offered = row.offered()
    assert offered is not None
    assert offered.letters == ("A", "B")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{not json", "line 2 is not JSON"),
        ('["a list"]', "line 2 is a list"),
        ({"answer": "Yes."}, "line 2 has no 'question'"),
        ({"question": "Why?"}, "line 2 has neither an answer nor options"),
        ({"question": 5, "answer": "Yes."}, "'question' is a int"),
        ({"id": "q1", "question": "Why?", "answer": "Yes."}, "line 2 has the id 'q1' of rows.jsonl line 1"),
        ({**GOOD, "id": "q2", "field": "lungs"}, "rows.jsonl line 2 repeats rows.jsonl line 1"),
        ({"question": "Why?", "reasoning": 5, "answer": "Yes."}, "'reasoning' is a int"),
        ({"question": "Why?", "reasoning": "<think> So.", "answer": "Yes."}, "'reasoning' holds '<think>'"),
        ({"question": "Why?", "reasoning": "So. </think> Yes.", "answer": "Yes."}, "'reasoning' holds '</think>'"),
        ({"question": "?", "reasoning": "So.\n## Final Response\nOh", "answer": "Yes."}, "holds '## Final Response'"),
        ({**GOOD, "id": "q2", "reasoning": "So."}, "rows.jsonl line 2 repeats rows.jsonl line 1"),
        ({"question": "Why?", "options": ["one"]}, "line 2 has the options A"),
        ({"question": "Why?", "options": list("abcdef")}, "A, B, C, D, E, F"),
        ({"question": "Why?", "options": {"B": "x", "C": "y"}}, "the options B, C"),
        ({"question": "Why?", "options": ["x", "y"], "letter": 2}, "the right option is 2; there are A, B"),
        ({"question": "Why?", "options": ["x", "y"], "letter": -1}, "the right option is -1"),
        ({"question": "Why?", "options": ["x", "y"], "letter": "z"}, "the right option is 'z'"),
        ({"question": "Why?", "options": ["x", "x"], "letter": "x"}, "the right option is 'x'"),
    ],
)
def test_a_bad_row_is_named_and_refused_or_skipped(tmp_path: Path, line: object, says: str) -> None:
    path = write(tmp_path / "rows.jsonl", GOOD, line)
    with pytest.raises(DataError) as caught:
        read(path)
    assert says in caught.value.message
    assert caught.value.remedy.endswith("add ,bad=skip after the file's name to leave it out.")
    corpus = read(f"{path},bad=skip")
    assert [row.id for row in corpus.rows] == ["q1"]
    assert len(corpus.bad) == 1
    assert says in corpus.bad[0]


def test_many_bad_rows_are_named_together(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", GOOD, {"answer": "Yes."}, "{")
    with pytest.raises(DataError, match=r"2 rows of rows.jsonl cannot be used") as caught:
        read(path)
    assert "line 2" in caught.value.message
    assert "line 3" in caught.value.message


def test_a_file_of_bad_rows_only_holds_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no rows that can be used"):
        read(f"{write(tmp_path / 'rows.jsonl', {'x': 1})},bad=skip")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("rows.csv", "Nothing says whether"),
        ("rows.csv,kind=medicine", "'kind=medicine'"),
        ("rows.csv,kind=medical,rows=0", "'rows=0'"),
        ("rows.csv,kind=medical,question=", "'question='"),
        ("shipped:surgery", "no corpus 'shipped:surgery'"),
        ("preset:moon", "no preset 'preset:moon'"),
        ("rows.csv,kind=general,at=folder", "at= goes with a preset"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(spec: str, says: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        parse_corpus(spec)
    assert says in caught.value.message


def test_a_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'Frage'"):
        read(f"{write(tmp_path / 'rows.jsonl', GOOD)},question=Frage")


def test_two_corpora_of_one_name_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", GOOD)
    with pytest.raises(DataError, match="called 'rows'"):
        read_corpora([parse_corpus(f"{path},kind=medical")] * 2, 0)


def test_a_row_that_another_corpus_has_is_refused_or_skipped_as_its_own_corpus_asks(tmp_path: Path) -> None:
    one = f"{write(tmp_path / 'one.jsonl', GOOD)},kind=medical"
    other = write(tmp_path / "other.jsonl", {"question": "Why?", "answer": "So."}, {**GOOD, "id": "x"})
    for kind in ("medical", "general"):
        with pytest.raises(DataError, match=r"other.jsonl line 2 repeats one.jsonl line 1 of one"):
            read_corpora([parse_corpus(f"{one},bad=skip"), parse_corpus(f"{other},kind={kind}")], 0)
        first, second = read_corpora([parse_corpus(one), parse_corpus(f"{other},kind={kind},bad=skip")], 0)
        assert [row.question for row in (*first.rows, *second.rows)] == ["What is asthma?", "Why?"]
        assert second.bad == ("other.jsonl line 2 repeats one.jsonl line 1 of one.",)
        assert second.n_found == 1


def test_the_same_question_with_other_options_or_another_answer_is_another_row(tmp_path: Path) -> None:
    question = GOOD["question"]
    rows: list[dict[str, Any]] = [
        {"question": question, "answer": "A disease."},
        {"question": question, "answer": "A disease.", "options": ["x", "y"]},
        {"question": question, "answer": "A disease.", "options": ["x", "z"]},
        {"question": question, "options": ["x", "z"]},
        {"question": question, "answer": "An illness."},
    ]
    assert len(read(write(tmp_path / "rows.jsonl", *rows)).rows) == len(rows)


def test_no_row_of_the_shipped_corpora_repeats_another() -> None:
    corpora = read_corpora([parse_corpus(f"shipped:{kind}") for kind in ("medical", "general")], 0)
    assert [(len(corpus.rows), corpus.bad) for corpus in corpora] == [(126, ()), (126, ())]


# A row as the hub has it → what a study makes of it.
HUB_ROWS: dict[str, tuple[str, str, dict[str, Any], CorpusRow]] = {
    "medical-o1": (
        "en", "train",
        {"Question": "What is it?", "Complex_CoT": "Okay, so.", "Response": "Asthma."},
        CorpusRow("ROW", "What is it?", "Asthma.", reasoning="Okay, so."),
    ),
    "medqa": (
        "default", "test",
        {"question": "Which?", "answer": "Ibuprofen", "options": {"A": "Aspirin", "B": "Ibuprofen"},
         "meta_info": "step1", "answer_idx": "B", "metamap_phrases": ["which"]},
        CorpusRow("ROW", "Which?\nA. Aspirin\nB. Ibuprofen", None, ("Aspirin", "Ibuprofen"), "B", "step1"),
    ),
    "medmcqa": (
        "default", "validation",
        {"id": "x7", "question": "Which?", "opa": "a1", "opb": "b1", "opc": "c1", "opd": "d1", "cop": 2,
         "choice_type": "single", "exp": "Since it is.", "subject_name": "Anatomy", "topic_name": None},
        CorpusRow("x7", "Which?\nA. a1\nB. b1\nC. c1\nD. d1", "Since it is.", ("a1", "b1", "c1", "d1"), "C", "Anatomy"),
    ),
    "pubmedqa": (
        "pqa_labeled", "train",
        {"pubid": 21645374, "question": "Do they?", "context": {"contexts": ["One.", "Two."], "labels": ["A", "B"]},
         "long_answer": "They may.", "final_decision": "maybe"},
        CorpusRow("21645374", "One.\n\nTwo.\n\nDo they?\nA. yes\nB. no\nC. maybe", "They may.", ("yes", "no", "maybe"),
                  "C"),
    ),
    "mmlu-medical": (
        "all", "test",
        {"question": "Which?", "subject": "anatomy", "choices": ["w", "x", "y", "z"], "answer": 3},
        CorpusRow("ROW", "Which?\nA. w\nB. x\nC. y\nD. z", None, ("w", "x", "y", "z"), "D", "anatomy"),
    ),
    "mmlu-general": (
        "all", "test",
        {"question": "Which?", "subject": "astronomy", "choices": ["w", "x", "y", "z"], "answer": 0},
        CorpusRow("ROW", "Which?\nA. w\nB. x\nC. y\nD. z", None, ("w", "x", "y", "z"), "A", "astronomy"),
    ),
}  # fmt: skip


def test_the_reasoning_of_a_preset_can_be_left_out(tmp_path: Path) -> None:
    choice = parse_corpus(f"preset:medical-o1,at={tmp_path},reasoning=")
    assert dict(choice.columns) == {"question": "Question", "reasoning": "", "answer": "Response"}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_reads_a_folder_in_the_layout_of_the_hub(tmp_path: Path, name: str) -> None:
    import pandas as pd

    config, split, line, expected = HUB_ROWS[name]
    lines = [line, {**line, "subject": "jurisprudence"}] if "subject" in line else [line]
    (tmp_path / "data").mkdir()
    pd.DataFrame(lines).to_parquet(tmp_path / "data" / f"{split}.parquet")
    (tmp_path / "README.md").write_text(
        f"---\nconfigs:\n- config_name: {config}\n  data_files:\n"
        f"  - split: {split}\n    path: data/{split}.parquet\n---\n"
    )
    corpus = read_corpus(parse_corpus(f"preset:{name},at={tmp_path}"), 0)
    (row,) = corpus.rows
    assert (corpus.name, corpus.kind) == (name, "general" if name == "mmlu-general" else "medical")
    assert row == CorpusRow(**{**expected.__dict__, "id": row.id if expected.id == "ROW" else expected.id})
    assert PRESETS[name].hub_id is not None


def rows_of(name: str, n: int, kind: str = "medical") -> Corpus:
    rows = tuple(CorpusRow(str(k), "Why?", "So.") for k in range(n))
    return Corpus(name, "medical" if kind == "medical" else "general", rows, n, ())


def settings(**changes: Any) -> StudySettings:
    return StudySettings((CorpusChoice(Path("x")),), **changes)


def test_corpora_take_turns_and_shared_ids_are_told_apart() -> None:
    prompts = study_prompts([rows_of("a", 3), rows_of("b", 1, "general")], settings())
    assert [p.document for p in prompts] == ["a:0", "b:0", "a:1", "a:2"]
    assert [p.place for p in prompts] == [0, 1, 2, 3]
    assert [len(batch) for batch in batches(prompts, 3)] == [3, 1]


def test_so_many_prompts_of_each_kind_are_swept_and_some_of_them_controlled() -> None:
    corpora = [rows_of("a", 30), rows_of("b", 20), rows_of("c", 50, "general")]
    prompts = study_prompts(corpora, settings(sweep_prompts=7, control_prompts=3))
    for kind in ("medical", "general"):
        own = [p for p in prompts if p.kind == kind]
        assert sum(p.swept for p in own) == 7
        assert sum(p.controlled for p in own) == 3
        assert all(p.swept for p in own if p.controlled)
    other = study_prompts(corpora, settings(sweep_prompts=7, control_prompts=3, seed=1))
    assert [p.swept for p in other] != [p.swept for p in prompts]
