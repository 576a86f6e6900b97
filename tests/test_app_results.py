"""What stands under a finished run, without a browser: where answers part, options, cross-scores, counts."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.generate.record import LaneAnswer
from core.generate.worker import Worker
from core.measure.answer_text import answer_figures
from core.pair.pair import Pair
from core.pair.prompts import Message
from core.present.forks import Fork
from core.present.hybrids import Hybrid
from core.present.live import LiveRun, start
from core.present.runs import LaneRun, RunReport, RunSettings
from pages._shared.frame import escaped
from tests.conftest import TinyFolders
from tests.test_app import click, finished, open_app, settled, texts

__all__ = ["open_app"]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:streamlit.*")
QUESTION = "Which organ does asthma affect?\nA. The lung\nB. The heart\nC. The skin"


@pytest.fixture
def asked(open_app: Callable[..., AppTest], folders: TinyFolders) -> AppTest:
    app = open_app("--base", str(folders.base), "--tuned", str(folders.tuned))
    app.number_input(key="max_new_tokens").set_value(12)
    finished(app, "What is asthma?")
    return app


def tables(app: AppTest) -> list[Any]:
    return [table.value for table in app.table]


def reopened(app: AppTest, report: RunReport) -> AppTest:
    """The page showing a run that did not come from this session's worker."""
    app.session_state["history"] = [report]
    app.run()
    show = next(box for box in app.selectbox if box.label == "Show")
    show.set_value(next(name for name in show.options if name.startswith("1 "))).run()
    assert not app.exception
    return app


def test_where_they_part_is_shown_for_every_other_lane(asked: AppTest) -> None:
    report = asked.session_state["run"].report()
    base, tuned = (next(lane for lane in report.lanes if lane.answer.name == n) for n in ("base", "tuned"))
    at = next(k for k, (a, b) in enumerate(zip(base.answer.ids, tuned.answer.ids, strict=True)) if a != b)
    assert asked.segmented_control(key="word_diff_with").value == "tuned"
    start = f"the same {at} tokens" if at > 1 else "the same token" if at else "From the first token on"
    assert start in texts(asked.markdown)
    assert "put" in texts(asked.markdown)
    shown = next(table for table in tables(asked) if "written by" in table)
    assert {escaped("Base"), escaped("Fine-tuned")} <= set(shown["written by"])
    asked.segmented_control(key="word_diff_with").set_value("hybrid").run()
    assert not asked.exception
    assert "Base and Hybrid" in texts(asked.markdown) or "Hybrid writes" in texts(asked.markdown)


def test_answers_are_scored_under_each_model_when_asked(asked: AppTest) -> None:
    assert "tasks" not in asked.session_state
    click(asked, "Score")
    settled(asked)
    scores = asked.session_state["tasks"]["cross"].task.result
    assert [row.answer for row in scores.answers] == ["base", "hybrid", "tuned"]
    assert [score.model for score in scores.answers[0].models] == ["base", "hybrid", "tuned"]
    said = texts(asked.markdown)
    assert "likelie" in said
    assert "Compare along a row first" in texts(asked.caption)
    assert "Score" not in [button.label for button in asked.button]
    finished(asked, "What is a troponin?")  # other answers: to be asked for again
    assert "Score" in [button.label for button in asked.button]


@pytest.fixture
def worker(pair: Pair) -> Iterator[Worker]:
    made = Worker(pair)
    yield made
    made.shutdown()
    st.cache_resource.clear()


def ended(worker: Worker, *hybrids: Hybrid) -> LiveRun:
    settings = RunSettings(hybrids=hybrids or (Hybrid(layers="1"),), max_new_tokens=12)
    run = start(worker, (Message(role="user", content=QUESTION),), settings, "")
    assert all(request.wait(60) for request in run.requests)
    return run


def result_of(run: LiveRun) -> AppTest:
    """What stands under a live run, on a page of its own."""

    def script() -> None:
        import streamlit

        from pages._shared.results import draw_result

        draw_result(streamlit.session_state["run"].report(), False)

    app = AppTest.from_function(script, default_timeout=60)
    app.session_state["run"], app.session_state["worker"] = run, run.worker
    return settled(app.run())


def test_forks_are_answers_without_a_column_of_their_own(worker: Worker) -> None:
    run = ended(worker)
    base = run.records["base"]
    other = next(i for i in range(10, 40) if i not in (base.ids[3], *worker.pair.prompts.end_ids))
    run.fork(Fork("base", 3, (other,), "tuned"), "")
    assert all(request.wait(60) for request in run.requests)
    app = result_of(run)
    app.segmented_control(key="word_diff_with").set_value("fork-1").run()
    assert "Fork 1 was given" in texts(app.markdown)
    click(app, "Score")
    settled(app)
    scores = app.session_state["tasks"]["cross"].task.result
    assert [row.answer for row in scores.answers] == ["base", "hybrid", "tuned", "fork-1"]
    assert [score.model for score in scores.answers[3].models] == ["base", "hybrid", "tuned"]
    assert "A fork's answer begins with another's words" in texts(app.caption)


def test_what_is_patched_or_amplified_has_no_column(worker: Worker) -> None:
    app = result_of(ended(worker, Hybrid(layers="1"), Hybrid("Beyond", "all", alpha=1.0)))
    click(app, "Score")
    settled(app)
    scores = app.session_state["tasks"]["cross"].task.result
    assert [row.answer for row in scores.answers] == ["base", "hybrid", "hybrid-2", "tuned"]
    assert {score.model for row in scores.answers for score in row.models} == {"base", "hybrid", "tuned"}
    assert "Beyond: no single model" in texts(app.caption)
    shown = next(table for table in tables(app) if "chooses" in table)
    assert list(shown["model"]) == ["Base", "Hybrid", "Beyond", "Fine\\-tuned"]


def test_the_letters_of_a_question_with_options(asked: AppTest) -> None:
    assert "**Options**" not in texts(asked.markdown)
    finished(asked, QUESTION)
    settled(asked)
    letters = asked.session_state["tasks"]["options"].task.result
    shown = next(table for table in tables(asked) if "chooses" in table)
    assert list(shown["chooses"]) == [choice.chosen for choice in letters]
    assert list(shown["model"]) == [escaped(name) for name in ("Base", "Hybrid", "Fine-tuned")]
    # tiny random models put next to nothing on letters, and the page says so
    assert all(choice.mass < 0.5 for choice in letters)
    assert texts(asked.warning).count("would rather not answer with a letter") == 3
    assert escaped("A: The lung · B: The heart · C: The skin") in texts(asked.caption)


def test_a_run_of_other_models_says_how_to_get_there(asked: AppTest) -> None:
    finished(asked, QUESTION)
    report = asked.session_state["run"].report()
    app = reopened(asked, replace(report, provenance=replace(report.provenance, tuned_sha256="0" * 64)))
    assert texts(app.caption).count("Run the question again to") == 2
    assert "Score" not in [button.label for button in app.button]
    assert "Where they part" in texts(app.markdown)


def test_a_run_of_these_models_needs_no_second_asking(asked: AppTest) -> None:
    """As one uploaded in another session."""
    report = asked.session_state["run"].report()
    del asked.session_state["run"]
    app = reopened(asked, report)
    assert "Run the question again to" not in texts(app.caption)
    assert "An earlier or uploaded run: “What is asthma?”" in texts(app.caption)
    click(app, "Score")
    settled(app)
    assert [row.answer for row in app.session_state["tasks"]["cross"].task.result.answers] == [
        "base",
        "hybrid",
        "tuned",
    ]


def test_counts_of_every_answer_without_a_worker(asked: AppTest) -> None:
    """The table of a reopened run is counted from what the run kept; the pair's own count is the same."""
    run = asked.session_state["run"]
    report = run.report()
    app = reopened(asked, replace(report, provenance=replace(report.provenance, base_sha256="0" * 64)))
    shown = next(frame.value for frame in app.dataframe if "medical terms" in frame.value)
    for index, lane in enumerate(report.lanes):
        counts = answer_figures(run.worker.pair.prompts, run.prompt, lane.answer.ids)
        row = shown.iloc[index]
        assert (row["of answer"], row["words"], row["medical terms"]) == (
            str(counts.answer_tokens), str(counts.words), str(counts.medical_terms),
        )  # fmt: skip
        opened = f"{counts.reasoning_tokens}, not finished" if counts.reasoning_finished is False else "–"
        assert row["of reasoning"] == opened or counts.reasoning_finished


def with_reasoning(lane: LaneRun, finished_at: int | None) -> LaneRun:
    """The lane as if its first tokens had been reasoning; all of them where it was never finished."""
    stop = len(lane.tokens) if finished_at is None else finished_at
    parts = tuple("reasoning" if k < stop else "answer" for k in range(len(lane.tokens)))
    tokens = tuple(replace(t, part=part) for t, part in zip(lane.tokens, parts, strict=True))  # type: ignore[arg-type]
    answer: LaneAnswer = replace(lane.answer, parts=parts, reasoning_finished=finished_at is not None)  # type: ignore[arg-type]
    return LaneRun(answer, tokens)


def test_an_unclosed_reasoning_is_never_shown_as_the_answer(asked: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, Any] = {}
    monkeypatch.setattr("pages._shared.parted_panel.word_sides", lambda sides, key: drawn.update({key: sides}))
    report = asked.session_state["run"].report()
    base, hybrid, tuned = report.lanes
    lanes = (with_reasoning(base, 4), hybrid, with_reasoning(tuned, None))
    reopened(asked, replace(report, lanes=lanes))
    (_, base_title, base_text, _), (_, title, thought, note) = drawn["word-diff-Reasoning"]
    assert (base_title, title) == ("Base · reasoning", "Fine-tuned · reasoning, not finished")
    assert not note
    whole = b"".join(bytes.fromhex(token.bytes) for token in tuned.tokens if token.part != "end")
    assert "".join(s.text for s in thought) == whole.decode(errors="replace").strip()
    _, (_, _, answer, why) = drawn["word-diff-Final answer"]
    assert not answer
    assert why == "No final answer: the reasoning was not finished."
    assert base_text
    counts = next(frame.value for frame in asked.dataframe if "of reasoning" in frame.value)
    assert counts.iloc[0]["of reasoning"] == "4"
    assert counts.iloc[2]["of reasoning"].endswith(", not finished")
