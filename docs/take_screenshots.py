"""Takes the README's pictures of the app: `python docs/take_screenshots.py [NAME …]`.

Serves the demo pair, drives headless Chromium, and writes `docs/images/STATE-THEME.png`.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
]  # fmt: skip


@contextmanager
def served(**environment: str) -> Iterator[str]:
    """The app on a free port, with further variables in its environment; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, env={**os.environ, **environment})
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        server.wait()


def opened(browser: Browser, address: str, theme: str) -> Page:
    """A fresh page, ready to be asked."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=theme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(f"{address}/?max_new_tokens=110")
    page.get_by_role("button", name="Run", exact=True).wait_for(timeout=120_000)
    page.wait_for_timeout(1500)
    return page


def ask(page: Page, example: str = "Type 2 diabetes") -> None:
    """Asks an example question."""
    page.get_by_test_id("stButtonGroup").get_by_text(example, exact=True).first.click()
    page.wait_for_timeout(800)
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator("[data-testid=lane][data-running=yes] .token").nth(25).wait_for(timeout=60_000)


def finish(page: Page) -> None:
    """Waits for the answers."""
    page.wait_for_function("!document.querySelector('[data-testid=stSpinner]')")
    while page.locator("[data-testid=lane][data-running=yes]").count():
        page.wait_for_timeout(300)
    page.get_by_text("In plain words").wait_for(timeout=60_000)
    page.get_by_role("button", name="Stop", exact=True).wait_for(state="hidden", timeout=120_000)  # noise is measured
    page.wait_for_timeout(1500)


def empty(page: Page) -> None:
    """The first screen."""


def running(page: Page) -> None:
    """Answers on their way."""
    ask(page)


def finished(page: Page) -> None:
    """Answers with a second hybrid beside them."""
    page.get_by_role("button", name="Add a hybrid").click()
    page.wait_for_timeout(1000)
    ask(page)
    finish(page)


def words(page: Page) -> None:
    """Two answers word by word, and the reference answer."""
    page.get_by_role("button", name="Options").click()
    page.get_by_role("textbox", name="Reference answer").fill(
        "Heart disease, stroke, and damage to kidneys, eyes and nerves. Blood sugar near normal prevents them."
    )
    page.mouse.click(300, 60)
    page.wait_for_timeout(1500)
    ask(page)
    finish(page)
    page.locator("[data-testid=stButtonGroup]").last.get_by_text("Fine-tuned", exact=True).click()
    page.locator("[data-testid=diff-side]").first.wait_for()
    page.wait_for_timeout(1000)
    page.get_by_text("Where they part").evaluate("e => e.scrollIntoView()")
    page.wait_for_timeout(800)


def forks(page: Page) -> None:
    """An answer continued from one of its tokens with another one."""
    ask(page)
    finish(page)
    page.locator("[data-testid=lane]").first.locator(".token").nth(14).click()
    page.get_by_text("put in instead").wait_for(timeout=30_000)
    page.get_by_role("button", name="Continue from here").click()
    page.locator("[data-testid=lane]").nth(3).locator(".token").nth(20).wait_for(timeout=60_000)
    finish(page)
    page.locator("[data-testid=lane]").nth(3).evaluate("e => e.scrollIntoView({block: 'center'})")
    page.wait_for_timeout(1000)


def weights(page: Page) -> None:
    """The Weights page with its scatter."""
    ask(page)
    finish(page)
    page.get_by_role("link", name="Weights").click()
    page.get_by_text("Do big weights mean big effects?").wait_for(timeout=60_000)
    page.wait_for_timeout(30_000)


def study_preview(page: Page) -> None:
    """A study before it runs: rows, prompts and the time it would take."""
    page.get_by_role("link", name="Study").click()
    page.get_by_role("button", name="Preview").click(timeout=60_000)
    page.get_by_role("button", name="Start the study").wait_for(timeout=500_000)
    page.wait_for_timeout(1500)


def study_finished(page: Page) -> None:
    """The findings of the newest study; needs one in `GRAFT_STUDIES`."""
    page.get_by_role("link", name="Study").click()
    page.get_by_role("button", name="Open", exact=True).first.click(timeout=60_000)
    page.get_by_text("In short").wait_for(timeout=300_000)
    page.wait_for_timeout(2500)


def study_layers(page: Page) -> None:
    """The same, question 3."""
    study_finished(page)
    page.get_by_test_id("stButtonGroup").get_by_text("Do higher layers carry it?").click()
    page.wait_for_timeout(3000)


def study_simple(page: Page) -> None:
    """The same in sentences."""
    study_finished(page)
    page.get_by_text("Simple view").click()
    page.wait_for_timeout(2500)


def error(page: Page) -> None:
    """Layers that do not exist."""
    page.get_by_role("textbox", name="as text").fill("3,99")
    page.keyboard.press("Enter")
    page.get_by_text("Layer 99 does not exist").wait_for()
    page.wait_for_timeout(800)


def simple(page: Page) -> None:
    """What a clinician sees."""
    page.get_by_text("Simple view").click()
    page.wait_for_timeout(1500)
    ask(page)
    finish(page)


def why(page: Page) -> None:
    """A heatmap, and a token asked why."""
    ask(page)
    finish(page)
    page.get_by_role("link", name="Divergence").click()
    page.get_by_text("Click a token").wait_for(timeout=60_000)
    page.locator("[data-testid=lane] .token").nth(9).click()
    page.get_by_text("Which layers, exactly").wait_for(timeout=90_000)
    page.mouse.move(5, 5)
    page.wait_for_timeout(1500)


def token_layers(page: Page) -> None:
    """The layers that make a token."""
    why(page)
    page.get_by_text("Which layers, exactly").evaluate("e => e.scrollIntoView({block: 'center'})")
    page.wait_for_timeout(1500)


def terms(page: Page) -> None:
    """Medical terms underlined, word by word."""
    ask(page)
    finish(page)
    page.get_by_role("link", name="Divergence").click()
    page.get_by_text("Click a token").wait_for(timeout=60_000)
    page.get_by_text("word", exact=True).click()
    page.get_by_role("button", name="Marks").click()
    page.get_by_text("medical terms", exact=True).click()
    page.wait_for_timeout(3000)
    page.keyboard.press("Escape")
    page.wait_for_timeout(1500)


def lens(page: Page) -> None:
    """The layer × token lens."""
    ask(page)
    finish(page)
    page.get_by_role("link", name="Divergence").click()
    page.get_by_text("Click a token").wait_for(timeout=60_000)
    page.get_by_text("Layer by layer: where in the model").click()
    page.get_by_text("Mean over these tokens, by layer").wait_for(timeout=120_000)
    page.get_by_text("Layer by layer:").last.evaluate("e => e.scrollIntoView()")
    page.wait_for_timeout(2500)


def mixer(page: Page) -> None:
    """The live mixer."""
    _layers(page)


def sweeps(page: Page) -> None:
    """Each layer alone and all but it."""
    _layers(page)
    page.get_by_text("Layer by layer", exact=True).click()
    page.get_by_text("sets of layers for the work").wait_for(timeout=120_000)
    page.wait_for_timeout(1500)


def grid(page: Page) -> None:
    """The patch grid, quick and exact."""
    _layers(page)
    page.get_by_text("Where in the text", exact=True).click()
    page.get_by_role("button", name="Compute every cell").click(timeout=120_000)
    page.get_by_text("Rank correlation").wait_for(timeout=60_000)
    page.get_by_text("by numerical noise").wait_for(timeout=200_000)
    page.get_by_text("At a glance").evaluate("e => e.scrollIntoView()")
    page.wait_for_timeout(1500)


def search(page: Page) -> None:
    """The smallest sets with their controls."""
    _layers(page)
    page.get_by_text("Smallest sets", exact=True).click()
    page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_text("Interaction:").wait_for(timeout=500_000)
    page.get_by_text("Searching").wait_for(state="hidden", timeout=500_000)
    page.wait_for_timeout(1500)


def checks(page: Page) -> None:
    """The identities on this text."""
    _layers(page)
    page.get_by_text("Checks", exact=True).click()
    page.get_by_text("the divergence of the output").wait_for(timeout=120_000)
    page.wait_for_timeout(1500)


def _layers(page: Page) -> None:
    ask(page)
    finish(page)
    page.get_by_role("link", name="Layers").click()
    page.get_by_text("logit-difference recovery").wait_for(timeout=120_000)
    page.wait_for_timeout(1000)


ASK = (empty, running, finished, words, forks, error, simple)
ON_DIVERGENCE = (why, token_layers, terms, lens)
ON_STUDY = (study_preview, study_finished, study_layers, study_simple)
ON_LAYERS = (mixer, sweeps, grid, search, checks)
STATES: dict[str, Callable[[Page], None]] = {
    **{f"ask-{state.__name__}": state for state in ASK},
    **{f"divergence-{state.__name__.replace('_', '-')}": state for state in ON_DIVERGENCE},
    **{f"layers-{state.__name__}": state for state in ON_LAYERS},
    "weights": weights,
    **{state.__name__.replace("_", "-"): state for state in ON_STUDY},
}


def main() -> None:
    """Takes the pictures named on the command line, or all."""
    chosen = sys.argv[1:] or list(STATES)
    with served() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for name in chosen:
            for theme in ("light", "dark"):
                page = opened(browser, address, theme)
                STATES[name](page)
                page.screenshot(path=IMAGES / f"{name}-{theme}.png")
                page.context.close()
                print(name, theme, flush=True)


if __name__ == "__main__":
    main()
