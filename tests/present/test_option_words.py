"""Letters in words and rows."""

import pytest

from core.measure.multiple_choice import LetterChoice
from core.measure.options import Options
from core.present.option_words import LIMITS, mass_warnings, option_rows, option_texts, option_words
from core.present.texts import percent

CALLED = {"base": "Base", "hybrid": "Upper", "tuned": "Fine-tuned"}


def letters(*p: float, mass: float = 0.9, noise: float = 1e-5) -> LetterChoice:
    chosen = "ABCDE"[max(range(len(p)), key=lambda k: p[k])]
    return LetterChoice(tuple("ABCDE"[: len(p)]), p, chosen, mass, "A", False, noise)


def test_a_flip_is_said() -> None:
    choices = {"base": letters(0.2, 0.62, 0.18), "hybrid": letters(0.3, 0.6, 0.1), "tuned": letters(0.3, 0.22, 0.48)}
    assert option_words(choices, CALLED) == (
        "Asked once more for a letter only, Base puts B first (62 %), Fine-tuned C (48 %): the letter flipped. "
        "Upper stays with B."
    )
    rows = option_rows(choices, CALLED)
    assert [row["against Base"] for row in rows] == ["–", "the same", "flipped"]
    assert [row["chooses"] for row in rows] == ["B", "B", "C"]
    assert (rows[0]["A"], rows[0]["B"], rows[0]["C"]) == ("20 %", "62 %", "18 %")


def test_no_flip_is_said_and_a_hybrids_own_is() -> None:
    choices = {"base": letters(0.7, 0.3), "hybrid": letters(0.4, 0.6), "tuned": letters(0.6, 0.4)}
    assert option_words(choices, CALLED) == (
        "Asked once more for a letter only, Base and Fine-tuned both put A first (70 % and 60 %). Upper flips it to B."
    )


def test_a_tie_is_no_choice() -> None:
    tied = {"base": letters(0.5, 0.5), "tuned": letters(0.49999, 0.50001, noise=1e-4)}
    assert "For Base and Fine-tuned two letters are as good as tied" in option_words(tied, CALLED)
    assert "tied" not in option_words({"base": letters(0.5, 0.4, 0.1), "tuned": letters(0.6, 0.4)}, CALLED)


def test_models_that_would_rather_not_answer_with_a_letter() -> None:
    choices = {"base": letters(0.7, 0.3, mass=0.003), "tuned": letters(0.6, 0.4, mass=0.8)}
    assert mass_warnings(choices, CALLED) == (
        "Base would rather not answer with a letter: only 0.3 % of its probability falls on letters, so its choice "
        "among them says little.",
    )
    assert "letter: less than 0.1 % of its" in mass_warnings({"tuned": letters(0.6, 0.4, mass=1e-5)}, CALLED)[0]
    assert [row["on letters at all"] for row in option_rows(choices, CALLED)] == ["0.3 %", "80 %"]


def test_nothing_is_called_right() -> None:
    said = option_words({"base": letters(0.7, 0.3), "tuned": letters(0.4, 0.6)}, CALLED)
    assert not {"right", "correct", "better", "wrong"} & set(said.lower().replace(":", "").split())
    assert "Which letter is right is not known here." in LIMITS


def test_what_the_letters_stand_for() -> None:
    assert option_texts(Options("Which?", ("A", "B"), ("a lung\ndisease", "a test"))) == "A: a lung disease · B: a test"


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0, "0 %"), (0.0004, "< 0.1 %"), (0.003, "0.3 %"), (0.0994, "9.9 %"), (0.0996, "10 %"), (0.624, "62 %"),
     (0.99, "99 %"), (0.9999, "> 99 %"), (1, "100 %")],
)  # fmt: skip
def test_shares_are_never_rounded_to_certainty(share: float, shown: str) -> None:
    assert percent(share) == shown
