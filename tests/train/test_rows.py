"""Rows from JSON lines: what is read, what is refused and with which words."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ArgumentError, DataError
from core.train.choice import FileChoice, parse_choice
from core.train.rows import Row, choose_rows, without_echo

GOOD = {"question": "What is asthma?", "answer": "A disease of the airways."}


def read_rows(path: Path) -> list[Row]:
    return choose_rows(FileChoice(path), seed=0)


def write_lines(path: Path, *lines: Any) -> Path:
    """One line per item; texts as they are, anything else as JSON."""
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    content = "\n".join(texts).encode() + b"\n"
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def message_of(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_rows(path)
    assert caught.value.remedy
    return caught.value.message


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_reads_plain_and_gzipped_lines(tmp_path: Path, name: str) -> None:
    path = write_lines(tmp_path / name, GOOD, {"id": "q2", "question": " Fièvre ? ", "answer": " Oui. "})
    assert read_rows(path) == [
        Row(id=f"{name} line 1", question="What is asthma?", reasoning="", answer="A disease of the airways."),
        Row(id="q2", question="Fièvre ?", reasoning="", answer="Oui."),
    ]


def test_joins_context_question_and_options(tmp_path: Path) -> None:
    fields = GOOD | {"context": "A child wheezes.", "options": {"A": "Asthma", "B": "Flu"}, "reasoning": "It wheezes."}
    (row,) = read_rows(write_lines(tmp_path / "rows.jsonl", fields))
    assert row.question == "A child wheezes.\n\nWhat is asthma?\nA. Asthma\nB. Flu"
    assert row.reasoning == "It wheezes."


def test_options_that_a_question_does_not_have_leave_no_line(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", GOOD | {"options": {"A": "Yes", "B": None}}, GOOD | {"options": None})
    assert [row.question for row in read_rows(path)] == ["What is asthma?\nA. Yes", "What is asthma?"]


def test_an_option_may_be_zero(tmp_path: Path) -> None:
    (row,) = read_rows(write_lines(tmp_path / "rows.jsonl", GOOD | {"options": {"A": 0, "B": 12}}))
    assert row.question == "What is asthma?\nA. 0\nB. 12"


def test_blank_lines_are_skipped_and_still_counted(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", GOOD, "", "   ", GOOD)
    assert [row.id for row in read_rows(path)] == ["rows.jsonl line 1", "rows.jsonl line 4"]


@pytest.mark.parametrize("name", ["bad.jsonl", "bad.jsonl.gz"])
@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"question": "Why?"', "is not JSON"),
        ("plain words", "is not JSON"),
        (["a", "list"], "is a list, not an object"),
        ("42", "is a int, not an object"),
        ({"answer": "Yes."}, "has no 'question'; its fields are ['answer']"),
        ({"question": "  ", "answer": "Yes."}, "has no 'question'"),
        ({"question": "Why?"}, "has no 'answer'; its fields are ['question']"),
        ({"question": 7, "answer": "Yes."}, "'question' is a int, not a text"),
        ({"question": "Why?", "answer": ["Yes."]}, "'answer' is a list, not a text"),
        (GOOD | {"reasoning": {"step": 1}}, "'reasoning' is a dict, not a text"),
        (GOOD | {"context": 3.5}, "'context' is a float, not a text"),
        (GOOD | {"options": 5}, "'options' is a int"),
        (GOOD | {"options": "A or B"}, "'options' is a text and not JSON"),
    ],
)
def test_a_bad_line_is_named_by_file_and_number(tmp_path: Path, name: str, line: Any, says: str) -> None:
    message = message_of(write_lines(tmp_path / name, GOOD, GOOD, line))
    assert f"{name} line 3" in message
    assert says in message


@pytest.mark.parametrize("content", ["", "\n\n  \n"])
def test_an_empty_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_text(content)
    assert "empty.jsonl holds no rows that can be used" in message_of(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "none.jsonl") in message_of(tmp_path / "none.jsonl")
    assert str(tmp_path) in message_of(tmp_path)


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin.jsonl"
    path.write_bytes('{"question": "Fièvre ?", "answer": "Oui."}\n'.encode("latin-1"))
    assert "latin.jsonl cannot be read" in message_of(path)


def _not_gzip(content: bytes) -> bytes:
    return content


def _cut_off(content: bytes) -> bytes:
    return gzip.compress(content)[:-12]


def _wrong_checksum(content: bytes) -> bytes:
    packed = bytearray(gzip.compress(content))
    packed[-8] ^= 0xFF
    return bytes(packed)


def _wrong_block(content: bytes) -> bytes:
    packed = bytearray(gzip.compress(content))
    packed[10] |= 0b110  # the first block's type, after a header of ten bytes; 3 is reserved
    return bytes(packed)


@pytest.mark.parametrize("broken", [_not_gzip, _cut_off, _wrong_checksum, _wrong_block])
def test_a_broken_gzip_file_is_refused(tmp_path: Path, broken: Any) -> None:
    path = tmp_path / "broken.jsonl.gz"
    path.write_bytes(broken(b"".join(json.dumps(GOOD | {"id": n}).encode() + b"\n" for n in range(50))))
    assert "broken.jsonl.gz cannot be read" in message_of(path)


def test_parse_choice_reads_every_setting() -> None:
    assert parse_choice("data/a.jsonl") == FileChoice(Path("data/a.jsonl"), None, 1, None)
    assert parse_choice("a.gz,max_chars=900,rows=20,passes=3") == FileChoice(Path("a.gz"), 20, 3, 900)
    assert parse_choice("~/a.jsonl").path == Path.home() / "a.jsonl"


@pytest.mark.parametrize(
    "setting", ["rows=0", "rows=-3", "rows=", "rows", "rows=ten", "rows=1.5", "row=5", "passes=0", "", "rows=²"]
)
def test_parse_choice_refuses_and_repeats_the_setting(setting: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        parse_choice(f"a.jsonl,{setting}")
    assert repr(setting) in caught.value.message


@given(st.integers(1, 10**6), st.integers(1, 9), st.integers(1, 10**6))
def test_parse_choice_keeps_numbers(rows: int, passes: int, max_chars: int) -> None:
    choice = parse_choice(f"a.jsonl,rows={rows},passes={passes},max_chars={max_chars}")
    assert (choice.rows, choice.passes, choice.max_chars) == (rows, passes, max_chars)


@pytest.fixture
def hundred(tmp_path: Path) -> Path:
    """A hundred rows whose answers grow by one character each."""
    rows = [{"id": f"r{n:02}", "question": "Why?", "answer": "x" * (n + 1), "reasoning": "ab"} for n in range(100)]
    return write_lines(tmp_path / "hundred.jsonl", *rows)


def test_choose_rows_draws_the_same_rows_for_the_same_seed(hundred: Path) -> None:
    drawn = choose_rows(FileChoice(hundred, rows=10), seed=4)
    assert choose_rows(FileChoice(hundred, rows=10), seed=4) == drawn
    assert choose_rows(FileChoice(hundred, rows=10), seed=5) != drawn
    ids = [row.id for row in drawn]
    assert len(set(ids)) == 10
    assert ids == sorted(ids)


def test_choose_rows_does_not_depend_on_the_folder(hundred: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / hundred.name
    copy.parent.mkdir()
    copy.write_bytes(hundred.read_bytes())
    assert choose_rows(FileChoice(copy, rows=10), seed=1) == choose_rows(FileChoice(hundred, rows=10), seed=1)


@pytest.mark.parametrize("rows", [None, 100, 5000])
def test_choose_rows_gives_all_where_all_are_asked_for(hundred: Path, rows: int | None) -> None:
    assert choose_rows(FileChoice(hundred, rows=rows), seed=0) == read_rows(hundred)


def test_max_chars_counts_question_reasoning_and_answer(hundred: Path) -> None:
    chosen = choose_rows(FileChoice(hundred, max_chars=4 + 2 + 30), seed=0)
    assert [len(row.answer) for row in chosen] == list(range(1, 31))
    with pytest.raises(DataError, match=r"No row of hundred\.jsonl fits max_chars=6"):
        choose_rows(FileChoice(hundred, max_chars=6), seed=0)


def test_max_chars_comes_before_drawing(hundred: Path) -> None:
    chosen = choose_rows(FileChoice(hundred, rows=30, max_chars=36), seed=0)
    assert [len(row.answer) for row in chosen] == list(range(1, 31))


def test_folds_share_no_row_and_leave_none_out(hundred: Path) -> None:
    folds = [choose_rows(FileChoice(hundred, fold=(k, 3)), seed=0) for k in (1, 2, 3)]
    assert sorted(row.id for fold in folds for row in fold) == sorted(row.id for row in read_rows(hundred))


def test_where_keeps_rows_by_a_field(tmp_path: Path) -> None:
    file = tmp_path / "cases.jsonl"
    lines = [{"question": "q", "answer": str(k), "split": "val" if k % 4 == 0 else "train"} for k in range(8)]
    file.write_text("\n".join(json.dumps(line) for line in lines))
    chosen = choose_rows(parse_choice(f"{file},where=split:val"), seed=0)
    assert [row.answer for row in chosen] == ["0", "4"]
    with pytest.raises(DataError, match="where=split:test"):
        choose_rows(parse_choice(f"{file},where=split:test"), seed=0)


def test_rows_that_repeat_themselves_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "loops.jsonl"
    answers = ["pain in the chest " * 5, "Rest, fluids and time usually help within a week or two."]
    file.write_text("\n".join(json.dumps({"question": "q", "answer": answer}) for answer in answers))
    assert [row.answer for row in choose_rows(FileChoice(file, max_repetition=0.1), seed=0)] == [answers[1]]


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        ("What causes Arts syndrome? Arts syndrome is caused by …", "Arts syndrome is caused by …"),
        ("It is inherited. How? From both parents.", "It is inherited. How? From both parents."),
        ("Do you mean asthma?", "Do you mean asthma?"),
    ],
)
def test_an_echoed_question_is_cut(answer: str, left: str) -> None:
    assert without_echo(answer) == left


@pytest.mark.parametrize("setting", ["fold=0/3", "fold=4/3", "where=split", "max_repetition=2", "drop_echo=1"])
def test_a_setting_that_makes_no_sense_is_refused(setting: str) -> None:
    with pytest.raises(ArgumentError, match="not understood"):
        parse_choice(f"a.jsonl,{setting}")


def test_every_bad_row_is_named_at_once(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", GOOD, {"question": "Why?"}, GOOD, "not json", GOOD | {"answer": 3})
    message = message_of(path)
    assert "3 rows of rows.jsonl" in message
    assert all(f"line {number}" in message for number in (2, 4, 5))


def test_bad_rows_are_skipped_and_counted_where_that_was_asked_for(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", GOOD, {"question": "Why?"}, GOOD)
    said: list[str] = []
    assert len(choose_rows(parse_choice(f"{path},bad=skip"), 0, said.append)) == 2
    assert "1 rows skipped" in said[0]
    assert "line 2" in said[0]


def test_columns_of_other_names_are_mapped(tmp_path: Path) -> None:
    fields = {"Question": "Why?", "Complex_CoT": "Because.", "Response": "So.", "choices": ["Yes", "No"]}
    path = write_lines(tmp_path / "rows.jsonl", fields)
    mapping = "question=Question,reasoning=Complex_CoT,answer=Response,options=choices"
    (row,) = choose_rows(parse_choice(f"{path},{mapping}"), 0)
    assert (row.question, row.reasoning, row.answer) == ("Why?\nA. Yes\nB. No", "Because.", "So.")
    with pytest.raises(DataError, match=r"no column 'Answer' for answer; its columns are \['Complex_CoT'"):
        choose_rows(parse_choice(f"{path},question=Question,answer=Answer"), 0)


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet", "rows.json"])
def test_other_kinds_of_files_are_read(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import pandas

    monkeypatch.setenv("GRAFT_HOME", str(tmp_path / "home"))
    table = pandas.DataFrame([GOOD | {"reasoning": None}, GOOD | {"answer": 'Über, "yes"\nor no.'}])
    path = tmp_path / name
    {
        "csv": lambda: table.to_csv(path, index=False),
        "parquet": lambda: table.to_parquet(path),
        "json": lambda: table.to_json(path, orient="records"),
    }[path.suffix[1:]]()
    rows = choose_rows(FileChoice(path), 0)
    assert [row.answer for row in rows] == [GOOD["answer"], 'Über, "yes"\nor no.']
    assert rows[0].reasoning == ""
    assert rows[1].id == f"{name} row 2"


def test_a_data_set_in_the_hubs_form_is_read_by_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in the layout of a hub repository stands in for one: `datasets` loads both by the same call."""
    monkeypatch.setenv("GRAFT_HOME", str(tmp_path / "home"))
    folder = tmp_path / "medical-qa"
    folder.mkdir()
    for split in ("train", "test"):
        write_lines(folder / f"{split}.jsonl", GOOD | {"answer": split})
    (row,) = choose_rows(parse_choice(f"hub:{folder},split=test"), 0)
    assert row.answer == "test"
    with pytest.raises(DataError, match="cannot be read"):
        choose_rows(parse_choice(f"hub:{folder},split=validation"), 0)


def test_an_unknown_kind_of_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.xlsx"
    path.write_bytes(b"PK")
    with pytest.raises(DataError, match="of no kind known here"):
        choose_rows(FileChoice(path), 0)


def test_words_that_look_like_missing_values_stay_words(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("question,answer\nAny allergy?,None\nHow many?,2\nbroken\n")
    with pytest.raises(DataError, match=r"rows\.csv row 3 has more or fewer fields"):
        choose_rows(FileChoice(path), 0)
    assert [row.answer for row in choose_rows(FileChoice(path, skip_bad=True), 0)] == ["None", "2"]
