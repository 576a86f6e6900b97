"""Where two answers part, on answers written by hand."""

import math
from dataclasses import replace

import pytest

from core.measure.tokens import Choice, TokenScore
from core.present.forks import Fork
from core.present.parted import END, parted_rows, parted_words, where_they_part
from core.present.runs import LaneRun
from tests.present.lanes import lane
from tests.tokens import token

NOISE = 1e-4
TEXTS = {1: "Asthma", 2: " is", 3: " a", 4: " an", 5: " the", 6: "the", 9: "<end>"}


def choice(token_id: int, p: float) -> Choice:
    return Choice(token_id, TEXTS[token_id], math.log(p))


BASE_FIRST = (choice(3, 0.6), choice(5, 0.2), choice(2, 0.05))
TUNED_FIRST = (choice(4, 0.5), choice(3, 0.3), choice(2, 0.1))


def written(token_id: int, scored: bool = True, part: str = "answer", **more: object) -> TokenScore:
    """A token with what both models would have written in its place: base " a", fine-tuned " an"."""
    scores = {"kl_tuned_base": 0.7, "logp_base": math.log(0.01), "logp_tuned": math.log(0.02)}
    tops = {"top_base": BASE_FIRST, "top_tuned": TUNED_FIRST}
    made = token(TEXTS[token_id], part, **({**scores, **tops, **more} if scored else {}))  # type: ignore[arg-type]
    return replace(made, id=token_id)


def answer(name: str, *ids: int, **more: object) -> LaneRun:
    ends = more.get("finished") == "end"
    parts = ["end" if ends and place == len(ids) - 1 else "answer" for place in range(len(ids))]
    return lane(name, [written(i, part=part) for i, part in zip(ids, parts, strict=True)], **more)  # type: ignore[arg-type]


def words(base: LaneRun, other: LaneRun, name: str = "Fine-tuned") -> str:
    return parted_words(where_they_part(base, other), name, NOISE)


def test_the_first_token_that_differs_with_both_models_first_choices() -> None:
    found = where_they_part(answer("base", 1, 2, 3, 5), answer("tuned", 1, 2, 4, 5))
    assert (found.at, found.kl) == (2, 0.7)
    assert parted_words(found, "Fine-tuned", NOISE) == (
        "Base and Fine-tuned begin with the same 2 tokens. Then Base writes “a”, and Fine-tuned writes “an”. "
        "KL(tuned‖base) is 0.70 nats there: Base would put “a” first (60 %), Fine-tuned “an” (50 %)."
    )
    assert parted_rows(found, "Fine-tuned") == [
        {
            "token": "a", "under Base": "60 %", "under Fine-tuned": "30 %",
            "first choice of": "Base", "written by": "Base",
        },
        # what was written has its own score, though base does not have it among the choices it kept
        {
            "token": "an", "under Base": "1.0 %", "under Fine-tuned": "50 %",
            "first choice of": "Fine-tuned", "written by": "Fine-tuned",
        },
    ]  # fmt: skip


def test_a_first_choice_nobody_wrote_is_listed_and_what_was_not_kept_is_bounded() -> None:
    """A hybrid wrote the third token; fine-tuned's first choice was written by neither."""
    found = where_they_part(answer("base", 1, 3), answer("hybrid", 1, 5))
    by_token = {row["token"]: row for row in parted_rows(found, "Upper")}
    assert list(by_token) == ["a", "the", "an"]
    assert by_token["an"]["written by"] == "neither"
    assert by_token["an"]["under Base"] == "< 5.0 %"
    assert by_token["the"]["first choice of"] == "neither"
    assert by_token["the"]["written by"] == "Upper"


def test_from_the_first_token_on() -> None:
    assert words(answer("base", 3), answer("tuned", 4)).startswith("From the first token on they differ: Base writes")
    assert "begin with the same token. Then" in words(answer("base", 1, 3), answer("tuned", 1, 4))


@pytest.mark.parametrize(("end", "so_far"), [("end", ""), ("length", ", as far as they were written")])
def test_the_same_answer(end: str, so_far: str) -> None:
    sides = [answer(name, 1, 2, 9, finished=end) for name in ("base", "tuned")]
    assert words(*sides) == f"Base and Fine-tuned wrote the same answer, token for token{so_far}."


def test_an_answer_that_ends_where_the_other_goes_on() -> None:
    ended = words(answer("base", 1, 9, finished="end"), answer("tuned", 1, 4))
    assert "Then Base ends its answer, and Fine-tuned writes “an”." in ended
    cut = words(answer("base", 1, finished="length"), answer("tuned", 1, 4))
    assert "Then Base's answer was cut there, and Fine-tuned writes “an”." in cut
    stopped = words(answer("base", 1, 3), answer("tuned", 1, finished="stopped"))
    assert "and Fine-tuned's answer was stopped there." in stopped
    rows = parted_rows(where_they_part(answer("base", 1, 9, finished="end"), answer("tuned", 1, 4)), "Fine-tuned")
    assert rows[0]["token"] == END


def test_the_same_first_choice_is_said_so() -> None:
    top = {"top_base": BASE_FIRST, "top_tuned": (choice(3, 0.4), choice(4, 0.3))}
    sides = [lane(name, [written(i, **top)]) for name, i in (("base", 3), ("hybrid", 4))]
    assert words(*sides, "Upper").endswith(
        "though both models would put “a” first: Base gives it 60 %, Fine-tuned 40 %."
    )


def test_a_near_tie_is_said_and_a_clear_choice_is_not() -> None:
    close = {"top_base": (choice(3, 0.41), choice(4, 0.40)), "top_tuned": (choice(4, 0.42), choice(3, 0.40))}
    sides = [lane(name, [written(i, **close)]) for name, i in (("base", 3), ("tuned", 4))]
    assert "It was close" in words(*sides)
    assert "It was close" not in words(answer("base", 3), answer("tuned", 4))


def test_within_noise_no_difference_is_claimed() -> None:
    sides = [lane(name, [written(i, kl_tuned_base=NOISE / 2)]) for name, i in (("base", 3), ("tuned", 4))]
    said = words(*sides)
    assert "do not differ beyond numerical noise" in said
    assert "nats" not in said


def test_without_scores_nothing_is_made_up() -> None:
    sides = [lane(name, [written(i, scored=False)]) for name, i in (("base", 3), ("tuned", 4))]
    assert where_they_part(*sides).kl is None
    assert words(*sides).endswith("The models' choices at this token were not kept.")
    assert words(lane("base", []), answer("tuned", 1)) == "There are no two answers to compare."


def test_what_a_fork_was_given_is_not_said_to_be_written() -> None:
    base = answer("base", 1, 2, 3)
    own = answer("fork-1", 1, 4, 5, fork=Fork("base", 1, (4,), "tuned"))
    assert "Base writes “is”, and Fork 1 was given “an”." in words(base, own, "Fork 1")
    of_tuned = answer("fork-1", 1, 4, 5, 3, fork=Fork("tuned", 3, (3,), "tuned"))
    assert "still from the answer it was forked off" in words(base, of_tuned, "Fork 1")


def test_spaces_show_only_where_nothing_else_differs() -> None:
    top = {"top_base": (choice(5, 0.6), choice(6, 0.2)), "top_tuned": (choice(6, 0.6), choice(5, 0.2))}
    sides = [lane(name, [written(i, **top)]) for name, i in (("base", 5), ("tuned", 6))]
    assert [row["token"] for row in parted_rows(where_they_part(*sides), "Fine-tuned")] == ["␣the", "the"]
