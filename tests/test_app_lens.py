"""The lens on the Divergence page, without a browser."""

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from pages._shared import lens_panel
from pages._shared.frame import escaped
from tests.conftest import TinyFolders
from tests.test_app import finished, open_app, settled, texts

__all__ = ["open_app"]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:streamlit.*")


@pytest.fixture
def page(open_app: Callable[..., AppTest], folders: TinyFolders) -> AppTest:
    app = open_app("--base", str(folders.base), "--tuned", str(folders.tuned))
    app.number_input(key="max_new_tokens").set_value(12)
    finished(app, "What is asthma?")
    return settled(app.switch_page("pages/divergence.py").run())


def opened(page: AppTest) -> AppTest:
    page.toggle(key="lens_open").set_value(True).run()
    return settled(page)


def test_nothing_is_read_before_the_lens_is_opened(page: AppTest) -> None:
    assert "lens" not in page.session_state["tasks"]
    opened(page)
    found = page.session_state["tasks"]["lens"].task.result
    assert len(found.layers) == page.session_state["run"].worker.pair.n_layers
    assert "approximate" in texts(page.caption)
    assert "Click a cell" in texts(page.caption)


def test_every_metric_is_drawn_from_one_reading(page: AppTest) -> None:
    first = opened(page).session_state["tasks"]["lens"].task
    for metric, words in (("norm", "share of the state"), ("cosine", "turned the model's state")):
        page.segmented_control(key="lens_metric").set_value(metric).run()
        assert words in texts(settled(page).caption)
    assert page.session_state["tasks"]["lens"].task is first


def test_a_cell_shows_what_both_models_would_write(page: AppTest) -> None:
    found = opened(page).session_state["tasks"]["lens"].task.result
    page.session_state["lens_cell"] = (found.layers[1], found.positions[2])
    settled(page.run())
    assert f"After layer {found.layers[1]}, before “" in texts(page.markdown)
    assert "Base, read there, would write" in texts(page.caption)
    assert "KL(tuned‖base) of the two readings" in texts(page.caption)
    page.session_state["lens_cell"] = (99, found.positions[2])  # of another pair, or another part of the text
    settled(page.run())
    assert "Click a cell" in texts(page.caption)


def test_a_token_that_is_markdown_is_shown_as_itself() -> None:
    assert escaped("-") == r"\-"
    assert escaped("**a") == r"\*\*a"


def test_a_long_text_is_read_in_stretches(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lens_panel, "COLUMNS", 5)
    whole = opened(page).session_state["tasks"]["lens"].task.result.positions
    assert len(whole) == 5
    stretch = next(box for box in page.selectbox if box.label == "stretch of the text")
    assert stretch.options[0].startswith("tokens 1 to 5 of")
    stretch.set_value(5).run()
    after = settled(page).session_state["tasks"]["lens"].task.result.positions
    assert after[0] == whole[-1] + 1
