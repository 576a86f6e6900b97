"""Several people, closed tabs, lost connections."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.proxy import Proxy
from tests.browser.test_ask import ask, lane_text, lanes, wait_until_done

Visit = Callable[..., Page]


def test_two_sessions_at_once_get_the_answers_they_get_alone(visit: Visit, demo_app: str) -> None:
    """The second question joins the batch in which the first is being answered, and says so."""
    first, second = (visit(f"{demo_app}/?max_new_tokens=24") for _ in range(2))
    ask(first, "What is asthma?")
    lanes(first).first.locator(".token").nth(2).wait_for(timeout=30_000)
    ask(second, "What is a troponin?")
    expect(second.get_by_text("beside 3 other lanes")).to_be_visible(timeout=20_000)
    assert first.locator("[data-testid=lane][data-running=yes]").count() > 0  # both are under way at this moment
    wait_until_done(first)
    wait_until_done(second)
    together = [[lane_text(page, n) for n in range(3)] for page in (first, second)]
    assert together[0] != together[1]
    for question, texts in zip(("What is asthma?", "What is a troponin?"), together, strict=True):
        alone = visit(f"{demo_app}/?max_new_tokens=24")
        ask(alone, question)
        wait_until_done(alone)
        assert [lane_text(alone, n) for n in range(3)] == texts


def test_a_closed_tab_frees_the_worker(visit: Visit, demo_app: str) -> None:
    """The rows of an answer nobody reads leave the batch in the middle of it."""
    first, second = visit(f"{demo_app}/?max_new_tokens=240"), visit(f"{demo_app}/?max_new_tokens=240")
    ask(first, "Explain at length how the heart works.")
    lanes(first).first.locator(".token").nth(2).wait_for(timeout=30_000)
    ask(second, "What is asthma?")
    lanes(second).first.locator(".token").first.wait_for(timeout=60_000)
    expect(second.get_by_text("beside 3 other lanes")).to_be_visible(timeout=20_000)
    first.close()
    expect(second.get_by_text("Writing beside")).to_be_hidden(timeout=3_000)  # within one, where nothing else computes
    assert second.locator("[data-testid=lane][data-running=yes]").count() == 3
    second.get_by_role("button", name="Stop", exact=True).click()
    wait_until_done(second, 20_000)


@pytest.fixture
def proxy(tiny_app: str):  # type: ignore[no-untyped-def]
    made = Proxy(int(tiny_app.rsplit(":", 1)[1]))
    yield made
    made.close()


def test_results_survive_a_lost_connection(visit: Visit, proxy: Proxy) -> None:
    page = visit(f"http://127.0.0.1:{proxy.port}", lossy=True)
    ask(page, "What is asthma?")
    wait_until_done(page)
    before = [lane_text(page, n) for n in range(3)]
    proxy.cut()
    page.wait_for_timeout(2000)
    proxy.mend()
    page.wait_for_timeout(3000)
    page.get_by_text("Simple view").click()
    expect(lanes(page)).to_have_count(2, timeout=30_000)
    page.get_by_text("Simple view").click()
    expect(lanes(page)).to_have_count(3, timeout=30_000)
    assert [lane_text(page, n) for n in range(3)] == before
    expect(page.get_by_role("textbox", name="Question")).to_have_value("What is asthma?")
