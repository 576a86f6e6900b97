"""Hybrids of other kinds, shared noise and forks on the Ask page, without a browser."""

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from core.present.forks import quoted
from core.present.report import to_json
from core.present.runs import RunReport, run_from_json
from tests.test_app import click, finished, open_app, settled, texts, tiny_app

__all__ = ["open_app", "tiny_app"]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:streamlit.*")


def keys(elements: object) -> set[str]:
    return {element.key for element in elements if element.key}  # type: ignore[attr-defined]


def answered(app: AppTest, n_tokens: int = 8) -> AppTest:
    app.number_input(key="max_new_tokens").set_value(n_tokens)
    finished(app, "What is asthma?")
    return app


def pick(app: AppTest, lane: str, index: int) -> AppTest:
    """As a click on a token does."""
    app.session_state["picks"] = {"lanes": (app.session_state["run"], lane, index)}
    return app.run()


def continue_from_here(app: AppTest) -> None:
    click(app, "Continue from here")
    run = app.session_state["run"]
    assert all(request.wait(60) for request in run.requests)
    app.run()
    assert not app.exception


@pytest.fixture
def forked(tiny_app: AppTest) -> AppTest:
    """Base's answer with a typed text at token 3, written on by the fine-tuned model."""
    pick(answered(tiny_app), "base", 3)
    tiny_app.selectbox(key="fork-what-base-3").set_value("typed").run()
    tiny_app.text_input(key="fork-text-base-3").set_value(" aspirin").run()
    tiny_app.selectbox(key="fork-model-base-3").set_value("tuned").run()
    continue_from_here(tiny_app)
    return tiny_app


def test_what_may_be_put_in_is_what_either_model_would_choose(tiny_app: AppTest) -> None:
    pick(answered(tiny_app), "base", 3)
    run = tiny_app.session_state["run"]
    token = run.report().lanes[0].tokens[3]
    offered = tiny_app.selectbox(key="fork-what-base-3").options
    ends = run.worker.pair.prompts.end_ids
    wanted = {choice.id for top in (token.top_base, token.top_tuned) for choice in top[:5]} - set(ends)
    assert len(offered) == len(wanted) + 1  # none twice, and a text
    assert "a text of your own" in offered
    assert token.id == token.top_base[0].id
    assert offered[-1].endswith(quoted(token.top_base[0].text))  # stands there already
    assert "choice" in offered[0]
    assert not offered[0].endswith(f" {quoted(token.top_base[0].text)}")


def report(app: AppTest) -> RunReport:
    found: RunReport = app.session_state["run"].report()
    return found


def test_only_the_controls_of_a_kind_are_shown(tiny_app: AppTest) -> None:
    tiny_app.selectbox(key="kind").set_value("patch").run()
    assert {"site", "direction"} <= keys(tiny_app.selectbox)
    assert "part" not in keys(tiny_app.selectbox)
    assert "strength" not in keys(tiny_app.slider)
    assert "lends its activations" in texts(tiny_app.caption)
    assert "only the highest layer matters" not in texts(tiny_app.caption)
    tiny_app.selectbox(key="site").set_value("resid_post").run()
    assert "only the highest layer matters" in texts(tiny_app.caption)
    tiny_app.selectbox(key="kind").set_value("amplify").run()
    assert keys(tiny_app.slider) & {"alpha", "strength"} == {"alpha"}
    assert "layers" not in keys(tiny_app.text_input)


def test_hybrids_of_all_kinds_write_and_their_settings_come_back(tiny_app: AppTest) -> None:
    tiny_app.text_input(key="layers").set_value("1").run()
    click(tiny_app, "Add a hybrid")
    tiny_app.selectbox(key="kind").set_value("patch").run()
    tiny_app.selectbox(key="site").set_value("attn_out").run()
    tiny_app.text_input(key="layers").set_value("0,2").run()
    tiny_app.selectbox(key="direction").set_value("base-into-tuned").run()
    click(tiny_app, "Add a hybrid")
    tiny_app.selectbox(key="kind").set_value("amplify").run()
    tiny_app.slider(key="alpha").set_value(1.5).run()
    run = answered(tiny_app).session_state["run"]
    assert [hybrid.text() for hybrid in run.settings.hybrids] == [
        "Hybrid: 1",
        "Hybrid 2: 0,2 / attn_out / base-into-tuned",
        "Hybrid 3: all / alpha=1.5",
    ]
    assert [record.lane.kind for record in run.records.values()] == ["graft", "graft", "patch", "amplify", "graft"]
    tiny_app.segmented_control(key="hybrid_at").set_value(1).run()
    assert (tiny_app.selectbox(key="site").value, tiny_app.text_input(key="layers").value) == ("attn_out", "0,2")
    tiny_app.segmented_control(key="hybrid_at").set_value(0).run()
    assert (tiny_app.selectbox(key="kind").value, tiny_app.slider(key="strength").value) == ("graft", 1.0)
    tiny_app.segmented_control(key="hybrid_at").set_value(2).run()
    assert tiny_app.slider(key="alpha").value == 1.5


def test_a_patch_without_layers_is_refused_before_anything_runs(tiny_app: AppTest) -> None:
    tiny_app.selectbox(key="kind").set_value("patch").run()
    tiny_app.text_input(key="layers").set_value("none").run()
    assert "patches no layer" in texts(tiny_app.error)


def test_saved_sets_and_the_simple_view_keep_a_kind(tiny_app: AppTest) -> None:
    tiny_app.selectbox(key="kind").set_value("amplify").run()
    tiny_app.slider(key="alpha").set_value(-0.3).run()
    click(tiny_app, "Save")
    tiny_app.toggle(key="simple").set_value(True).run()
    tiny_app.toggle(key="simple").set_value(False).run()
    assert tiny_app.slider(key="alpha").value == -0.3
    tiny_app.selectbox(key="kind").set_value("graft").run()
    tiny_app.selectbox(key="bring_back").set_value("Hybrid").run()
    assert (tiny_app.selectbox(key="kind").value, tiny_app.slider(key="alpha").value) == ("amplify", -0.3)


def test_the_layers_page_passes_over_what_is_not_grafted(tiny_app: AppTest) -> None:
    tiny_app.selectbox(key="kind").set_value("amplify").run()
    answered(tiny_app)
    page = tiny_app.switch_page("pages/layers.py").run()
    assert not page.exception
    assert "Only grafted layers can be measured here" in texts(page.caption)
    assert "recovery" not in [metric.label for metric in page.metric]
    page = settled(page.switch_page("pages/divergence.py").run())
    page.session_state["asked_token"] = (0, len(page.session_state["run"].prompt.ids) + 2)
    settled(page.run())
    assert "Why “" in texts(page.markdown)


def test_shared_noise_is_offered_where_there_is_noise(tiny_app: AppTest) -> None:
    assert "coupled" not in keys(tiny_app.toggle)
    tiny_app.slider(key="temperature").set_value(0.8).run()
    tiny_app.toggle(key="coupled").set_value(True).run()
    run = answered(tiny_app).session_state["run"]
    assert run.settings.coupled
    table = tiny_app.dataframe[0].value
    rates = [float(rate) for rate in table["would part"]]
    assert all(0 <= rate <= 1 for rate in rates)
    assert max(rates) > 0
    assert "Would part" in texts(tiny_app.caption)
    tiny_app.slider(key="temperature").set_value(0.0).run()
    assert not answered(tiny_app).session_state["run"].settings.coupled
    assert "would part" not in tiny_app.dataframe[0].value


def test_a_clicked_token_says_what_else_could_stand_there(tiny_app: AppTest) -> None:
    pick(answered(tiny_app), "tuned", 2)
    assert "Token 2 (counted from 0) of Fine\\-tuned's answer" in texts(tiny_app.markdown)
    assert "Base would put" in texts(tiny_app.markdown)
    assert tiny_app.selectbox(key="fork-model-tuned-2").value == "tuned"
    click(tiny_app, "Close")
    assert "Token 2" not in texts(tiny_app.markdown)


def test_a_fork_is_written_beside_the_others(forked: AppTest) -> None:
    base, fork = (report(forked).lanes[k] for k in (0, -1))
    assert fork.answer.name == "fork-1"
    assert fork.answer.ids[:3] == base.answer.ids[:3]
    assert " aspirin" in fork.answer.text
    assert fork.answer.gates == report(forked).lanes[2].answer.gates  # the fine-tuned model's
    assert "Token 3" not in texts(forked.markdown)
    assert [lane.answer.name for lane in forked.session_state["history"][-1].lanes][-1] == "fork-1"
    assert len(forked.session_state["history"]) == 1  # the run took its own place


def test_a_fork_of_a_fork_is_written_by_the_same_model(forked: AppTest) -> None:
    pick(forked, "fork-1", 1)
    assert forked.selectbox(key="fork-model-fork-1-1").value == "tuned"
    forked.selectbox(key="fork-what-fork-1-1").set_value("typed").run()
    forked.text_input(key="fork-text-fork-1-1").set_value(" pain").run()
    continue_from_here(forked)
    assert report(forked).lanes[-1].fork.parent == "fork-1"


def test_what_cannot_be_continued_is_told_and_the_panel_stays(tiny_app: AppTest) -> None:
    pick(answered(tiny_app), "base", 3)
    tiny_app.selectbox(key="fork-what-base-3").set_value("typed").run()
    click(tiny_app, "Continue from here")
    assert "Nothing was typed" in texts(tiny_app.error)
    assert tiny_app.session_state["run"].forks == {}
    tiny_app.run()
    assert "Nothing was typed" in texts(tiny_app.error)
    assert "Token 3" in texts(tiny_app.markdown)


def test_there_are_four_forks_at_most(tiny_app: AppTest) -> None:
    answered(tiny_app, 4)
    for index in range(4):
        pick(tiny_app, "base", index)
        tiny_app.selectbox(key=f"fork-what-base-{index}").set_value("typed").run()
        tiny_app.text_input(key=f"fork-text-base-{index}").set_value(" pain").run()
        continue_from_here(tiny_app)
    pick(tiny_app, "base", 0)
    assert "4 forks already" in texts(tiny_app.caption)
    assert "Continue from here" not in [button.label for button in tiny_app.button]


def test_forks_reach_files_and_other_pages(forked: AppTest) -> None:
    assert run_from_json(to_json(report(forked))) == report(forked)
    forked.segmented_control(key="word_diff_with").set_value("fork-1").run()
    assert not forked.exception
    page = settled(forked.switch_page("pages/divergence.py").run())
    assert page.selectbox(key="text_first").options[0] == "The answer of Fine-tuned"
    page.selectbox(key="text_beside").set_value("The answer of Fork 1").run()
    settled(page)
    page.selectbox(key="text_beside").set_value("nothing").run()
    page.selectbox(key="text_first").set_value("The answer of Fork 1").run()
    settled(page)
    page = settled(page.switch_page("pages/layers.py").run())
    page.selectbox(key="text_first").set_value("The answer of Fork 1").run()
    settled(page)


def test_a_run_from_history_is_continued_only_after_asking_again(forked: AppTest) -> None:
    answered(forked)
    show = next(box for box in forked.selectbox if box.label == "Show")
    show.set_value(show.options[-1]).run()
    old = forked.session_state["history"][0]
    assert [lane.answer.name for lane in old.lanes][-1] == "fork-1"
    forked.session_state["picks"] = {"chosen": (old, "fork-1", 2)}
    forked.run()
    assert not forked.exception
    assert "run the question again" in texts(forked.caption)
    assert "Continue from here" not in [button.label for button in forked.button]


def test_the_latest_run_chosen_from_history_can_be_continued(tiny_app: AppTest) -> None:
    answered(tiny_app)
    show = next(box for box in tiny_app.selectbox if box.label == "Show")
    show.set_value(show.options[-1]).run()
    pick(tiny_app, "base", 1)
    assert "Continue from here" in [button.label for button in tiny_app.button]


def test_a_reopened_run_with_forks_can_be_asked_about(forked: AppTest, open_app: Callable[..., AppTest]) -> None:
    other = run_from_json(to_json(report(forked)))
    forked.session_state["history"] = [other]
    forked.run()
    show = next(box for box in forked.selectbox if box.label == "Show")
    show.set_value(next(name for name in show.options if name.startswith("1 "))).run()
    assert not forked.exception
