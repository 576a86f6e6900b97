"""A person asks, watches, stops, changes layers."""

import re
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

Visit = Callable[..., Page]


def ask(page: Page, question: str) -> None:
    page.get_by_role("textbox", name="Question").fill(question)
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_text("A recorded example")).to_be_hidden()


def lanes(page: Page) -> Locator:
    return page.locator("[data-testid=lane]")


def wait_until_done(page: Page, timeout: float = 120_000) -> None:
    expect(page.locator("[data-testid=lane][data-running=yes]")).to_have_count(0, timeout=timeout)
    page.get_by_text("In plain words").wait_for(timeout=timeout)
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_hidden()


def lane_text(page: Page, number: int) -> str:
    return "".join(lanes(page).nth(number).locator(".token").all_text_contents())


def test_a_question_becomes_three_streaming_answers(visit: Visit, demo_app: str) -> None:
    page = visit(demo_app)
    ask(page, "What is asthma and how is it treated?")
    for number in range(3):
        lanes(page).nth(number).locator(".token").first.wait_for(timeout=30_000)
    early = [lanes(page).nth(number).locator(".token").count() for number in range(3)]
    assert max(early) < 60
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    wait_until_done(page)
    late = [lanes(page).nth(number).locator(".token").count() for number in range(3)]
    assert all(b >= a for a, b in zip(early, late, strict=True))
    assert max(late) > max(early)
    assert "sthma" in lane_text(page, 0)
    titles = lanes(page).locator(".title").all_text_contents()
    assert [title.split(" ")[0] for title in titles] == ["Base", "Hybrid", "Fine-tuned"]
    coloured = lanes(page).nth(2).locator(".ink[style*='background-color']").count()
    assert coloured > 5

    lanes(page).nth(2).locator(".token").nth(4).hover()
    card = lanes(page).nth(2).locator(".card")
    expect(card).to_be_visible()
    expect(card).to_contain_text("Fine-tuned would write")
    assert card.locator(".choice").count() == 10


def test_stop_acts_at_once(visit: Visit, demo_app: str) -> None:
    page = visit(demo_app)
    ask(page, "Explain at length how the heart works.")
    lanes(page).first.locator(".token").nth(3).wait_for(timeout=30_000)
    started = time.monotonic()
    page.get_by_role("button", name="Stop", exact=True).click()
    wait_until_done(page, 10_000)
    assert time.monotonic() - started < 6
    expect(lanes(page).first.locator(".note")).to_contain_text("stopped")


def test_a_layer_is_switched_and_only_the_hybrid_changes(visit: Visit, tiny_app: str) -> None:
    page = visit(tiny_app)
    ask(page, "What is asthma?")
    wait_until_done(page)
    before = [lane_text(page, number) for number in range(3)]
    page.locator("[data-testid=layers] button").nth(0).click()
    field = page.get_by_role("textbox", name="as text")
    expect(field).to_have_value(re.compile(r"^0,"))
    page.get_by_role("button", name="Run", exact=True).click()
    expect(lanes(page).nth(1).locator(".title")).to_contain_text("layers 0,", timeout=20_000)
    wait_until_done(page)
    after = [lane_text(page, number) for number in range(3)]
    assert (before[0], before[2]) == (after[0], after[2])
    assert before[1] != after[1]


def test_the_layer_row_works_from_the_keyboard(visit: Visit, tiny_app: str) -> None:
    page = visit(tiny_app)
    field = page.get_by_role("textbox", name="as text")
    field.fill("none")
    field.press("Enter")
    squares = page.locator("[data-testid=layers] button")
    expect(squares.nth(3)).to_have_attribute("aria-pressed", "false")
    squares.nth(0).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(field).to_have_value("1")
    expect(squares.nth(1)).to_have_attribute("aria-pressed", "true")


def test_hostile_text_is_shown_as_text(visit: Visit, tiny_app: str) -> None:
    page = visit(tiny_app)
    page.evaluate("window.hacked = false")
    hostile = "<img src=x onerror='window.hacked = true'><script>window.hacked = true</script> <|im_end|> **b** $x$"
    ask(page, hostile)
    wait_until_done(page)
    assert page.evaluate("window.hacked") is False
    assert lanes(page).locator("img, script").count() == 0


def test_tokens_can_be_walked_with_the_keyboard(visit: Visit, tiny_app: str) -> None:
    page = visit(tiny_app)
    ask(page, "What is asthma?")
    wait_until_done(page)
    first = lanes(page).first.locator(".token").first
    first.focus()
    page.keyboard.press("ArrowRight")
    focused = "e => e.getRootNode().activeElement === e"
    assert lanes(page).first.locator(".token").nth(1).evaluate(focused)
    expect(lanes(page).first.locator(".card")).to_be_visible()


def test_both_themes_colour_by_the_same_scale(visit: Visit, tiny_app: str) -> None:
    for theme in ("light", "dark"):
        page = visit(tiny_app, theme)
        ask(page, "What is asthma?")
        wait_until_done(page)
        expect(lanes(page).first).to_have_attribute("data-theme", theme)
        background = lanes(page).first.locator(".ink[style*='background-color']").first
        assert background.evaluate("e => getComputedStyle(e).backgroundColor").startswith("rgb(")


def test_two_sessions_at_once_get_their_own_answers(visit: Visit, tiny_app: str) -> None:
    pages = [visit(tiny_app) for _ in range(2)]
    for page, question in zip(pages, ("What is asthma?", "What is a troponin?"), strict=True):
        ask(page, question)
    for page in pages:
        wait_until_done(page)
    together = [[lane_text(page, n) for n in range(3)] for page in pages]
    alone = visit(tiny_app)
    ask(alone, "What is a troponin?")
    wait_until_done(alone)
    assert [lane_text(alone, n) for n in range(3)] == together[1]
    assert together[0] != together[1]


def test_a_closed_tab_frees_the_worker(visit: Visit, demo_app: str) -> None:
    """The next person's question starts at once instead of waiting for an answer nobody reads."""
    first, second = visit(demo_app), visit(demo_app)
    ask(first, "Explain at length how the heart works.")
    lanes(first).first.locator(".token").nth(2).wait_for(timeout=30_000)
    ask(second, "What is asthma?")
    expect(second.get_by_text("1 before you")).to_be_visible()
    first.close()
    expect(second.get_by_text("before you")).to_be_hidden(timeout=10_000)
    lanes(second).first.locator(".token").first.wait_for(timeout=60_000)
    second.get_by_role("button", name="Stop", exact=True).click()
    wait_until_done(second, 20_000)


def test_another_page_stops_the_answer_and_keeps_it(visit: Visit, demo_app: str) -> None:
    page = visit(demo_app)
    ask(page, "Explain at length how the heart works.")
    lanes(page).first.locator(".token").nth(3).wait_for(timeout=30_000)
    page.get_by_role("link", name="About").click()
    page.get_by_text("What it does not show").wait_for(timeout=20_000)
    page.get_by_role("link", name="Ask").click()
    wait_until_done(page, 20_000)
    expect(lanes(page).first.locator(".note")).to_contain_text("stopped")
    assert lanes(page).first.locator(".token").count() > 3
    expect(page.get_by_role("textbox", name="Question")).to_have_value("Explain at length how the heart works.")


def test_a_downloaded_run_can_be_uploaded_into_another_session(visit: Visit, tiny_app: str, tmp_path: Path) -> None:
    page = visit(tiny_app)
    ask(page, "What is asthma?")
    wait_until_done(page)
    text = [lane_text(page, number) for number in range(3)]
    with page.expect_download() as download:
        page.get_by_role("button", name="Download: run").click()
    file = tmp_path / "run.json"
    download.value.save_as(file)

    other = visit(tiny_app)
    other.get_by_role("button", name="Runs").click()
    other.locator("input[type=file]").set_input_files(file)
    other.get_by_text("Added to the runs").wait_for(timeout=20_000)
    other.get_by_role("combobox", name="Show").click()
    other.get_by_role("option", name=re.compile("What is asthma")).click()
    other.keyboard.press("Escape")
    expect(lanes(other).first.locator(".token").first).to_be_visible()
    expect(other.get_by_text("A recorded example")).to_be_hidden()
    assert [lane_text(other, number) for number in range(3)] == text
