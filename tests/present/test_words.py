from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.generate.record import LaneAnswer
from core.measure.tokens import TokenScore
from core.pair.parts import Part
from core.present.words import LIMITS, in_plain_words, surprising_words, word_at, words_of_tokens
from tests.tokens import token

SMILE = "😀".encode()


def _text(*contents: str | bytes, ranks: tuple[int | None, ...] = (), part: Part = "answer") -> list[TokenScore]:
    """Tokens of one part; ranks in base, 1 where not given."""
    filled = [*ranks, *[1] * (len(contents) - len(ranks))]
    return [token(content, part, rank_base=rank) for content, rank in zip(contents, filled, strict=True)]


def _answer(name: str, *ids: int) -> LaneAnswer:
    return LaneAnswer(
        name=name, gates=[[0.0, 0.0]], text="", ids=ids,
        parts=tuple("end" if i < 0 else "answer" for i in ids), finished="length",
        reasoning_finished=None, kl_to_base=None, kl_to_tuned=None, repetition=None, tokens_per_second=None,
    )  # fmt: skip


def _sentence(base: tuple[int, ...], tuned: tuple[int, ...], tokens: list[TokenScore]) -> str:
    return in_plain_words(_answer("base", *base), _answer("tuned", *tuned), tokens)


class TestWordAt:
    @pytest.mark.parametrize(
        ("contents", "words"),
        [
            (["Asth", "ma", " is", " chron", "ic", "."], [1, 1, 2, 3, 3, 3]),
            ([" Asth", "ma"], [1, 1]),
            (["Yes", "\n\n", "Take", " it"], [1, 2, 2, 3]),
            (["Hi", " " + "é", "t", "é"], [1, 2, 2, 2]),
            (["Hi ", SMILE[:2], SMILE[2:], "x"], [1, 2, 2, 2]),
            ([SMILE[:2], SMILE[2:], " x"], [1, 1, 2]),
            (["\n", "A", " b"], [1, 1, 2]),
        ],
    )
    def test_numbers_from_one(self, contents: list[str | bytes], words: list[int]) -> None:
        tokens = _text(*contents)
        numbers = words_of_tokens(tokens)
        assert [word_at(numbers, index) for index in range(len(tokens))] == words


_word = st.text(st.characters(categories=["L", "Nd", "P"]), min_size=1, max_size=6)


@st.composite
def _cut_words(draw: st.DrawFn) -> list[str]:
    """Tokens of words cut anywhere; the first token of all words but the first begins with a space."""
    tokens = []
    for word in draw(st.lists(_word, min_size=1, max_size=8)):
        cut = draw(st.integers(1, len(word)))
        tokens += [(" " if tokens else "") + word[:cut], word[cut:]]
    return [content for content in tokens if content]


class TestSurprisingWords:
    @pytest.mark.parametrize(("rank", "expected"), [(1, 0), (3, 0), (4, 1), (5000, 1), (None, 0)])
    def test_below_the_third_choice(self, rank: int | None, expected: int) -> None:
        assert surprising_words(_text("Yes", " it", " is", ranks=(1, rank))) == (expected, 3)

    def test_a_word_counts_once_however_many_of_its_tokens_surprise(self) -> None:
        assert surprising_words(_text("Asth", "ma", " is", " chron", "ic", ranks=(9, 9, 1, 1, 7))) == (2, 3)

    def test_blank_space_surprises_nobody(self) -> None:
        assert surprising_words(_text("Yes", "\n\n", "No", ranks=(1, 99, 1))) == (0, 2)

    def test_headings_and_the_end_are_left_out(self) -> None:
        heading = _text("## Thinking", "\n\n", ranks=(50, 50), part="format")
        end = _text("<|im_end|>", ranks=(50,), part="end")
        assert surprising_words([*heading, *_text("It", " is", ranks=(9,), part="reasoning"), *end]) == (1, 2)

    def test_no_words(self) -> None:
        assert surprising_words([]) == (0, 0)
        assert surprising_words(_text("## Thinking", ranks=(50,), part="format")) == (0, 0)

    @given(_cut_words())
    @settings(deadline=None)
    def test_words_are_counted_however_they_are_cut(self, contents: list[str]) -> None:
        n_words = len("".join(contents).split())
        assert surprising_words(_text(*contents, ranks=(9,) * len(contents))) == (n_words, n_words)
        assert surprising_words(_text(*contents)) == (0, n_words)

    @given(_cut_words(), st.integers(0, 15))
    @settings(deadline=None)
    def test_one_surprising_token_is_one_surprising_word(self, contents: list[str], place: int) -> None:
        ranks = (1,) * (place % len(contents)) + (4,)
        assert surprising_words(_text(*contents, ranks=ranks)) == (1, len("".join(contents).split()))

    def test_a_heading_separates_words(self) -> None:
        heading = _text("\n\n## Final Response\n\n", part="format")
        reasoning, answer = _text("done.", ranks=(9,), part="reasoning"), _text("It", ranks=(9,))
        assert surprising_words([*reasoning, *heading, *answer]) == (2, 2)

    def test_a_split_character_can_surprise(self) -> None:
        assert surprising_words(_text(SMILE[:2], SMILE[2:], " ok", ranks=(9, 9, 1))) == (1, 2)


class TestSentences:
    TOKENS = ("Asth", "ma", " is", " chron", "ic")

    def test_the_same_answer(self) -> None:
        base, tuned = (replace(_answer(name, 1, 2, 3), finished="end") for name in ("base", "tuned"))
        assert in_plain_words(base, tuned, _text("A", " b", " c")) == (
            "Both models wrote the same answer, word for word. "
            "Of its 3 words, none would have surprised the base model."
        )

    @pytest.mark.parametrize(
        ("base", "tuned", "begins"),
        [
            (False, False, "Neither model came to the end"),
            (False, True, "Base did not come to the end"),
            (None, False, "The fine-tuned model did not come to the end"),
        ],
    )
    def test_reasoning_that_is_not_finished_is_no_answer(
        self, base: bool | None, tuned: bool | None, begins: str
    ) -> None:
        one = replace(_answer("base", 1, 2, 3), reasoning_finished=base)
        other = replace(_answer("tuned", 1, 5, 3), reasoning_finished=tuned)
        sentence = in_plain_words(one, other, _text("A", " b", " c"))
        assert sentence.startswith(begins)
        assert "The fine-tuned model wrote differently from word 2 on." in sentence
        assert "answer" not in sentence

    def test_answers_that_were_cut_are_the_same_only_so_far(self) -> None:
        sentence = _sentence((1, 2, 3), (1, 2, 3), _text("A", " b", " c"))
        assert sentence.startswith("As far as they were written, both answers are the same")

    def test_two_empty_answers_are_not_the_same_answer(self) -> None:
        assert _sentence((), (), []) == "There are no two answers to compare."

    @pytest.mark.parametrize(("base", "tuned"), [((1, 2), (1, 2, 3, 4, 5)), ((1, 2, 3, 4, 5, 6), (1, 2, 3, 4, 5))])
    def test_one_answer_begins_the_other(self, base: tuple[int, ...], tuned: tuple[int, ...]) -> None:
        sentence = _sentence(base, tuned, _text(*self.TOKENS))
        assert sentence.startswith("One answer is the beginning of the other. Of its 3 words, none")

    @pytest.mark.parametrize(
        ("parted", "where"), [(0, "from the first word on"), (1, "from the first word on"), (2, "from word 2 on"),
                              (3, "from word 3 on"), (4, "from word 3 on")],
    )  # fmt: skip
    def test_where_the_answers_part(self, parted: int, where: str) -> None:
        base = tuple(99 if place == parted else place for place in range(5))
        sentence = _sentence(base, tuple(range(5)), _text(*self.TOKENS))
        assert sentence.startswith(f"The fine-tuned model answered differently {where}. ")

    def test_surprising_words_are_counted_and_explained(self) -> None:
        sentence = _sentence((9, 9), (1, 2, 3, 4, 5), _text(*self.TOKENS, ranks=(1, 8, 1, 4)))
        assert sentence == (
            "The fine-tuned model answered differently from the first word on. "
            "Of its 3 words, 2 would have surprised the base model: "
            "it would have put at least three other tokens first."
        )

    def test_a_single_word(self) -> None:
        assert "Of its 1 word, none" in _sentence((1,), (2,), _text("Yes"))
        assert "Of its 1 word, 1 would" in _sentence((1,), (2,), _text("Yes", ranks=(4,)))

    def test_headings_do_not_count_as_words_of_the_answer(self) -> None:
        heading = _text("## Thinking", "\n\n", ranks=(50, 50), part="format")
        sentence = _sentence((9,), (1, 2, 3, 4), [*heading, *_text("It", " is")])
        assert "Of its 2 words, none" in sentence

    def test_an_answer_without_words_has_no_word_count(self) -> None:
        heading = _text("## Thinking", part="format")
        assert _sentence((9,), (1,), heading) == "The fine-tuned model answered differently from the first word on."

    def test_sentences_do_not_judge(self) -> None:
        said = LIMITS + _sentence((9,), (1,), _text("Yes", ranks=(9,)))
        assert "!" not in said
        assert not {"better", "worse", "improved", "knows"} & set(said.lower().split())

    def test_an_answer_that_ends_earlier_is_the_beginning_of_the_other(self) -> None:
        end = _text("<|im_end|>", part="end")
        sentence = _sentence((1, 2, 3, 4), (1, 2, -1), [*_text("Take", " rest"), *end])
        assert sentence.startswith("One answer is the beginning of the other.")


@pytest.mark.parametrize(
    ("ended", "whose"),
    [
        (("stopped", "stopped"), "Both answers were stopped before their end"),
        (("failed", "end"), "Base's answer was stopped before its end"),
        (("end", "stopped"), "The fine-tuned model's answer was stopped before its end"),
    ],
)
def test_answers_that_were_stopped_are_not_told_as_whole(ended: tuple[str, str], whose: str) -> None:
    answers = [
        replace(_answer(name, *ids), finished=how)  # type: ignore[arg-type]
        for name, ids, how in zip(("base", "tuned"), ((1, 2), (1, 3)), ended, strict=True)
    ]
    said = in_plain_words(*answers, _text("Asthma", " is"))
    assert said.startswith(f"{whose}, so this is about what was written. ")
    assert "wrote differently" in said
    assert "stopped" not in _sentence((1, 2), (1, 3), _text("Asthma", " is"))
