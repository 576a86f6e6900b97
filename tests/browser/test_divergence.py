"""A person looks at a heatmap, asks a token why, and keeps the figure."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.test_ask import ask, lanes, wait_until_done

Visit = Callable[..., Page]


@pytest.fixture
def page(visit: Visit, tiny_app: str) -> Page:
    """The Divergence page on a run just made."""
    opened = visit(f"{tiny_app}/?max_new_tokens=16")
    ask(opened, "What is asthma?")
    wait_until_done(opened)
    opened.get_by_role("link", name="Divergence").click()
    # The Ask page says "Click a token" too, and stands there until the new page has come.
    expect(opened.get_by_text("to ask why it is there")).to_be_visible(timeout=30_000)
    return opened


def test_a_clicked_token_says_why_and_which_layers(page: Page) -> None:
    tokens = lanes(page).first.locator(".token")
    tokens.nth(3).click()
    expect(page.get_by_text("Why “")).to_be_visible(timeout=30_000)
    expect(page.get_by_text("The shares add up to KL(tuned‖base)")).to_be_visible()
    expect(page.get_by_text("Which layers, exactly")).to_be_visible(timeout=60_000)
    first = page.get_by_text("Why “").text_content()
    tokens.nth(6).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Why “")).not_to_have_text(first or "", timeout=30_000)


def test_colours_by_words_and_by_another_metric(page: Page) -> None:
    n_tokens = lanes(page).first.locator(".token").count()
    page.get_by_text("word", exact=True).click()
    expect(lanes(page).first.locator(".token")).not_to_have_count(n_tokens, timeout=20_000)
    page.get_by_role("combobox", name="colour").click()
    page.get_by_role("option", name="ln p(tuned) − ln p(base)").click()
    expect(page.locator("[data-testid=legend]")).to_contain_text("likelier", timeout=20_000)


def test_an_exported_page_opens_without_a_network(page: Page, chromium: Browser, tmp_path: Path) -> None:
    # A dot stands on the page for a token that only continues a character; the export has nothing there.
    tokens = lanes(page).first.locator(".token:not([data-part=end]):not(.joined) .ink")
    text = "".join(tokens.all_text_contents())
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="page (HTML)").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    assert file.name.endswith("-js-distance-token.html")
    context = chromium.new_context()
    context.set_offline(True)
    offline = context.new_page()
    problems: list[str] = []
    offline.on("console", lambda message: problems.append(message.text))
    offline.on("requestfailed", lambda request: problems.append(request.url))
    offline.goto(file.as_uri())
    shown = "".join((offline.locator(".text").text_content() or "").split())
    assert "".join(text.split())[:40] in shown
    assert "data SHA-256" in (offline.locator("small").text_content() or "")
    assert problems == []
    context.close()


def test_a_pasted_answer_needs_both_fields(page: Page) -> None:
    page.get_by_role("combobox", name="Text", exact=True).click()
    page.get_by_role("option", name="A pasted answer").click()
    expect(page.get_by_text("Give a question and an answer.")).to_be_visible(timeout=20_000)


def test_a_clicked_cell_of_the_lens_shows_both_readings(page: Page) -> None:
    page.get_by_text("Layer by layer: where in the model").click()
    chart = page.get_by_test_id("stVegaLiteChart").first
    expect(page.get_by_text("Click a cell to see what each model would write there.")).to_be_visible(timeout=60_000)
    box = chart.bounding_box()
    assert box is not None
    chart.click(position={"x": box["width"] / 2, "y": box["height"] / 2})
    expect(page.get_by_text("Base, read there, would write")).to_be_visible(timeout=30_000)
    expect(page.get_by_text("KL(tuned‖base) of the two readings")).to_be_visible()


def test_medical_terms_are_underlined_and_spaces_shown_on_demand(page: Page) -> None:
    ink = lanes(page).first.locator(".ink")
    assert not any("␣" in text for text in ink.all_text_contents())
    page.get_by_role("button", name="Marks").click()
    page.get_by_text("spaces", exact=True).click()
    page.get_by_text("medical terms", exact=True).click()
    expect(page.locator("[data-testid=legend]")).to_contain_text("procedure", timeout=20_000)
    expect(ink.filter(has_text="␣").first).to_be_visible(timeout=20_000)
