"""A person starts a study, leaves, comes back in another browser, stops it, goes on and reads what it found."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import TinyFolders
from tests.tiny import build_adapter, build_base

Visit = Callable[..., Page]
ROWS = "question,answer\n" + "".join(f"What is {n} and why?,It is {n} because of asthma.\n" for n in range(400))


@pytest.fixture(scope="module")
def study_app(serve: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The app on a tiny pair, with no studies yet."""
    root = tmp_path_factory.mktemp("studied")
    folders = TinyFolders(build_base(root / "base", "llama"), build_adapter(root / "base", root / "tuned"))
    arguments = ("--base", str(folders.base), "--tuned", str(folders.tuned))
    return serve(*arguments, GRAFT_STUDIES=str(root / "studies"), OMP_NUM_THREADS="1")


def study_page(page: Page) -> Page:
    page.get_by_role("link", name="Study").click()
    expect(page.get_by_text("One answer is an anecdote")).to_be_visible(timeout=30_000)
    return page


def fill(page: Page, label: str, value: str) -> None:
    page.get_by_role("spinbutton", name=label, exact=True).or_(
        page.get_by_role("textbox", name=label, exact=True)
    ).fill(value)
    page.keyboard.press("Tab")


def wait_until_still(page: Page) -> None:
    """Until nothing runs and the findings on the page are the latest: a new run takes old downloads away."""
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning", timeout=30_000)
    expect(page.get_by_text(re.compile("^Findings: "))).to_have_count(0, timeout=60_000)
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning", timeout=30_000)


def test_a_study_outlives_its_tab(visit: Visit, study_app: str, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(ROWS)
    first = study_page(visit(study_app))
    expect(first.get_by_text("None has been run on this server yet")).to_be_visible()
    first.get_by_role("button", name="Add questions of your own").click()
    expect(first.get_by_text("stored on the server, in the study's folder")).to_be_visible()
    first.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(tmp_path / "mine.csv")
    expect(first.get_by_text("Your own: mine (medical)")).to_be_visible(timeout=20_000)
    first.keyboard.press("Escape")
    first.get_by_role("button", name=re.compile("Clear")).first.click()  # without the shipped ones
    fill(first, "Rows of each", "400")
    first.get_by_text("What is measured, and on how much").click()
    fill(first, "tokens of an answer", "4")
    fill(first, "prompts for layers, of each kind", "0")
    first.get_by_role("button", name="Preview").click()
    expect(first.get_by_text("400 of 400 usable rows")).to_be_visible(timeout=30_000)
    first.get_by_role("button", name="Start the study").click(timeout=60_000)
    expect(first.get_by_text(re.compile(r"\d+ of 400 prompts"))).to_be_visible(timeout=30_000)
    first.goto("about:blank")

    second = study_page(visit(study_app))
    second.get_by_test_id("stButton").get_by_role("button", name="Open", exact=True).click()
    expect(second.get_by_text(re.compile(r"[1-9]\d* of 400 prompts .* a minute"))).to_be_visible(timeout=30_000)
    second.get_by_role("button", name="Stop", exact=True).click()
    expect(second.get_by_text(re.compile(r"Stopped: \d+ of 400 prompts"))).to_be_visible(timeout=30_000)
    expect(second.get_by_text("This study is not finished")).to_be_visible(timeout=60_000)
    second.get_by_role("button", name="Resume").click()
    expect(second.get_by_text(re.compile(r"[1-9]\d* of 400 prompts .* a minute"))).to_be_visible(timeout=30_000)
    second.get_by_role("button", name="Stop", exact=True).click()
    expect(second.get_by_text(re.compile(r"Stopped: \d+ of 400 prompts"))).to_be_visible(timeout=30_000)
    wait_until_still(second)
    expect(second.get_by_test_id("finding").first).to_be_visible(timeout=60_000)
    with second.expect_download() as download:
        second.get_by_role("button", name="Report (page, HTML)").click()
    assert "What fine-tuning changed" in download.value.path().read_text()
