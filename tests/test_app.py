"""The pages without a browser: what they say when something is missing or wrong."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.generate.record import LaneRecord
from core.generate.requests import Request
from core.present.runs import RunReport
from core.present.words import in_plain_words
from pages._shared.frame import escaped
from pages._shared.resources import Session
from tests.conftest import TinyFolders

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:streamlit.*")


@pytest.fixture
def open_app(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., AppTest]]:
    """Runs the home page as `streamlit run app.py -- ARGUMENTS` would."""

    def run(*arguments: str) -> AppTest:
        monkeypatch.setattr(sys, "argv", ["app.py", *arguments])
        return AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()

    yield run
    st.cache_resource.clear()


@pytest.fixture
def tiny_app(open_app: Callable[..., AppTest], folders: TinyFolders) -> AppTest:
    return open_app("--base", str(folders.base), "--tuned", str(folders.tuned))


def texts(elements: object) -> str:
    return " ".join(element.value for element in elements)  # type: ignore[attr-defined]


def press_run(app: AppTest) -> None:
    next(button for button in app.button if button.label == "Run").click().run()


def test_the_first_screen(tiny_app: AppTest) -> None:
    assert not tiny_app.exception
    assert "adapter active: 28 of 28 modules" in texts(tiny_app.caption)
    assert "not medical advice" in texts(tiny_app.caption)


def test_a_question_is_answered(tiny_app: AppTest) -> None:
    tiny_app.text_area(key="question").set_value("What is asthma?")
    press_run(tiny_app)
    run = tiny_app.session_state["run"]
    assert run.request.wait(60)
    tiny_app.run()
    assert not tiny_app.exception
    assert "In plain words" in texts(tiny_app.markdown)
    assert run.report().lanes[0].answer.text


def test_what_answers_show_is_told_before_their_noise_is_known(
    tiny_app: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, measured = threading.Event(), LaneRecord.measure_again

    def held(record: LaneRecord, *arguments: Any) -> Iterator[None]:
        while not known.wait(0.01):
            yield
        yield from measured(record, *arguments)

    monkeypatch.setattr(LaneRecord, "measure_again", held)
    tiny_app.text_area(key="question").set_value("What is asthma?")
    press_run(tiny_app)
    run = tiny_app.session_state["run"]
    deadline = time.monotonic() + 60
    while not run.written and time.monotonic() < deadline:
        time.sleep(0.02)
    tiny_app.run()
    early = texts(tiny_app.markdown)
    assert run.running
    assert "measuring how far rounding" in texts(tiny_app.caption)
    assert "In plain words" in early
    assert [one.label for one in tiny_app.expander if one.label == "Numbers"] == []
    known.set()
    assert run.request.wait(60)
    tiny_app.run()
    assert not tiny_app.exception
    told = in_plain_words(*(run.report().lanes[k].answer for k in (0, -1)), run.report().lanes[-1].tokens)
    assert told in early
    assert told in texts(tiny_app.markdown)
    assert [one.label for one in tiny_app.expander if one.label == "Numbers"] == ["Numbers"]


def test_changing_only_the_layers_keeps_base_and_tuned(tiny_app: AppTest) -> None:
    tiny_app.text_area(key="question").set_value("What is asthma?")
    press_run(tiny_app)
    first = tiny_app.session_state["run"]
    first.request.wait(60)
    tiny_app.text_input(key="layers").set_value("0-1").run()
    press_run(tiny_app)
    second = tiny_app.session_state["run"]
    second.request.wait(60)
    assert second.records["base"] is first.records["base"]
    assert second.records["tuned"] is first.records["tuned"]
    assert [record.lane.name for record in second.request.records] == ["hybrid"]
    assert second.records["hybrid"].ids != first.records["hybrid"].ids


def test_an_empty_question_says_so(tiny_app: AppTest) -> None:
    press_run(tiny_app)
    assert "question is empty" in texts(tiny_app.error)


def test_a_question_beyond_the_context_says_both_lengths(tiny_app: AppTest) -> None:
    tiny_app.text_area(key="question").set_value("pain " * 2000)
    press_run(tiny_app)
    assert "512" in texts(tiny_app.error)


def test_bad_layers_say_which(tiny_app: AppTest) -> None:
    tiny_app.text_input(key="layers").set_value("3,99").run()
    assert "Layer 99 does not exist" in texts(tiny_app.error)


def test_a_preset_writes_its_layers(tiny_app: AppTest) -> None:
    tiny_app.segmented_control(key="preset").set_value("all").run()
    assert tiny_app.text_input(key="layers").value == "all"


def test_an_unfetched_pair_offers_to_fetch(
    open_app: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GRAFT_HOME", str(tmp_path))
    app = open_app()
    assert [button.label for button in app.button] == ["Fetch"]
    assert "not on this machine yet" in texts(app.info)
    assert "A recorded example" in texts(app.caption)
    assert "not medical advice" in texts(app.caption)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--pair", "nothing"), "no pair named"),
        (("--base", "/nowhere"), "go together"),
        (("--colour", "red"), "not understood"),
    ],
)
def test_bad_server_arguments_are_told(
    open_app: Callable[..., AppTest], arguments: tuple[str, ...], words: str
) -> None:
    app = open_app(*arguments)
    assert words in texts(app.error)
    assert "not medical advice" in texts(app.caption)


def test_the_about_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["app.py"])
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).switch_page("pages/about.py").run()
    assert not app.exception
    assert "What it does not show" in texts(app.subheader)


def finished(app: AppTest, question: str) -> None:
    app.text_area(key="question").set_value(question)
    press_run(app)
    assert app.session_state["run"].request.wait(60)
    app.run()
    assert not app.exception


def test_the_simple_view_hides_the_mixer_and_keeps_its_settings(tiny_app: AppTest) -> None:
    tiny_app.text_input(key="layers").set_value("1-2").run()
    tiny_app.toggle(key="simple").set_value(True).run()
    assert not tiny_app.exception
    assert [field.key for field in tiny_app.text_input] == []
    tiny_app.toggle(key="simple").set_value(False).run()
    assert tiny_app.text_input(key="layers").value == "1-2"


def test_options_reach_the_run(tiny_app: AppTest) -> None:
    tiny_app.text_area(key="system").set_value("Be brief.")
    tiny_app.number_input(key="max_new_tokens").set_value(7)
    tiny_app.slider(key="temperature").set_value(0.8)
    finished(tiny_app, "What is asthma?")
    run = tiny_app.session_state["run"]
    assert (run.settings.system, run.settings.max_new_tokens, run.settings.temperature) == ("Be brief.", 7, 0.8)
    assert max(len(record.ids) for record in run.records.values()) <= 7
    assert "--system 'Be brief.'" in run.report().command


def with_tuned_reasoning(app: AppTest, closed: bool) -> RunReport:
    """The finished run as if the fine-tuned model's reasoning had been closed, or not."""
    run = app.session_state["run"]
    *others, tuned = run.report().lanes
    lane = replace(tuned, answer=replace(tuned.answer, reasoning_finished=closed))
    run._finished = replace(run.report(), lanes=(*others, lane))
    found: RunReport = run.report()
    return found


def test_a_follow_up_shows_the_conversation_to_all_models(tiny_app: AppTest) -> None:
    tiny_app.number_input(key="max_new_tokens").set_value(5)
    finished(tiny_app, "What is asthma?")
    first = with_tuned_reasoning(tiny_app, True)
    tiny_app.selectbox(key="follow_up").set_value("tuned")
    finished(tiny_app, "And how is it treated?")
    messages = tiny_app.session_state["run"].messages
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[1]["content"] == first.lanes[2].answer.text
    assert first.command is not None
    assert tiny_app.session_state["run"].report().command is None
    assert "the downloaded run names none" in texts(tiny_app.caption)


def test_a_reasoning_that_was_not_finished_is_not_followed_up(tiny_app: AppTest) -> None:
    tiny_app.number_input(key="max_new_tokens").set_value(5)
    finished(tiny_app, "What is asthma?")
    run = tiny_app.session_state["run"]
    with_tuned_reasoning(tiny_app, False)
    tiny_app.selectbox(key="follow_up").set_value("tuned")
    tiny_app.text_area(key="question").set_value("And how is it treated?")
    press_run(tiny_app)
    assert escaped("There is nothing to follow up in what Fine-tuned wrote.") in texts(tiny_app.error)
    assert tiny_app.session_state["run"] is run


def test_earlier_runs_can_be_reopened(tiny_app: AppTest) -> None:
    tiny_app.number_input(key="max_new_tokens").set_value(5)
    finished(tiny_app, "What is asthma?")
    finished(tiny_app, "What is a troponin?")
    tiny_app.run()
    show = next(box for box in tiny_app.selectbox if box.label == "Show")
    show.set_value(next(name for name in show.options if "asthma" in name)).run()
    assert not tiny_app.exception
    assert len(tiny_app.session_state["history"]) == 2


def test_a_link_brings_settings_and_question(
    monkeypatch: pytest.MonkeyPatch, folders: TinyFolders, open_app: Callable[..., AppTest]
) -> None:
    monkeypatch.setattr(sys, "argv", ["app.py", "--base", str(folders.base), "--tuned", str(folders.tuned)])
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    app.query_params["hybrids"] = "Mine: 0-1 / 0.5"
    app.query_params["question"] = "What is asthma?"
    app.run()
    assert app.text_input(key="layers").value == "0-1"
    assert app.slider(key="strength").value == 0.5
    assert app.text_area(key="question").value == "What is asthma?"


def test_a_broken_link_is_told(
    monkeypatch: pytest.MonkeyPatch, folders: TinyFolders, open_app: Callable[..., AppTest]
) -> None:
    monkeypatch.setattr(sys, "argv", ["app.py", "--base", str(folders.base), "--tuned", str(folders.tuned)])
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    app.query_params["seed"] = "many"
    app.run()
    assert "seed" in texts(app.error)


def click(app: AppTest, label: str) -> None:
    next(button for button in app.button if button.label == label).click().run()


def test_up_to_three_hybrids_stand_beside_each_other(tiny_app: AppTest) -> None:
    tiny_app.number_input(key="max_new_tokens").set_value(5).run()
    tiny_app.text_input(key="layers").set_value("0").run()
    click(tiny_app, "Add a hybrid")
    tiny_app.text_input(key="layers").set_value("1-2").run()
    tiny_app.text_input(key="hybrid_name").set_value("Middle").run()
    click(tiny_app, "Add a hybrid")
    assert "Add a hybrid" not in [button.label for button in tiny_app.button]
    finished(tiny_app, "What is asthma?")
    run = tiny_app.session_state["run"]
    assert [(hybrid.name, hybrid.layers) for hybrid in run.settings.hybrids[:2]] == [("Hybrid", "0"), ("Middle", "1-2")]
    assert list(run.records) == ["base", "hybrid", "hybrid-2", "hybrid-3", "tuned"]
    tiny_app.segmented_control(key="hybrid_at").set_value(1).run()
    assert tiny_app.text_input(key="layers").value == "1-2"
    click(tiny_app, "Remove")
    assert [hybrid.name for hybrid in tiny_app.session_state["hybrids"]] == ["Hybrid", "Hybrid 2"]


def test_two_hybrids_cannot_share_a_name(tiny_app: AppTest) -> None:
    click(tiny_app, "Add a hybrid")
    tiny_app.text_input(key="hybrid_name").set_value("Hybrid").run()
    assert "Another hybrid is called" in texts(tiny_app.error)
    assert [hybrid.name for hybrid in tiny_app.session_state["hybrids"]] == ["Hybrid", "Hybrid 2"]


def test_a_set_is_saved_and_brought_back(tiny_app: AppTest) -> None:
    tiny_app.text_input(key="layers").set_value("1-2").run()
    click(tiny_app, "Save")
    tiny_app.text_input(key="layers").set_value("none").run()
    tiny_app.selectbox(key="bring_back").set_value("Hybrid").run()
    assert tiny_app.text_input(key="layers").value == "1-2"


def test_sets_without_names_do_not_replace_each_other(tiny_app: AppTest) -> None:
    for layers in ("1-2", "0"):
        tiny_app.text_input(key="layers").set_value(layers).run()
        click(tiny_app, "Save")
    assert {name: saved.layers for name, saved in tiny_app.session_state["saved_hybrids"].items()} == {
        "Hybrid": "1-2",
        "Hybrid 2": "0",
    }


def test_emptied_layers_mean_none(tiny_app: AppTest) -> None:
    tiny_app.number_input(key="max_new_tokens").set_value(3)
    tiny_app.text_input(key="layers").set_value("").run()
    finished(tiny_app, "What is asthma?")
    assert [hybrid.layers for hybrid in tiny_app.session_state["run"].settings.hybrids] == ["none"]


def test_sets_are_taken_from_text(tiny_app: AppTest) -> None:
    tiny_app.text_area(key="sets_text").set_value("Mine: 0 / mlp\nbroken / 9 / 9")
    click(tiny_app, "Take")
    assert "broken" in texts(tiny_app.error)
    assert tiny_app.session_state["saved_hybrids"] == {}
    tiny_app.text_area(key="sets_text").set_value("Mine: 0 / mlp")
    click(tiny_app, "Take")
    tiny_app.selectbox(key="bring_back").set_value("Mine").run()
    assert (tiny_app.text_input(key="layers").value, tiny_app.selectbox(key="part").value) == ("0", "mlp")


def test_a_reference_answer_is_scored(tiny_app: AppTest) -> None:
    tiny_app.text_area(key="reference").set_value("A disease of the airways.")
    finished(tiny_app, "What is asthma?")
    assert tiny_app.session_state["run"].scoring.wait(60)
    tiny_app.run()
    assert not tiny_app.exception
    assert "Reference answer" in texts(tiny_app.markdown)


def test_words_are_compared_on_demand(tiny_app: AppTest) -> None:
    finished(tiny_app, "What is asthma?")
    tiny_app.segmented_control(key="word_diff_with").set_value("tuned").run()
    assert not tiny_app.exception
    assert "words stand in both" in texts(tiny_app.caption)


@pytest.fixture
def divergence(tiny_app: AppTest) -> AppTest:
    tiny_app.number_input(key="max_new_tokens").set_value(12)
    finished(tiny_app, "What is asthma?")
    return settled(tiny_app.switch_page("pages/divergence.py").run())


def settled(app: AppTest) -> AppTest:
    """Runs the page until nothing it asked for is on its way."""
    for _ in range(20):
        assert not app.exception
        asked = app.session_state["tasks"].values() if "tasks" in app.session_state else []
        if all(one.task.wait(30) for one in asked) and not any(one.task.status == "waiting" for one in asked):
            before = len(asked)
            app.run()
            if len(app.session_state["tasks"]) == before:
                return app
    raise AssertionError("the page does not settle")


def test_the_divergence_page_shows_the_runs_texts(divergence: AppTest) -> None:
    assert [divergence.selectbox(key="text_first").options[k] for k in (0, -1)] == [
        "The answer of Fine-tuned",
        "A pasted answer",
    ]
    assert "both models would have written the same next token" in texts(divergence.markdown)


def test_a_token_is_asked_why(divergence: AppTest) -> None:
    prompt_ids = divergence.session_state["run"].prompt.ids
    divergence.session_state["asked_token"] = (0, len(prompt_ids) + 2)
    settled(divergence.run())
    assert "Why “" in texts(divergence.markdown)
    assert "Which layers, exactly" in texts(divergence.markdown)
    effects = divergence.session_state["tasks"]["effects"].task.result
    assert len(effects.alone.results) == divergence.session_state["run"].worker.pair.n_layers


def test_a_pasted_answer_is_scored(divergence: AppTest) -> None:
    divergence.selectbox(key="text_first").set_value("A pasted answer").run()
    assert "Give a question and an answer" in texts(divergence.info)
    divergence.text_input(key="pasted_question").set_value("What is asthma?")
    divergence.text_area(key="pasted_answer").set_value("A disease of the airways.").run()
    settled(divergence)
    assert "The pasted answer" in texts(divergence.markdown)
    divergence.text_area(key="pasted_answer").set_value("pain " * 3000).run()
    settled(divergence)
    assert "the context holds" in texts(divergence.error)


def test_two_texts_stand_beside_each_other(divergence: AppTest) -> None:
    divergence.selectbox(key="text_beside").set_value("The answer of Base").run()
    settled(divergence)
    assert {"diff 0", "diff 1"} <= set(divergence.session_state["tasks"])
    for name in ("kl_base_tuned", "delta_logp", "entropy_base"):
        divergence.selectbox(key="metric").set_value(name).run()
        assert not divergence.exception
    for granularity in ("word", "sentence"):
        divergence.segmented_control(key="granularity").set_value(granularity).run()
        assert not divergence.exception


@pytest.fixture
def layers(tiny_app: AppTest) -> AppTest:
    tiny_app.number_input(key="max_new_tokens").set_value(12)
    finished(tiny_app, "What is asthma?")
    return settled(tiny_app.switch_page("pages/layers.py").run())


def test_the_mixer_recovers_nothing_with_no_layer_and_all_with_all(layers: AppTest) -> None:
    for preset, recovery in (("none", 0.0), ("all", 1.0)):
        layers.segmented_control(key="preset").set_value(preset).run()
        settled(layers)
        shown = next(metric for metric in layers.metric if metric.label == "recovery")
        assert float(shown.value) == pytest.approx(recovery, abs=1e-3)
    assert layers.session_state["hybrids"][0].layers == "all"  # the same hybrids as on the Ask page


def test_bad_layers_in_the_mixer_say_which(layers: AppTest) -> None:
    layers.text_input(key="layers").set_value("2,99").run()
    assert "Layer 99 does not exist" in texts(layers.error)


def test_every_question_about_layers_is_answered(layers: AppTest) -> None:
    layers.segmented_control(key="layers_view").set_value("Layer by layer").run()
    settled(layers)
    box = layers.selectbox(key="sweep_question")
    for question in box.options:
        layers.selectbox(key="sweep_question").select(question).run()
        settled(layers)
        assert "sets of layers for the work of" in texts(layers.caption)
        assert "K(∅)" in texts(layers.caption)
    layers.selectbox(key="sweep_direction").set_value("base-into-tuned").run()
    settled(layers)
    assert "KL(base‖grafted)" in texts(layers.caption)


def test_a_text_without_the_chosen_part_says_so(layers: AppTest) -> None:
    answer = layers.session_state["run"].report().lanes[-1]
    missing = "answer" if any(token.part == "reasoning" for token in answer.tokens) else "reasoning"
    layers.selectbox(key="mask").set_value(missing).run()
    assert "no such part" in texts(layers.error)


def test_the_checks_hold_on_the_page(layers: AppTest) -> None:
    layers.segmented_control(key="layers_view").set_value("Checks").run()
    settled(layers)
    assert texts(layers.markdown).count("holds") == 7
    assert not layers.error


def test_what_a_session_asks_after_its_tab_was_closed_ends_at_once() -> None:
    session, before, after = Session(), Request("me"), Request("me")
    session.add(before)
    assert not before.closing
    session.close()
    session.add(after)
    assert before.closing
    assert after.closing
