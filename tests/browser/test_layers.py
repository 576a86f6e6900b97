"""A person mixes layers and sees at once what that does, patches, searches, and takes a found set to the Ask page."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.test_ask import ask, wait_until_done

Visit = Callable[..., Page]


@pytest.fixture
def page(visit: Visit, tiny_app: str) -> Page:
    """The Layers page on a run just made."""
    opened = visit(f"{tiny_app}/?max_new_tokens=12")
    ask(opened, "What is asthma?")
    wait_until_done(opened)
    opened.get_by_role("link", name="Layers").click()
    expect(recovery(opened)).to_be_visible(timeout=30_000)
    return opened


def recovery(page: Page) -> Locator:
    return page.get_by_test_id("stMetric").filter(has_text="recovery").first.get_by_test_id("stMetricValue")


def view(page: Page, name: str) -> None:
    page.get_by_role("radio", name=name, exact=True).or_(page.get_by_text(name, exact=True)).first.click()


def test_a_click_on_a_layer_moves_the_recovery(page: Page) -> None:
    page.get_by_text("all", exact=True).click()
    expect(recovery(page)).to_have_text("1.0", timeout=20_000)
    squares = page.locator("[data-testid=layers] button")
    squares.nth(1).click()
    expect(recovery(page)).not_to_have_text("1.0", timeout=20_000)
    page.get_by_text("none", exact=True).click()
    expect(recovery(page)).to_have_text(re.compile(r"^-?0(\.0)?$"), timeout=20_000)


def test_the_grid_is_there_at_once_and_exact_on_demand(page: Page) -> None:
    view(page, "Where in the text")
    expect(page.get_by_text("All gates together miss the whole change")).to_be_visible(timeout=30_000)
    page.get_by_role("button", name="Compute every cell").click()
    expect(page.get_by_text("Rank correlation of the gradients with the")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("by numerical noise").last).to_be_visible(timeout=60_000)
    assert page.locator("[data-testid=stVegaLiteChart]").count() == 2


def test_a_found_set_goes_to_the_ask_page(page: Page) -> None:
    view(page, "Smallest sets")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_text("is reached with").first).to_be_visible(timeout=60_000)
    expect(page.get_by_text("Interaction:")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("random adapters").first).to_be_visible()
    page.get_by_role("link", name="Use this set").first.click()
    expect(page.get_by_role("textbox", name="Question")).to_have_value("What is asthma?", timeout=30_000)
    expect(page.get_by_role("textbox", name="as text")).to_have_value(re.compile(r"\d"))


def test_an_exported_chart_opens_without_a_network(page: Page, chromium: Browser, tmp_path: Path) -> None:
    view(page, "Layer by layer")
    expect(page.get_by_text("sets of layers for the work of")).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Export").first.click()
    with page.expect_download() as download:
        page.get_by_role("button", name="page (HTML)").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    context = chromium.new_context()
    context.set_offline(True)
    offline = context.new_page()
    problems: list[str] = []
    offline.on("console", lambda message: problems.append(message.text))
    offline.on("requestfailed", lambda request: problems.append(request.url))
    offline.goto(file.as_uri())
    expect(offline.locator("svg").first).to_be_visible()
    assert "data SHA-256" in (offline.locator("small").text_content() or "")
    assert problems == []
    context.close()
