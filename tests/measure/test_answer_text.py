"""Counts in answers whose words and terms are counted by hand."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from core.measure.answer_text import AnswerFigures, answer_figures
from core.pair.prompts import Message, PromptBuilder


def builder(folder: Path) -> PromptBuilder:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return PromptBuilder(tokenizer, [tokenizer.eos_token_id], 512)


@pytest.fixture(scope="module")
def chatml(llama_base: Path) -> PromptBuilder:
    return builder(llama_base)


@pytest.fixture(scope="module")
def thinking(qwen2_base: Path) -> PromptBuilder:
    return builder(qwen2_base)


def figures(prompts: PromptBuilder, text: str, end: bool = False) -> AnswerFigures:
    prompt = prompts.chat([Message(role="user", content="What is asthma?")])
    ids = prompts.answer_ids(text, end=end) if text else prompts.end_ids[: int(end)]
    return answer_figures(prompts, prompt, ids)


@pytest.mark.parametrize(
    ("text", "words", "terms"),
    [
        ("Take a walk.", 3, 0),
        # asthma, lung; the plural is the same term, and so is one in capitals
        ("Asthma narrows the lungs. ASTHMA of one lung.", 8, 2),
        ("A heart attack is no heart failure, and the heart is no lung.", 13, 4),
        # both spellings are entries of the lexicon
        ("Anaemia or anemia, oedema or edema", 6, 2),
        ("He doesn't have X-rays.", 5, 1),
        ("…!? — ##", 0, 0),
    ],
)
def test_words_and_distinct_terms(chatml: PromptBuilder, text: str, words: int, terms: int) -> None:
    found = figures(chatml, text)
    assert (found.words, found.medical_terms) == (words, terms)


def test_an_answer_without_reasoning_is_all_answer(chatml: PromptBuilder) -> None:
    text = "Asthma is a chronic disease."
    found, ended = figures(chatml, text), figures(chatml, text, end=True)
    assert found.answer_tokens == len(chatml.answer_ids(text))
    assert found.reasoning_tokens == 0
    assert found.reasoning_finished is None
    assert ended == found


def test_reasoning_and_answer_apart_without_headings(chatml: PromptBuilder) -> None:
    """The last word of the reasoning and the first of the answer stay two, and a term in both counts once."""
    text = "## Thinking\n\nPerhaps asthma\n\n## Final Response\n\nasthma"
    found = figures(chatml, text, end=True)
    pieces = [piece.text for piece in chatml.pieces(chatml.answer_ids(text))]
    first, last = "".join(pieces).index("Perhaps"), "".join(pieces).rindex("asthma")
    starts = [len("".join(pieces[:k])) for k in range(len(pieces))]
    heading = text.index("\n\n## Final")
    assert found.reasoning_tokens == sum(first <= start < heading for start in starts)
    assert found.answer_tokens == sum(start >= last for start in starts)
    assert (found.words, found.medical_terms) == (3, 1)
    assert found.reasoning_finished is True


@pytest.mark.parametrize(("text", "finished"), [("It may be", False), ("It may be</think>so", True)])
def test_reasoning_that_the_template_opened(thinking: PromptBuilder, text: str, finished: bool) -> None:
    found = figures(thinking, text)
    assert found.reasoning_finished is finished
    assert found.reasoning_tokens == len(thinking.answer_ids("It may be"))
    assert (found.answer_tokens > 0) is finished
    assert found.words == len(text.replace("</think>", " ").split())


def test_repetition_does_not_count_the_end(chatml: PromptBuilder) -> None:
    assert figures(chatml, "!!!!!").repetition == pytest.approx(1 / 2)  # of two 4-grams one is a repeat
    assert figures(chatml, "!!!!!", end=True).repetition == pytest.approx(1 / 2)
    assert figures(chatml, "!!!", end=True).repetition is None


@pytest.mark.parametrize("end", [False, True])
def test_an_empty_answer(chatml: PromptBuilder, thinking: PromptBuilder, end: bool) -> None:
    assert figures(chatml, "", end) == AnswerFigures(0, 0, None, None, 0, 0)
    assert figures(thinking, "", end) == AnswerFigures(0, 0, False, None, 0, 0)
