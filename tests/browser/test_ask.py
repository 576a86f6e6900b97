"""A person asks, watches, stops, changes layers."""

import gzip
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

RECORDED = Path(__file__).resolve().parents[2] / "assets" / "recorded" / "example.json.gz"
Visit = Callable[..., Page]
# A run of the tiny pair may end between two looks of a test; the page itself misses nothing.
_WATCH_FOR_STOP = """() => {
  window.sawStop = false;
  const look = () => {
    window.sawStop ||= [...document.querySelectorAll("button")].some(b => b.textContent.trim() === "Stop");
  };
  new MutationObserver(look).observe(document.body, { childList: true, subtree: true, characterData: true });
}"""


def ask(page: Page, question: str) -> None:
    """Types a question, presses Run, and returns when the run has begun: the page has shown its Stop button."""
    page.get_by_role("textbox", name="Question").fill(question)
    page.evaluate(_WATCH_FOR_STOP)
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_function("window.sawStop", timeout=30_000)
    expect(page.get_by_text("A recorded example")).to_be_hidden()


def lanes(page: Page) -> Locator:
    return page.locator("[data-testid=lane]")


def wait_until_done(page: Page, timeout: float = 120_000) -> None:
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_hidden(timeout=timeout)
    expect(page.locator("[data-testid=lane][data-running=yes]")).to_have_count(0)
    page.get_by_text("In plain words").wait_for()


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


_WATCH_LANES = """() => {
  window.seen = [];
  const look = () => {
    const hosts = [...document.querySelectorAll("*")].filter((element) => element.shadowRoot);
    const lanes = hosts.flatMap((host) => [...host.shadowRoot.querySelectorAll("[data-testid=lane]")]);
    const running = lanes.filter((lane) => lane.dataset.running === "yes");
    const state = running.map((lane) => (lane.querySelector(".token") ? "x" : "-")).join("");
    if (state && state !== window.seen.at(-1)) window.seen.push(state);
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""


def test_a_long_question_shows_the_first_lane_before_the_others(visit: Visit, demo_app: str) -> None:
    page = visit(f"{demo_app}/?max_new_tokens=20")
    page.evaluate(_WATCH_LANES)
    ask(page, "She is 34, her joints have been stiff in the mornings for six weeks, and both hands are swollen. " * 8)
    wait_until_done(page)
    seen = page.evaluate("window.seen")
    assert seen[:3] == ["---", "x--", "xxx"]
    assert all(lane_text(page, number).strip() for number in range(3))


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
    field.fill("none")
    field.press("Enter")
    expect(squares.nth(1)).to_have_attribute("aria-pressed", "false")
    squares.nth(1).click()  # the same choice as before, sent once more
    expect(field).to_have_value("1")


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
    other.keyboard.press("Escape")
    expect(lanes(other).first.locator(".token").first).to_be_visible()
    expect(other.get_by_text("A recorded example")).to_be_hidden()
    assert [lane_text(other, number) for number in range(3)] == text
    ask(other, "What is a troponin?")  # goes back to the latest run, away from the uploaded one
    deadline = time.monotonic() + 20
    while lane_text(other, 2) == text[2] and time.monotonic() < deadline:
        other.wait_for_timeout(200)
    wait_until_done(other)
    assert lane_text(other, 2) != text[2]


def asked_of_two_hybrids(visit: Visit, address: str) -> Page:
    """A finished run of four lanes."""
    page = visit(address)
    page.get_by_role("button", name="Add a hybrid").click()
    page.get_by_role("textbox", name="its name").wait_for()
    ask(page, "What is asthma?")
    expect(lanes(page)).to_have_count(4, timeout=20_000)
    wait_until_done(page)
    return page


def test_a_second_hybrid_stands_beside_the_first(visit: Visit, tiny_app: str) -> None:
    page = asked_of_two_hybrids(visit, tiny_app)
    titles = lanes(page).locator(".title").all_text_contents()
    assert [title.split(" (")[0] for title in titles] == ["Base", "Hybrid", "Hybrid 2", "Fine-tuned"]
    assert lane_text(page, 1) != lane_text(page, 2)


def test_no_lane_stands_alone_under_the_others(visit: Visit, tiny_app: str) -> None:
    page = asked_of_two_hybrids(visit, tiny_app)
    for width, rows in ((1900, [4]), (1100, [2, 2]), (420, [1, 1, 1, 1])):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_timeout(1000)
        boxes = [lanes(page).nth(k).bounding_box() for k in range(4)]
        tops = [round(box["y"]) for box in boxes if box]
        assert [tops.count(top) for top in sorted(set(tops))] == rows, width


def test_texts_begin_on_one_line_however_long_a_name_is(visit: Visit, tiny_app: str) -> None:
    page = visit(tiny_app)
    page.get_by_role("button", name="Add a hybrid").click()
    name = page.get_by_role("textbox", name="its name")
    name.fill("As long as a name may be")
    name.press("Enter")
    page.wait_for_timeout(1000)
    ask(page, "What is asthma?")
    wait_until_done(page)
    heads = [lanes(page).nth(k).locator(".title").bounding_box() for k in range(3)]
    firsts = [lanes(page).nth(k).locator(".token").first.bounding_box() for k in range(3)]
    assert len({round(box["height"]) for box in heads if box}) > 1  # a name that takes two lines
    assert len({round(box["y"]) for box in firsts if box}) == 1


def test_answers_that_are_all_kept_can_be_clicked(visit: Visit, tiny_app: str) -> None:
    """A hybrid taken away leaves a run that has nothing to ask of the worker."""
    page = asked_of_two_hybrids(visit, tiny_app)
    text = lane_text(page, 0)
    page.get_by_role("button", name="Remove").last.click()
    page.get_by_role("button", name="Run", exact=True).click()
    expect(lanes(page)).to_have_count(3, timeout=20_000)
    lanes(page).nth(0).locator(".token").nth(4).click()
    expect(page.locator(".st-key-fork-panel-lanes")).to_contain_text("Token 4 (counted from 0) of Base's answer")
    assert page.locator("[data-testid=stException]").count() == 0
    assert lane_text(page, 0) == text


def test_words_are_compared_side_by_side(visit: Visit, tiny_app: str) -> None:
    page = visit(tiny_app)
    ask(page, "What is asthma?")
    wait_until_done(page)
    page.get_by_role("radio", name="Fine-tuned").or_(
        page.locator("[data-testid=stButtonGroup]").last.get_by_text("Fine-tuned", exact=True)
    ).first.click()
    sides = page.locator("[data-testid=diff-side] .side-text")
    expect(sides).to_have_count(2)
    words = "".join(lanes(page).first.locator(".token:not([data-part=end]) .ink").all_text_contents())
    assert "".join(sides.first.text_content().split())[:20] == "".join(words.replace("↵", "").split())[:20]


def test_an_answer_is_continued_from_a_clicked_token(visit: Visit, tiny_app: str) -> None:
    page = visit(f"{tiny_app}/?max_new_tokens=30")
    ask(page, "What is asthma?")
    wait_until_done(page)
    before = [lane_text(page, number) for number in range(3)]
    lanes(page).nth(0).locator(".token").nth(4).click()
    panel = page.locator(".st-key-fork-panel-lanes")
    expect(panel).to_contain_text("Token 4 (counted from 0) of Base's answer")
    expect(panel).to_be_in_viewport()
    expect(lanes(page).nth(0).locator(".token").nth(4)).to_have_class(re.compile("picked"))
    page.wait_for_timeout(1000)  # the panel glides into view; a menu opened meanwhile closes
    panel.get_by_role("combobox", name="put in instead").click()
    page.get_by_role("option", name="a text of your own").click()
    panel.get_by_role("textbox", name="the text").fill(" aspirin")
    panel.get_by_role("textbox", name="the text").press("Enter")
    panel.get_by_role("combobox", name="who writes on").click()
    page.get_by_role("option", name="Fine-tuned").click()
    panel.get_by_role("button", name="Continue from here").click()
    expect(lanes(page)).to_have_count(4, timeout=20_000)
    wait_until_done(page)
    expect(panel).to_be_hidden()
    fork = lanes(page).nth(3)
    expect(fork.locator(".title")).to_have_text(
        "Fork 1: Base's answer from token 4 with “ aspirin”, Fine-tuned writes on"
    )
    expect(fork.locator(".shared-note")).to_have_text("4 tokens as in Base's answer.")
    assert [lane_text(page, number) for number in range(3)] == before
    assert " aspirin" in lane_text(page, 3)
    colours = [lanes(page).nth(number).locator(".title").evaluate("e => e.style.color") for number in (2, 3)]
    assert colours[0] == colours[1]  # the fine-tuned model's
    assert fork.locator(".token.parted").count() == 1
    assert fork.bounding_box()["y"] > lanes(page).nth(0).bounding_box()["y"]  # below the others
    fork.locator(".token").nth(2).click()
    expect(panel).to_contain_text("Token 2 (counted from 0) of Fork 1's answer")


def test_two_thousand_tokens_are_walked_and_scrolled_without_lag(visit: Visit, tiny_app: str, tmp_path: Path) -> None:
    fields = json.loads(gzip.decompress(RECORDED.read_bytes()))
    for lane in fields["lanes"]:
        for part in (lane, lane["answer"]):
            for name in ("tokens", "ids", "parts"):
                if name in part:
                    part[name] = (part[name] * 2000)[:2000]
    file = tmp_path / "long.json"
    file.write_text(json.dumps(fields))
    page = visit(tiny_app)
    page.get_by_role("button", name="Runs").click()
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_text("Added to the runs").wait_for(timeout=60_000)
    page.keyboard.press("Escape")
    expect(lanes(page).first.locator(".token")).to_have_count(2000, timeout=30_000)
    page.wait_for_timeout(1000)
    slowest = page.evaluate(MEASURE_FRAMES)
    print(f"median and slowest frame, ms: {slowest}")
    assert slowest["median"] < 50
    assert slowest["worst"] < 250


# Walks 60 tokens with the arrow key, one a frame, and gives the time from key to painted frame.
MEASURE_FRAMES = """async () => {
  const hosts = [...document.querySelectorAll('*')].filter((e) => e.shadowRoot);
  const strip = hosts.map((e) => e.shadowRoot.querySelector('.lanes')).find((e) => e)
    || document.querySelector('.lanes');
  const tokens = [...strip.querySelectorAll('.lane')[1].querySelectorAll('.token')];
  tokens[1000].focus();
  const times = [];
  for (let k = 0; k < 60; k++) {
    const start = performance.now();
    const active = strip.getRootNode().activeElement;
    active.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true}));
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  return {median: times[30], worst: times[59]};
}"""
