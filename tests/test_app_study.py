"""The Study page, without a browser."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.pair.open import load_pair
from core.study.background import StudyDesk
from core.study.engines import LocalEngine
from core.study.runner import run_study
from core.study.shelf import shelved
from core.study.store import open_store
from pages._shared.resources import study_desk
from tests.conftest import TinyFolders
from tests.study.runs import small_settings
from tests.test_app import open_app, texts
from tests.tiny import build_adapter, build_base

__all__ = ["open_app"]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:streamlit.*")
OWN = "question,answer\nWhat is asthma?,A disease of the airways.\nWhat is a heart?,An organ.\n"
FEW = {"max_new_tokens": 4, "sweep_prompts": 1, "sweep_tokens": 6, "control_prompts": 1, "random_adapters": 1}


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> TinyFolders:
    root = tmp_path_factory.mktemp("llama-study")
    return TinyFolders(build_base(root / "base", "llama"), build_adapter(root / "base", root / "tuned"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRAFT_STUDIES", str(tmp_path / "studies"))
    return tmp_path / "studies"


@pytest.fixture
def open_study(open_app: Callable[..., AppTest], llama: TinyFolders, home: Path) -> Callable[[], AppTest]:
    """A browser session on the Study page."""

    def run() -> AppTest:
        app = open_app("--base", str(llama.base), "--tuned", str(llama.tuned))
        return app.switch_page("pages/study.py").run()

    return run


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception
    return app


def labels(app: AppTest) -> list[str]:
    return [button.label for button in app.button]


def with_own(app: AppTest, content: str = OWN, name: str = "mine.csv") -> AppTest:
    """One corpus, an uploaded one, and as little to measure as there is."""
    app.multiselect(key="study_corpora").set_value([])
    app.file_uploader[0].set_value((name, content.encode(), "text/csv"))
    for setting, value in FEW.items():
        app.number_input(key=f"study_{setting}").set_value(value)
    return app.run()


def previewed(app: AppTest) -> AppTest:
    press(app, "Preview")
    task = app.session_state["tasks"]["study preview"].task
    assert task.wait(60)
    assert task.error is None
    app.run()
    assert not app.exception
    return app


def cards(app: AppTest) -> str:
    return " ".join(element.proto.body for element in app.get("html"))


def ended(app: AppTest) -> AppTest:
    desk: StudyDesk = study_desk()
    assert desk.last is not None
    assert desk.last.wait(120)
    return told(app)


def told(app: AppTest) -> AppTest:
    """Runs the page until the findings are there."""
    for _ in range(100):
        app.run()
        assert not app.exception
        if [section for section in app.markdown if section.value == "##### In short"]:
            return app
        time.sleep(0.3)
    raise AssertionError("no findings")


def test_the_empty_page_says_what_a_study_is_and_starts_nothing_unseen(
    open_study: Callable[[], AppTest], home: Path
) -> None:
    app = open_study()
    assert not app.exception
    assert "None has been run on this server yet" in texts(app.info)
    assert "stored on the server" in texts(app.caption)
    assert app.multiselect(key="study_corpora").value == ["shipped:medical", "shipped:general"]
    assert "Start the study" not in labels(app)
    with_own(app)
    previewed(app)
    assert "Start the study" in labels(app)
    assert "**mine**, counted as medical: 2 of 2 usable rows" in texts(app.markdown)
    assert "<|im_start|>user\nWhat is asthma?" in texts(app.code)
    assert "on this device" in texts(app.markdown)
    assert not home.exists()  # nothing is stored before it starts
    app.number_input(key="study_rows").set_value(1).run()
    assert "Start the study" not in labels(app)  # what was seen is not what would run


def test_a_study_goes_on_when_its_session_ends_and_another_one_reads_it(
    open_study: Callable[[], AppTest], home: Path
) -> None:
    app = open_study()
    app.text_input(key="study_name").set_value("first one").run()
    previewed(with_own(app))
    press(app, "Start the study")
    assert study_desk().last is not None
    app.session_state["tasks"].clear()
    app.switch_page("pages/about.py").run()
    other = open_study()
    press(other, "Open")
    ended(other)
    assert "Finished: 2 of 2 prompts" in texts(other.caption)
    assert "inconclusive" in cards(other)
    assert "What would change it" in cards(other)
    assert [section.label for section in other.expander][-1] == "Provenance"
    with open_store(home / "first-one") as store:
        assert [row.question for row in store.corpora()[0].rows] == ["What is asthma?", "What is a heart?"]
    other.toggle(key="simple").set_value(True).run()
    assert not other.exception
    assert "Limits" in texts(other.markdown)
    assert "inconclusive" in cards(other)
    assert "What would change it" not in cards(other)
    press(other, "All studies")
    assert "first-one" in texts(other.markdown)


def test_bad_rows_are_named_or_left_out(open_study: Callable[[], AppTest]) -> None:
    app = with_own(open_study(), OWN + "Why?,\n,Because.\n")
    press(app, "Preview")
    assert "mine.csv row 3 has neither an answer nor options" in texts(app.error)
    assert "mine.csv row 4 has no 'question'" in texts(app.error)
    assert "choose “leave the row out" in texts(app.error)
    app.radio(key="study_bad").set_value("skip").run()
    previewed(app)
    assert "2 of 2 usable rows" in texts(app.markdown)
    assert [section.label for section in app.expander if "cannot be used" in section.label] == [
        "2 rows that cannot be used"
    ]
    assert "Start the study" in labels(app)


def test_questions_go_as_raw_text_or_after_a_system_prompt(open_study: Callable[[], AppTest]) -> None:
    app = with_own(open_study())
    app.text_area(key="study_system").set_value("Be brief.").run()
    previewed(app)
    assert "Be brief." in app.code[0].value
    app.toggle(key="study_raw").set_value(True).run()
    assert "Raw text takes no system prompt" in texts(app.error)
    app.text_area(key="study_system").set_value("").run()
    previewed(app)
    assert [code.value.strip() for code in app.code] == ["What is asthma?", "What is a heart?"]


@pytest.mark.parametrize("name", ["../elsewhere", "", "a/b"])
def test_a_name_that_leads_elsewhere_is_refused(open_study: Callable[[], AppTest], name: str) -> None:
    app = open_study()
    app.text_input(key="study_name").set_value(name).run()
    assert "name" in texts(app.error)
    assert next(button for button in app.button if button.label == "Preview").disabled


def test_random_adapters_without_layers_are_refused_before_anything_starts(open_study: Callable[[], AppTest]) -> None:
    app = open_study()
    app.multiselect(key="study_measurements").set_value(["reference", "controls"]).run()
    assert "Measure layers too, or leave controls out" in texts(app.error)
    assert next(button for button in app.button if button.label == "Preview").disabled
    app.multiselect(key="study_measurements").set_value(["reference", "layers", "controls"]).run()
    assert not app.error


def test_a_study_of_the_command_line_is_read_resumed_and_of_another_pair_only_read(
    open_study: Callable[[], AppTest], llama: TinyFolders, home: Path, tmp_path: Path
) -> None:
    pair = load_pair(llama.spec())
    measured = iter(range(2))
    run_study(LocalEngine(pair), small_settings(tmp_path), home / "typed", stop=lambda: next(measured, None) is None)
    assert shelved("typed").state == "stopped"
    app = open_study()
    assert "**typed** · stopped, 2 of 5 prompts" in texts(app.markdown)
    press(app, "Open")
    told(app)
    assert "This study is not finished\\: 2 of 5 prompts" in texts(app.warning)
    with open_store(home / "typed"):  # as another process would hold it
        app.run()
        assert not app.exception
        assert "Resume" not in labels(app)
        said = [bar.proto.text for bar in app.get("progress")]
        assert any("2 of 5 prompts" in text and "Another process runs it" in text for text in said)
    app.run()
    press(app, "Resume")
    ended(app)
    assert "Finished: 5 of 5" in texts(app.caption)
    other = llama.base.parent / "other"
    build_adapter(llama.base, other, seed=9)
    llama_too = load_pair(TinyFolders(llama.base, other).spec())
    measured = iter(range(2))
    run_study(
        LocalEngine(llama_too), small_settings(tmp_path), home / "foreign", stop=lambda: next(measured, None) is None
    )
    press(app, "All studies")
    assert "(another pair)" in texts(app.markdown)
    app.button(key="study-open-foreign").click().run()
    told(app)
    assert "made with another pair" in texts(app.caption)
    assert next(button for button in app.button if button.label == "Resume").disabled
