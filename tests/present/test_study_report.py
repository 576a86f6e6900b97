"""A study's report and a comparison: what they say, that nothing loads from a network, that files open."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from core.present.document_file import DocumentFile
from core.present.document_pdf import share_of_width
from core.present.figures import Figure
from core.present.report import to_json
from core.present.study_cards import Card, cards_of, questions_of
from core.present.study_comparison import comparison_document, comparison_figures
from core.present.study_figures import FIGURE_OF, QUESTION_OF, figures_of
from core.present.study_report import study_document
from core.study.compare import compare
from core.study.findings import QUESTIONS, Finding, Settings
from core.study.results import Results, findings_of, read_results
from tests.study.made_up import full_tables, made_up, record_of, write_study

QUICK = Settings(n_permutations=199, n_resamples=199)
PLANTED = {"medical": np.log(1.6), "loss": -0.1, "right": 0.3, "slope": 0.1, "shift": 0.3, "drift": 0.5}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return made_up(tmp_path_factory.mktemp("made-up") / "study", **PLANTED)


@pytest.fixture(scope="module")
def found(results: Results) -> tuple[Finding, ...]:
    return findings_of(results, QUICK)


@pytest.fixture(scope="module")
def figures(results: Results, found: tuple[Finding, ...]) -> dict[str, Figure]:
    return figures_of(results, found)


@pytest.fixture(scope="module")
def file(results: Results, found: tuple[Finding, ...], figures: dict[str, Figure]) -> DocumentFile:
    return DocumentFile(study_document(results, found, figures, ["study", "report", "my-study"]), "graft-study")


@pytest.fixture(scope="module")
def page(file: DocumentFile) -> str:
    return file.as_file("html").decode()


class Outline(HTMLParser):
    """Tags that are left open, ids, and where links point."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids += [values["id"]] if values.get("id") else []  # type: ignore[list-item]
        self.links += [values["href"]] if values.get("href") else []  # type: ignore[list-item]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_every_question_has_its_figures(figures: dict[str, Figure]) -> None:
    assert {QUESTION_OF[name] for name in figures} == set(QUESTIONS)
    assert set(FIGURE_OF.values()) <= set(QUESTION_OF)
    for figure in figures.values():
        json.dumps(figure.rows, allow_nan=False)
        assert all((figure.title, figure.legend, figure.limit, figure.noise_note))


def test_a_figure_is_drawn_from_its_rows(figures: dict[str, Figure]) -> None:
    rows = {row["label"]: row["value"] for row in figures["loss"].rows}
    assert set(rows) == {"medical text", "general text"}
    assert -0.12 < rows["medical text"] < -0.08
    assert [row["layer"] for row in figures["layers-single"].rows] == list(range(12))
    depth = figures["depth"].rows
    assert sum(row["who"] == "random adapter" for row in depth) == 39
    assert {row["label"].split()[0] for row in figures["sets"].rows} == {"3", "4"}
    assert "0 of 39" in figures["depth"].title
    assert {row["form"] for row in figures["top-words"].rows} == {"asthma", "fever", "heart"}


def test_cards_stand_by_question_primary_first(found: tuple[Finding, ...], figures: dict[str, Figure]) -> None:
    cards = cards_of(found, figures)
    by_number = {card.number: card for card in cards}
    assert by_number["1a"].effect.endswith("nats per token")
    assert by_number["1a"].sentence.startswith("Yes: the loss went from")
    assert "interval" not in by_number["1a"].sentence
    assert by_number["3a"].figure == "depth"
    assert cards_of(found)[0].figure is None
    questions = questions_of(cards)
    assert [one.number for one in questions] == list(QUESTIONS)
    assert all(card.primary for one in questions for card in one.primary)
    assert not any(card.primary for one in questions for card in one.others)
    assert questions_of(())[0].headline == "The study measured nothing that answers it."


def test_a_strip_keeps_the_order_of_its_places(found: tuple[Finding, ...]) -> None:
    cards: dict[str, Card] = {card.number: card for card in cards_of(found)}
    strip = cards["1a"].strip
    assert strip is not None
    assert 0 < strip.low < strip.value < strip.high < strip.least < strip.none < 1  # −0.1 lies left of −0.01 and of 0


def test_the_page_says_every_verdict_and_leads_everywhere(page: str, found: tuple[Finding, ...]) -> None:
    for one in found:
        card = page.partition(f'id="claim-{one.number}"')[2].partition("</article>")[0]
        assert one.claim in card
        assert f"{one.verdict}</p>" in card
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert {link.removeprefix("#") for link in outline.links} <= set(outline.ids)
    assert set(re.findall(r"url\(#([^)]*)\)", page)) <= set(outline.ids)
    assert "<title>What fine-tuning changed: made-up</title>" in page


def test_the_page_needs_no_network(page: str) -> None:
    assert not re.findall(r"(?:https?:)?//[a-z]", page)
    assert "<script" not in page
    assert not re.search(r"\bnan\b", page, re.IGNORECASE)


def test_no_difference_and_a_single_table_are_drawn_too(tmp_path: Path) -> None:
    tables = full_tables(change=0.0)
    same = read_results(write_study(tmp_path / "same", tables))
    found = findings_of(same, QUICK)
    assert {one.verdict for one in found if one.primary} == {"no difference to explain"}
    drawn = figures_of(same, found)
    assert not {"layers-single", "centres", "depth"} & set(drawn)  # nothing to bring back
    page = DocumentFile(study_document(same, found, {"loss": drawn["loss"]}, ["study"]), "same").as_file("html")
    assert b"The two models hardly differ here" in page
    alone = read_results(write_study(tmp_path / "alone", {n: tables[n] for n in ("prompts", "similarity")}))
    assert list(figures_of(alone, ())) == ["cka"]


def test_what_was_left_out_and_how_to_measure_again_is_said(page: str) -> None:
    for words in ("row 7 of medical", "m99: too long", "a" * 64, "f" * 64, "study run FOLDER", "study report my-study"):
        assert words in page


def test_the_pdf_opens_with_text_and_pages(file: DocumentFile, found: tuple[Finding, ...], tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    path.write_bytes(file.as_file("pdf"))
    assert path.read_bytes().startswith(b"%PDF-")
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext is not installed")
    text = subprocess.run(["pdftotext", path, "-"], capture_output=True, text=True, check=True).stdout
    assert "What fine-tuning changed: made-up" in text
    for verdict in {one.verdict for one in found}:
        assert verdict in text
    assert "‖" in text
    assert "−" in text


def test_a_tall_picture_keeps_to_its_page() -> None:
    """A4 has 297 mm, of which margins take 46 mm; what stands around a picture needs 40 mm."""
    for width, height in ((690, 300), (690, 4000), (400, 1200), (2000, 100)):
        share = share_of_width(width, height)
        assert 0 < share <= 1
        assert share * 166 * height / width <= 297 - 46 - 40


def test_an_unfinished_study_says_so_on_top(tmp_path: Path) -> None:
    tables = full_tables()
    own = {"prompts": tables["prompts"].iloc[34:46], "answers": tables["answers"]}
    stopped = read_results(write_study(tmp_path / "s", own, state="stopped", done=12))
    document = study_document(stopped, (), {}, ["study", "report", "s"])
    assert "not finished: 12 of 80 prompts" in document.notice
    assert "Figures and verdicts are of what there is." in document.notice
    assert "writing its tables again" not in document.notice
    assert document.subtitle.endswith("on 6 prompts of medical and 6 prompts of general")
    assert "The study measured nothing that answers it." in to_json(document.sections[0].blocks[0])


@pytest.mark.parametrize("state", ["running", "stopped", "finished"])
def test_tables_that_are_behind_the_study_say_of_how_many_prompts_they_are(tmp_path: Path, state: str) -> None:
    tables = full_tables()
    prompts = tables["prompts"].iloc[37:44].assign(left_out=["too long", *[None] * 6])
    own = {"prompts": prompts, "answers": tables["answers"]}
    behind = read_results(write_study(tmp_path / "s", own, state=state, done=12))
    document = study_document(behind, (), {}, ["study", "report", "s"])
    assert ("not finished: 12 of 80 prompts" in document.notice) == (state != "finished")
    assert "are of 7 prompts; resuming the study, or writing its tables again, brings the rest." in document.notice
    assert "of what there is" not in document.notice
    assert document.subtitle.endswith("on 2 prompts of medical and 4 prompts of general")


def test_a_comparison_draws_both(
    results: Results, found: tuple[Finding, ...], figures: dict[str, Figure], tmp_path: Path
) -> None:
    facts = {**record_of()["facts"], "tuned_id": "other/id"}
    other = read_results(write_study(tmp_path / "b", full_tables(1), facts=facts))
    of_other = findings_of(other, QUICK)
    compared = compare(results, other, found, of_other, n_resamples=99)
    drawn = comparison_figures(compared, results, other, figures, figures_of(other, of_other))
    assert {row["series"] for row in drawn["compare-layers-single"].rows} == {"A", "B"}
    assert {row["series"] for row in drawn["claims"].rows} == {"A", "B"}
    document = comparison_document(compared, results, other, drawn, ["study", "compare", "a", "b"])
    page = DocumentFile(document, "both").as_file("html").decode()
    assert "other/id" in page
    too_short = "Intervals of fewer than 10 documents are too short."
    assert too_short not in page
    few = compare(results, other, (replace(found[0], n=9),), of_other, n_resamples=99)
    document = comparison_document(few, results, other, {}, ["study", "compare", "a", "b"])
    assert too_short in DocumentFile(document, "few").as_file("html").decode()
    assert not re.findall(r"(?:https?:)?//[a-z]", page)
    outline = Outline()
    outline.feed(page)
    assert len(outline.ids) == len(set(outline.ids))
