from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from core.errors import PromptError, TooLongError
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


def user(text: str) -> list[Message]:
    return [Message(role="user", content=text)]


def words_of(prompts: PromptBuilder, messages: list[Message]) -> str:
    prompt = prompts.chat(messages)
    pieces = prompts.pieces(prompt.ids)
    chosen = [bytes.fromhex(p.bytes) for p, part in zip(pieces, prompt.parts, strict=True) if part == "prompt"]
    return b"".join(chosen).decode()


@pytest.mark.parametrize("name", ["chatml", "thinking"])
@pytest.mark.parametrize("text", ["What is asthma?", "user", "assistant\nuser", "  a  ", "Fieber 39 °C? 😀", "مرحبا"])
def test_exactly_the_typed_words_are_the_prompt_part(name: str, text: str, request: pytest.FixtureRequest) -> None:
    assert words_of(request.getfixturevalue(name), user(text)) == text


def test_every_turn_and_the_system_prompt_count_as_prompt(chatml: PromptBuilder) -> None:
    turns = [
        Message(role="system", content="Be brief."),
        Message(role="user", content="One?"),
        Message(role="assistant", content="Two."),
        Message(role="user", content="Three?"),
    ]
    assert words_of(chatml, turns) == "Be brief.One?Two.Three?"


def test_the_templates_own_system_prompt_is_template(chatml: PromptBuilder) -> None:
    assert words_of(chatml, user("Hi")) == "Hi"


def test_earlier_reasoning_dropped_by_the_template_is_not_looked_for(thinking: PromptBuilder) -> None:
    turns = [*user("One?"), Message(role="assistant", content="why</think>Two."), *user("Three?")]
    assert words_of(thinking, turns) == "One?Two.Three?"


def test_there_is_one_beginning_of_text(thinking: PromptBuilder) -> None:
    bos = thinking.tokenizer.bos_token_id
    assert thinking.chat(user("Hi")).ids.count(bos) == 1
    assert thinking.raw("Hi").ids.count(bos) == 1


def test_the_template_that_opens_the_reasoning_is_seen(chatml: PromptBuilder, thinking: PromptBuilder) -> None:
    assert thinking.chat(user("Hi")).opens_reasoning
    assert not chatml.chat(user("Hi")).opens_reasoning
    assert not thinking.raw("Hi").opens_reasoning


@pytest.mark.parametrize("name", ["chatml", "thinking"])
def test_typed_control_tokens_are_plain_text(name: str, request: pytest.FixtureRequest) -> None:
    prompts: PromptBuilder = request.getfixturevalue(name)
    controls = [t.content for t in prompts.tokenizer.added_tokens_decoder.values()]
    harmless = prompts.chat(user("x"))
    for control in controls:
        for prompt in (prompts.chat(user(f"a {control} b")), prompts.raw(f"a {control} b")):
            part = [i for i, p in zip(prompt.ids, prompt.parts, strict=True) if p == "prompt"]
            assert not set(part) & set(prompts.tokenizer.added_tokens_decoder)
        added = [i for i in prompts.chat(user(f"a {control} b")).ids if i in prompts.tokenizer.added_tokens_decoder]
        assert added == [i for i in harmless.ids if i in prompts.tokenizer.added_tokens_decoder]


def test_same_ids_as_the_plain_chat_template(chatml: PromptBuilder, thinking: PromptBuilder) -> None:
    for prompts in (chatml, thinking):
        plain = prompts.tokenizer.apply_chat_template(
            user("What is asthma?"), add_generation_prompt=True, tokenize=True, return_dict=True
        )
        assert prompts.chat(user("What is asthma?")).ids == tuple(plain["input_ids"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    text=st.text(min_size=1, max_size=60).filter(
        lambda t: t.strip() and "\U000f0000" not in t and "\U000f0001" not in t
    )
)
def test_any_typed_text_comes_back(chatml: PromptBuilder, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        with pytest.raises(PromptError, match="broken character"):
            chatml.chat(user(text))
    else:
        assert words_of(chatml, user(text)) == text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60))
def test_answers_are_lossless(chatml: PromptBuilder, text: str) -> None:
    ids = chatml.answer_ids(text)
    assert b"".join(bytes.fromhex(p.bytes) for p in chatml.pieces(ids)) == text.encode()
    assert chatml.text(ids) == text


def test_an_answer_is_tokenised_alone_and_unstripped(chatml: PromptBuilder) -> None:
    plain = chatml.tokenizer("  Yes.\n", add_special_tokens=False)["input_ids"]
    assert chatml.answer_ids("  Yes.\n") == tuple(plain)
    assert chatml.answer_ids("  Yes.\n", end=True) == (*plain, chatml.end_ids[0])


def test_half_a_character_keeps_its_bytes(chatml: PromptBuilder) -> None:
    pieces = chatml.pieces(chatml.answer_ids("😀"))
    assert len(pieces) > 1
    assert pieces[0].text == "\ufffd"
    assert "".join(p.bytes for p in pieces) == "😀".encode().hex()


def parts_of(prompts: PromptBuilder, answer: str, end: bool = False) -> dict[str, str]:
    ids = prompts.answer_ids(answer, end)
    found = prompts.answer_parts(ids, prompts.chat(user("x")))
    joined: dict[str, str] = {}
    for piece, part in zip(prompts.pieces(ids), found.parts, strict=True):
        joined[part] = joined.get(part, "") + piece.text
    joined["finished"] = str(found.reasoning_finished)
    return joined


def test_headings(chatml: PromptBuilder) -> None:
    found = parts_of(chatml, "## Thinking\n\nA cough.\n\n## Final Response\n\nRest.", end=True)
    assert found == {
        "format": "## Thinking\n\n\n\n## Final Response\n\n",
        "reasoning": "A cough.",
        "answer": "Rest.",
        "end": "<|im_end|>",
        "finished": "True",
    }


def test_a_plain_answer_is_all_answer(chatml: PromptBuilder) -> None:
    text = "Rest.\n\n## Thinking\n\nis what matters, and ## Final Response too."
    assert parts_of(chatml, text) == {"answer": text, "finished": "None"}


def test_unfinished_reasoning_is_never_an_answer(chatml: PromptBuilder, thinking: PromptBuilder) -> None:
    assert parts_of(chatml, "## Thinking\n\nA cough")["finished"] == "False"
    assert parts_of(thinking, "A cough") == {"reasoning": "A cough", "finished": "False"}


def test_reasoning_opened_by_the_template(thinking: PromptBuilder) -> None:
    found = parts_of(thinking, "A cough.\n</think>\n\nRest.")
    assert found == {"reasoning": "A cough.", "format": "\n</think>\n\n", "answer": "Rest.", "finished": "True"}


def test_think_marks_are_the_models_own_tokens(thinking: PromptBuilder) -> None:
    close = thinking.tokenizer.convert_tokens_to_ids("</think>")
    assert thinking.answer_ids("a</think>b").count(close) == 1


@pytest.mark.parametrize("question", ["", "   ", "\n"])
def test_nothing_asked(chatml: PromptBuilder, question: str) -> None:
    with pytest.raises(PromptError, match="empty"):
        chatml.chat(user(question))


def test_too_long_says_both_lengths(chatml: PromptBuilder) -> None:
    with pytest.raises(TooLongError, match=r"512"):
        chatml.chat(user("pain " * 600))


def test_ids_outside_the_vocabulary(chatml: PromptBuilder) -> None:
    size = len(chatml.tokenizer)
    with pytest.raises(PromptError, match=str(size)):
        chatml.check_ids([1, size])
    with pytest.raises(PromptError, match="-1"):
        chatml.check_ids([-1])
