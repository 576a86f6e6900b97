"""A study read back: tables that the findings take, rows that no test can use, studies of another form."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.errors import StudyError
from core.measure.word_frequency import RAREST, log_frequency
from core.pair.pair import Pair
from core.study.engines import LocalEngine
from core.study.findings import Floors, Settings, findings
from core.study.results import findings_of, read_results
from core.study.runner import run_study
from core.study.store import open_store
from tests.study.runs import small_settings
from tests.study.simulated import FLOORS, tables_of

QUICK = Settings(n_permutations=200, n_resamples=200)


@pytest.fixture(scope="module")
def folder(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    assert run_study(LocalEngine(pair), small_settings(root), root / "study").state == "finished"
    return root / "study"


def changed(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def test_every_question_finds_its_tables(folder: Path) -> None:
    results = read_results(folder)
    assert results.finished
    assert {one.number for one in findings_of(results, QUICK)} >= {"1a", "1b", "1c", "2a", "2e", "3a", "3b", "3c", "4a"}


def test_floors_are_those_of_base_against_itself(folder: Path) -> None:
    floors = read_results(folder).floors
    assert 0 < floors.kl < 1e-6
    assert 0 < floors.logp < 1e-3
    assert 0 < floors.drift_norm < 1e-3
    assert 0 < floors.drift_cosine < 1e-6


def test_words_carry_how_common_they_are(folder: Path) -> None:
    words = read_results(folder).tables["words"].set_index("text")
    of = words["frequency"].groupby(level=0).first()
    assert of["the"] > of["chronic"] > RAREST


@pytest.mark.parametrize("word", ["the", "Heart", "sarcoidosis"])
def test_frequency_is_the_natural_logarithm_of_a_share(word: str) -> None:
    from wordfreq import word_frequency

    assert math.exp(log_frequency(word)) == pytest.approx(word_frequency(word, "en"), rel=0.02)


def test_a_word_in_no_list_is_one_in_a_billion() -> None:
    assert log_frequency("xqzzyv") == RAREST == pytest.approx(math.log(1e-9))


def test_a_text_without_words_is_left_out_and_said(folder: Path, tmp_path: Path) -> None:
    there = changed(folder, tmp_path / "study")
    path = there / "tables" / "answers.parquet"
    answers = pd.read_parquet(path)
    document = answers.loc[answers["whose"] == "reference", "document"].iloc[0]
    empty = (answers["document"] == document) & (answers["whose"] == "reference")
    answers.loc[empty, ["tokens", "connectives"]] = [0, np.nan]
    answers.to_parquet(path)
    results = read_results(there)
    assert len(results.tables["answers"]) == len(answers) - 1
    assert any(document in sentence for sentence in results.dropped)
    findings_of(results, QUICK)


def test_adapters_are_compared_on_the_documents_that_all_of_them_saw() -> None:
    tables = tables_of(shift=0.3)
    layers = tables["layers"]
    few = sorted(layers["document"].unique())[:12]
    partial = layers[(layers["adapter"] == 0) | layers["document"].isin(few)]
    only = layers[layers["document"].isin(few)]
    whole, cut = (
        {one.number: one for one in findings({**tables, "layers": found}, Floors(**vars(FLOORS)), QUICK)}["3a"]
        for found in (only, partial)
    )
    assert cut == whole
    assert cut.n == 12


def test_another_form_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    there = changed(folder, tmp_path / "study")
    record = json.loads((there / "study.json").read_text())
    (there / "study.json").write_text(json.dumps({**record, "schema_version": 1}))
    with pytest.raises(StudyError, match=r"another version.*form 1"):
        read_results(there)


def test_the_form_before_is_reported_and_does_not_go_on(folder: Path, tmp_path: Path) -> None:
    there = changed(folder, tmp_path / "study")
    record = json.loads((there / "study.json").read_text())
    (there / "study.json").write_text(json.dumps({**record, "schema_version": 2}))
    for name in ("tokens", "attribution"):
        (there / "tables" / f"{name}.parquet").unlink()
    assert findings_of(read_results(there))
    with pytest.raises(StudyError, match=r"form 2, and this version goes on with form 7") as caught:
        open_store(there)
    assert "Report it as it is" in caught.value.remedy


def test_a_study_without_tables_says_so(folder: Path, tmp_path: Path) -> None:
    there = changed(folder, tmp_path / "study")
    shutil.rmtree(there / "tables")
    with pytest.raises(StudyError, match="no tables yet"):
        read_results(there)


def test_a_damaged_table_says_so(folder: Path, tmp_path: Path) -> None:
    there = changed(folder, tmp_path / "study")
    (there / "tables" / "words.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(StudyError, match="cannot be read"):
        read_results(there)
