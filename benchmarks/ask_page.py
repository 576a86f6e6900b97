"""How quick the Ask page is, in Chromium, on the demo pair: `python -m benchmarks.ask_page [--runs 5] [--print-only]`.

The first token is compared with plain transformers and peft doing the same work: the first token of base, of a
hybrid (the upper layers' adapter scaled to 1, the others' to 0) and of the fine-tuned model, one call after another.
"""

import argparse
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs"))

from take_screenshots import FLAGS, served  # noqa: E402

from benchmarks.client import first_tokens_elsewhere  # noqa: E402
from benchmarks.common import question_of, spread, write  # noqa: E402
from core.pair.fetch import local_folder  # noqa: E402
from core.pair.registry import pair_spec  # noqa: E402

PROMPT_TOKENS = 200
LOOK_EVERY_MS = 20
LANES = """[...document.querySelectorAll("*")].flatMap((element) =>
  element.shadowRoot ? [...element.shadowRoot.querySelectorAll("[data-testid=lane]")] : [])"""
CAPTIONS = "[...document.querySelectorAll('[data-testid=stCaptionContainer]')]"


def case() -> str:
    """What is asked."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(local_folder(pair_spec("demo").base))

    def length(text: str) -> int:
        messages = [{"role": "user", "content": text}]
        return len(tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"])

    return question_of(PROMPT_TOKENS, length)


def fresh(browser: Browser, address: str, query: str = "") -> tuple[Page, float]:
    """A page of its own, ready to be asked, and how long that took."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    started = time.perf_counter()
    page.goto(f"{address}/{query}")
    page.get_by_role("button", name="Run", exact=True).wait_for(timeout=120_000)
    taken = time.perf_counter() - started
    page.wait_for_timeout(1500)
    return page, taken


def until(page: Page, condition: str) -> None:
    """Waits for a condition on `lanes`; looks often, where a locator would wait up to half a second between looks."""
    looked = f"() => {{ const lanes = {LANES}; return {condition}; }}"
    page.wait_for_function(looked, polling=LOOK_EVERY_MS, timeout=60_000)


def click_run(page: Page, question: str) -> None:
    """Types and runs."""
    page.get_by_role("textbox", name="Question").fill(question)
    page.get_by_role("button", name="Run", exact=True).click()


def first_tokens(browser: Browser, address: str, question: str, runs: int) -> list[tuple[float, float]]:
    """Seconds from the click until a lane shows a token of the new answer, and until every lane does."""
    taken = []
    for _ in range(runs):
        page, _ = fresh(browser, address, "?max_new_tokens=8")
        page.get_by_role("textbox", name="Question").fill(question)
        started = time.perf_counter()
        page.get_by_role("button", name="Run", exact=True).click()
        shown = []
        for n in (1, 3):
            begun = 'lanes.filter((l) => l.dataset.running === "yes" && l.querySelector(".token")).length'
            until(page, f"{begun} >= {n}")
            shown.append(time.perf_counter() - started)
        taken.append((shown[0], shown[1]))
        expect(page.get_by_role("button", name="Stop", exact=True)).to_be_hidden(timeout=60_000)
        page.context.close()
    return taken


def elsewhere(address: str, question: str, runs: int) -> list[tuple[float, float]]:
    """The same until messages with a token have arrived, where nothing is drawn."""
    return [first_tokens_elsewhere(address, question) for _ in range(runs)]


def both(name: str, taken: list[tuple[float, float]]) -> dict[str, Any]:
    """Spreads of when the first lane, and when all of them, showed a token."""
    return {f"{name}_s": spread([one for one, _ in taken]), f"{name}_all_lanes_s": spread([all_ for _, all_ in taken])}


def view_changes(browser: Browser, address: str, runs: int) -> list[float]:
    """Seconds from switching the simple view on until the mixer is gone, after a finished run."""
    page, _ = fresh(browser, address, "?max_new_tokens=60")
    click_run(page, "What is asthma?")
    page.get_by_role("button", name="Stop", exact=True).wait_for()
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_hidden(timeout=60_000)
    page.wait_for_timeout(1000)
    taken = []
    for _ in range(runs):
        for gone in (True, False):
            started = time.perf_counter()
            page.get_by_text("Simple view").click()
            until(page, f"lanes.length === {2 if gone else 3}")
            taken.append(time.perf_counter() - started)
            page.wait_for_timeout(700)
    page.context.close()
    return taken


def stops(browser: Browser, address: str, runs: int) -> tuple[list[float], list[int]]:
    """Seconds from Stop until the page says so, and tokens written after the click was made."""
    taken, written = [], []
    for _ in range(runs):
        page, _ = fresh(browser, address, "?max_new_tokens=300")
        click_run(page, "Explain at length how the heart works.")
        tokens = page.locator("[data-testid=lane]").first.locator(".token")
        page.locator("[data-testid=lane][data-running=yes] .token").nth(8).wait_for()
        before, started = tokens.count(), time.perf_counter()
        page.get_by_role("button", name="Stop", exact=True).click()
        until(page, 'lanes[0].querySelector(".note").textContent.includes("stopped")')
        taken.append(time.perf_counter() - started)
        written.append(tokens.count() - before)
        page.context.close()
    return taken, written


def closed_tabs(browser: Browser, address: str, runs: int) -> list[float]:
    """Seconds from closing a tab that is being answered until its rows have left the batch others write in."""
    taken = []
    for _ in range(runs):
        first, _ = fresh(browser, address, "?max_new_tokens=1000")
        second, _ = fresh(browser, address, "?max_new_tokens=1000")
        click_run(first, "Explain at length how the heart works.")
        first.locator("[data-testid=lane][data-running=yes] .token").nth(3).wait_for()
        click_run(second, "What is asthma?")
        second.get_by_text("beside 3 other lanes").wait_for()
        started = time.perf_counter()
        first.close()
        until(second, f"!{CAPTIONS}.some((caption) => caption.textContent.includes('Writing beside'))")
        taken.append(time.perf_counter() - started)
        second.get_by_role("button", name="Stop", exact=True).click()
        expect(second.get_by_role("button", name="Stop", exact=True)).to_be_hidden(timeout=60_000)
        second.context.close()
        first.context.close()
    return taken


@torch.no_grad()
def plain_first_tokens(question: str, runs: int) -> list[float]:
    """Seconds for the same three first tokens from plain transformers and peft, one `generate` after another."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    spec = pair_spec("demo")
    folder = local_folder(spec.base)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tuned: Any = PeftModel.from_pretrained(model, local_folder(spec.tuned), torch_device="cpu")
    tuned.eval()
    messages = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
    upper = [
        (layer, layer.scaling["default"])
        for name, layer in tuned.named_modules()
        if isinstance(getattr(layer, "scaling", None), dict) and int(name.split("layers.")[1].split(".")[0]) < 20
    ]

    def one() -> None:
        tuned.generate(**inputs, max_new_tokens=1, do_sample=False)

    taken = []
    for run in range(runs + 1):
        started = time.perf_counter()
        with tuned.disable_adapter():
            one()
        for layer, _ in upper:
            layer.scaling["default"] = 0.0
        one()
        for layer, scaling in upper:
            layer.scaling["default"] = scaling
        one()
        if run:
            taken.append(time.perf_counter() - started)
    return taken


def in_dtype(dtype: str, question: str, runs: int) -> dict[str, Any]:
    """First tokens with the pair in a number format: with Chromium on the machine, and without."""
    with served(GRAFT_DTYPE=dtype) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        fresh(browser, address)
        first_tokens(browser, address, question, 1)  # does not count
        page = first_tokens(browser, address, question, runs)
        browser.close()
        apart = elsewhere(address, question, runs)
    return both(f"first_token_{dtype}", page) | both(f"first_token_without_a_browser_{dtype}", apart)


def the_rest(runs: int) -> dict[str, Any]:
    """How long the page takes for everything but first tokens."""
    with served() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        cold = fresh(browser, address)[1]
        views = view_changes(browser, address, runs)
        stopped, written = stops(browser, address, runs)
        closed = closed_tabs(browser, address, runs)
        browser.close()
    return {
        "page_ready_cold_s": round(cold, 2),
        "view_change_s": spread(views),
        "stop_s": spread(stopped),
        "tokens_after_stop": written,
        "closed_tab_s": spread(closed),
    }


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], help="in which first tokens are timed")
    parser.add_argument("--only", choices=["first", "rest"], help="only first tokens, or only everything else")
    parser.add_argument("--print-only", action="store_true", help="keep nothing")
    arguments = parser.parse_args()
    runs, question, found = arguments.runs, case(), {}
    if arguments.only != "rest":
        for dtype in arguments.dtypes:
            found |= in_dtype(dtype, question, 2 * runs)
        plain = spread(plain_first_tokens(question, runs))
        found["first_token_plain_s"] = plain
        if (page := found.get("first_token_float32_all_lanes_s")) is not None:
            found["first_token_ratio_to_plain"] = round(page["median"] / plain["median"], 2)
    if arguments.only != "first":
        found |= the_rest(runs)
    write("ask_page", found, arguments.print_only)


if __name__ == "__main__":
    main()
