"""Rows that bring a reasoning: how both models read it, its tokens, its likelihood, and what the findings say of it."""

from itertools import groupby
from pathlib import Path

import pandas as pd
import pytest

from core.pair.pair import Pair
from core.present.study_figures import figures_of
from core.study.choice import parse_corpus
from core.study.engines import LocalEngine
from core.study.findings import Settings
from core.study.measure_prompt import reference_ids, swept_text
from core.study.preview import preview_study
from core.study.results import findings_of, read_results
from core.study.runner import run_study
from core.study.settings import StudySettings
from tests import oracle
from tests.conftest import TinyFolders
from tests.study.runs import MEDICAL, read_table, row_of, write_rows

THOUGHT = {
    "id": "t1", "question": "What is asthma?", "reasoning": "Okay, the airways in the lungs.\n\nSo it is chronic.",
    "answer": "A chronic disease of the airways.",
}  # fmt: skip
OTHER = {
    "id": "t2", "question": "What may it be?", "reasoning": "The heart, so thinking of a heart attack may help.",
    "answer": "It may be a heart attack, so call the doctor.",
}  # fmt: skip
ROWS = [THOUGHT, OTHER, MEDICAL[0]]


def settings_of(folder: Path, **changes: object) -> StudySettings:
    path = write_rows(folder / "rows.jsonl", ROWS)
    measured = ("reference", "representations")
    return StudySettings((parse_corpus(f"{path},kind=medical"),), measurements=measured, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def study(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("reasoning")
    run_study(LocalEngine(pair), settings_of(root), root / "study")
    return root / "study"


def opens(pair: Pair) -> bool:
    return pair.prompts.chat([{"role": "user", "content": "?"}]).opens_reasoning


def stretches(tokens: pd.DataFrame) -> list[tuple[str, str]]:
    """Consecutive parts with the text of each."""
    rows = zip(tokens.part, tokens.text, strict=True)
    return [(part, "".join(text for _, text in run)) for part, run in groupby(rows, key=lambda row: row[0])]


def test_reasoning_and_answer_are_told_apart_in_the_form_of_the_pair(pair: Pair, study: Path) -> None:
    tokens = read_table(study, "tokens").query("document == 't1'")
    found = stretches(tokens)
    if opens(pair):
        assert [part for part, _ in found] == ["reasoning", "format", "answer"]
        assert found[-2][1].strip() == "</think>"
    else:
        assert [part for part, _ in found] == ["format", "reasoning", "format", "answer"]
        assert [text.strip() for part, text in found if part == "format"] == ["## Thinking", "## Final Response"]
    assert {part: text.strip() for part, text in found if part != "format"} == {
        "reasoning": THOUGHT["reasoning"], "answer": THOUGHT["answer"],
    }  # fmt: skip
    answers = read_table(study, "answers").set_index("document").loc["t1"]
    assert (answers.reasoning_text, answers.answer_text) == (THOUGHT["reasoning"], THOUGHT["answer"])
    assert answers.reasoning_finished
    assert (answers.reasoning_tokens, answers.answer_tokens) == tuple(
        (tokens.part == part).sum() for part in ("reasoning", "answer")
    )
    prompts = read_table(study, "prompts").set_index("document")
    assert (prompts.loc["t1", "reasoning"], prompts.loc["t1", "reference"]) == (THOUGHT["reasoning"], THOUGHT["answer"])


def test_the_likelihoods_are_those_of_plain_models_and_add_up(pair: Pair, study: Path, folders: TinyFolders) -> None:
    row = read_table(study, "answers").set_index("document").loc["t1"]
    prompt = pair.prompts.chat([{"role": "user", "content": str(THOUGHT["question"])}])
    ids = reference_ids(pair, prompt, row_of(THOUGHT))
    parts = pair.prompts.answer_parts(ids, prompt).parts
    models = {"base": oracle.plain_base(folders.base), "tuned": oracle.plain_tuned(folders.base, folders.tuned)}
    for name, model in models.items():
        logits = oracle.logits(model, (*prompt.ids, *ids))[len(prompt.ids) - 1 : -1].double().log_softmax(-1)
        by_part = {
            part: -sum(float(logits[k, ids[k]]) for k, own in enumerate(parts) if own == part)
            for part in ("reasoning", "answer")
        }
        for part, nats in by_part.items():
            assert row[f"nll_{name}_{part}_sum"] == pytest.approx(nats, abs=1e-3)
        whole = row[f"nll_{name}_reasoning_sum"] + row[f"nll_{name}_answer_sum"]
        assert whole == pytest.approx(row[f"nll_{name}_sum"], rel=1e-12)


def test_a_row_without_a_reasoning_has_no_likelihood_of_one(pair: Pair, study: Path) -> None:
    row = read_table(study, "answers").set_index("document").loc["m1"]
    assert row[["nll_base_reasoning_sum", "nll_tuned_reasoning_sum"]].isna().all()
    assert row["nll_base_answer_sum"] == row["nll_base_sum"]
    before = "\n</think>\n\n" if opens(pair) else ""
    assert row["text"] == before + str(MEDICAL[0]["answer"])
    assert (row["reasoning_tokens"], row["reasoning_share"]) == (0, 0.0)
    assert pd.isna(read_table(study, "prompts").set_index("document").loc["m1", "reasoning"])


def test_the_findings_read_it_on_reference_texts(study: Path) -> None:
    results = read_results(study)
    claims = {one.number: one for one in findings_of(results, Settings(n_permutations=99, n_resamples=99))}
    assert claims["2n"].claim.endswith("more reasoning, in medical reference answers")
    assert "; in the 2 with a reasoning from " in claims["1a"].words
    assert " on the reasoning and from " in claims["1a"].words
    figures = figures_of(results, tuple(claims.values()))
    assert [row["label"] for row in figures["loss"].rows] == [
        "medical text", "medical text, reasoning", "medical text, final answer",
    ]  # fmt: skip
    assert {row["series"] for row in figures["reasoning"].rows if "reference" in row["label"]} >= {
        "reasoning", "answer",
    }  # fmt: skip


def test_the_text_for_layers_is_cut_from_its_first_token(pair: Pair, tmp_path: Path) -> None:
    prompt = pair.prompts.chat([{"role": "user", "content": str(THOUGHT["question"])}])
    text = reference_ids(pair, prompt, row_of(THOUGHT))
    parts = pair.prompts.answer_parts(text, prompt).parts
    n = parts.index("answer") + 2
    for cut in (n, parts.index("answer")):
        ids, predicted = swept_text(pair, prompt, text, settings_of(tmp_path, sweep_tokens=cut))
        assert ids == (*prompt.ids, *text[:cut])
        counted = [parts[pos - len(prompt.ids)] for pos in predicted]
        assert counted == [part for part in parts[:cut] if part != "format"]
    assert set(counted) == {"reasoning"}


def test_a_preview_shows_the_reasoning_as_the_models_read_it(pair: Pair, tmp_path: Path) -> None:
    (corpus,) = preview_study(pair, settings_of(tmp_path), timed=False).corpora
    thought, _, plain = corpus.shown
    assert thought.reference is not None
    assert ("</think>" if opens(pair) else "## Final Response") in thought.reference
    assert plain.reference == MEDICAL[0]["answer"]
    assert corpus.reference_tokens == sum(row.n_reference for row in corpus.shown)
