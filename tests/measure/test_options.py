"""Options found where a person sees some, and nowhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.measure.options import LETTERS, Options, parse_options

ASKED = "Which drug relieves an asthma attack?"


@pytest.mark.parametrize(
    "written",
    [
        "\nA. Salbutamol\nB. Warfarin\nC. Insulin",
        "\nA) Salbutamol\nB) Warfarin\nC) Insulin",
        "\nA)Salbutamol\nB)Warfarin\nC)Insulin",
        "\n(A) Salbutamol\n(B) Warfarin\n(C) Insulin",
        "\nA: Salbutamol\nB: Warfarin\nC: Insulin",
        "\n\n  A. Salbutamol  \n\n  B. Warfarin\n\n  C. Insulin\n",
        "\r\nA. Salbutamol\r\nB. Warfarin\r\nC. Insulin",
        "\nA. Salbutamol\nB. Warfarin\nC. Insulin\n\nAnswer with a letter.",
        " A) Salbutamol B) Warfarin C) Insulin",
        " A) Salbutamol, B) Warfarin, C) Insulin",
        "\nA) Salbutamol B) Warfarin\nC) Insulin\nThink first.",
        " (A) Salbutamol (B) Warfarin (C) Insulin",
        " (A) Salbutamol; (B) Warfarin; (C) Insulin",
    ],
)
def test_the_ways_options_are_written(written: str) -> None:
    assert parse_options(ASKED + written) == Options(ASKED, ("A", "B", "C"), ("Salbutamol", "Warfarin", "Insulin"))


@pytest.mark.parametrize(
    ("question", "texts"),
    [
        ("Which of these treats it A) salbutamol (inhaled) B) warfarin", ("salbutamol (inhaled)", "warfarin")),
        ("Yes or no?\nA. Yes\nB. No", ("Yes", "No")),
        ("Pick:\nA. 1\nB. 2\nC. 3\nD. 4\nE. 5", ("1", "2", "3", "4", "5")),
        ("Q: Which?\nA) vitamin B\nB) a C. difficile toxin", ("vitamin B", "a C. difficile toxin")),
        ("Is hepatitis A worse than (hepatitis B)? A) yes B) no", ("yes", "no")),
        ("What is 'fever'? (A) heat (B) cold", ("heat", "cold")),
    ],
)
def test_what_options_may_hold(question: str, texts: tuple[str, ...]) -> None:
    found = parse_options(question)
    assert found is not None
    assert found.texts == texts
    assert found.letters == tuple("ABCDE"[: len(texts)])


@pytest.mark.parametrize(
    "prose",
    [
        "",
        "A patient has chest pain. Because of it he cannot sleep.",
        "A patient comes in.\nBefore that he was well.\nC is wrong.",
        "I take vitamin A. Then B. Then C. Is that safe?",
        "Vitamin B. Then C.",
        "Is hepatitis A. or hepatitis B. worse?",
        "Compare (hepatitis A) and (hepatitis B).",
        "Blood groups (A) and (B) differ, and so do (AB) and (O).",
        "What do panels (A) and (B) show?",
        "What do they show? (A) and (B) look alike.",
        "The drug (A) was compared with placebo (B) in a trial. Was that fair?",
        "What is P(A) when P(B) is known?",
        "Q: What is asthma?\nA: A disease of the airways.",
        "Doctor and patient talk.\nA: How are you?\nB: Well.\nA: And the cough?\nB: Gone.",
        "A. Smith wrote the book.\nIt was published in 1900.\nB. Jones disagreed.",
        "Who was right?\nA. Smith wrote the book.\nIt was published in 1900.\nB. Jones disagreed.",
        "A. Salbutamol\nB. Warfarin",
        "Which?\nA. One option",
        "Which?\nB. One\nC. Two",
        "Which?\nA. One\nC. Two",
        "Which?\nA. One\nB. Two\nB. Three",
        "Which?\nA. One\nB. Two\nC. Three\nD. Four\nE. Five\nF. Six",
        "Which? A) one B) two C) three D) four E) five F) six",
        "Which?\na. one\nb. two",
        "Which?\nA.\nB.",
        "See appendix A) and, much later,\n\nin another part B) of the text.",
    ],
)
def test_prose_and_broken_lists_have_no_options(prose: str) -> None:
    assert parse_options(prose) is None


words = (
    st.text(alphabet="abcdefgh xyz", min_size=1, max_size=20)
    .map(str.strip)
    .filter(lambda text: bool(text) and text not in ("and", "or"))
)


@given(st.lists(words, min_size=2, max_size=5), st.sampled_from(["{}. ", "{}) ", "({}) ", "{}: "]))
def test_written_options_are_read_back(texts: list[str], style: str) -> None:
    lines = [style.format(letter) + text for letter, text in zip(LETTERS, texts, strict=False)]
    assert parse_options("\n".join(["What is it?", *lines])) == Options(
        "What is it?", tuple(LETTERS[: len(texts)]), tuple(texts)
    )


@given(st.text(alphabet="ABCDEF().: \nxyz,"))
def test_any_text_gives_whole_options_or_none(text: str) -> None:
    found = parse_options(text)
    if found:
        assert "".join(found.letters) == LETTERS[: len(found.texts)]
        assert len(found.texts) >= 2
        assert all(option in text and option.strip() for option in found.texts)
