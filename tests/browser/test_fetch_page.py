"""An app that was started before the demo pair was fetched."""

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, expect


def test_without_a_network_fetching_says_so_and_can_be_tried_again(
    serve: Callable[..., str], chromium: Browser, tmp_path: Path
) -> None:
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_NO_INDEX": ""}
    address = serve(GRAFT_HOME=str(tmp_path), **nowhere)
    page = chromium.new_page()
    page.goto(address)
    fetch = page.get_by_role("button", name="Fetch")
    fetch.click(timeout=60_000)
    expect(page.get_by_text("could not be downloaded")).to_be_visible(timeout=60_000)
    expect(fetch).to_be_visible()
    assert not list((tmp_path / "models").glob("smollm2*/config.json"))
    page.close()
