"""Rows as token ids: which positions are trained, by position and not by token id."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from core.errors import TooLongError
from core.pair.parts import answer_text
from core.pair.prompts import PromptBuilder
from core.train.encode import Example, collate, encode
from core.train.rows import Row

REASONED = Row("r", "What is asthma?", "Okay, the lungs.", "A disease of the airways.")
PLAIN = Row("p", "What is asthma?", "", "A disease of the airways.")
IGNORED = -100  # torch's cross entropy leaves these targets out


def builder(folder: Path, max_positions: int = 512) -> PromptBuilder:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return PromptBuilder(tokenizer, [tokenizer.eos_token_id], max_positions)


@pytest.fixture(scope="module")
def llama(llama_base: Path) -> PromptBuilder:
    return builder(llama_base)


@pytest.fixture(scope="module")
def qwen2(qwen2_base: Path) -> PromptBuilder:
    return builder(qwen2_base)


def text_of(prompts: PromptBuilder, ids: tuple[int, ...]) -> str:
    tokenizer: PreTrainedTokenizerFast = prompts.tokenizer
    return tokenizer.decode(ids, skip_special_tokens=False)


def example(length: int, n_prompt: int = 3) -> Example:
    return Example("e", tuple(range(10, 10 + length)), n_prompt, ("answer",) * (length - n_prompt))


def test_the_prompt_is_the_chat_template_and_the_answer_follows(llama: PromptBuilder) -> None:
    encoded = encode(PLAIN, llama)
    turn = [{"role": "user", "content": PLAIN.question}]
    prompt = llama.tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert encoded.ids[: encoded.n_prompt] == tuple(prompt)
    assert text_of(llama, encoded.ids[encoded.n_prompt :]) == PLAIN.answer + "<|im_end|>"
    assert set(encoded.parts) == {"answer", "end"}
    assert len(encoded.parts) == len(encoded.ids) - encoded.n_prompt


def test_reasoning_goes_under_headings_where_the_template_opens_none(llama: PromptBuilder) -> None:
    encoded = encode(REASONED, llama)
    written = "## Thinking\n\nOkay, the lungs.\n\n## Final Response\n\nA disease of the airways."
    assert answer_text(REASONED.reasoning, REASONED.answer, opened=False) == written
    assert text_of(llama, encoded.ids[encoded.n_prompt :]) == written + "<|im_end|>"
    in_order = [part for part, before in zip(encoded.parts, (None, *encoded.parts), strict=False) if part != before]
    assert in_order == ["format", "reasoning", "format", "answer", "end"]


def test_reasoning_is_closed_where_the_template_opened_it(qwen2: PromptBuilder) -> None:
    encoded = encode(REASONED, qwen2)
    prompt, answer = encoded.ids[: encoded.n_prompt], encoded.ids[encoded.n_prompt :]
    assert text_of(qwen2, prompt).endswith("<think>\n")
    assert text_of(qwen2, answer) == "Okay, the lungs.\n</think>\n\nA disease of the airways.<｜end▁of▁sentence｜>"
    assert answer.count(qwen2.tokenizer.convert_tokens_to_ids("</think>")) == 1
    in_order = [part for part, before in zip(encoded.parts, (None, *encoded.parts), strict=False) if part != before]
    assert in_order == ["reasoning", "format", "answer", "end"]


def test_opened_reasoning_is_closed_even_where_a_row_has_none(qwen2: PromptBuilder) -> None:
    encoded = encode(PLAIN, qwen2)
    assert text_of(qwen2, encoded.ids[encoded.n_prompt :]) == "\n</think>\n\n" + PLAIN.answer + "<｜end▁of▁sentence｜>"
    assert "reasoning" not in encoded.parts


def test_a_row_longer_than_the_context_is_named(llama_base: Path, llama: PromptBuilder) -> None:
    n_tokens = len(encode(REASONED, llama).ids)
    assert encode(REASONED, builder(llama_base, n_tokens)).ids == encode(REASONED, llama).ids
    with pytest.raises(TooLongError, match=f"Row r has {n_tokens} tokens"):
        encode(REASONED, builder(llama_base, n_tokens - 1))


@pytest.mark.parametrize(("length", "width"), [(5, 64), (63, 64), (64, 64), (65, 128), (128, 128), (129, 192)])
def test_widths_are_multiples_of_64(length: int, width: int) -> None:
    batch = collate([example(length), example(4)], pad_id=0)
    assert {name: tuple(tensor.shape) for name, tensor in batch.items()} == dict.fromkeys(
        ("input_ids", "attention_mask", "labels"), (2, width)
    )
    assert all(tensor.dtype == torch.int64 for tensor in batch.values())


def test_padding_is_on_the_right_and_masked() -> None:
    batch = collate([example(5), example(9)], pad_id=7)
    assert batch["input_ids"][0, :5].tolist() == [10, 11, 12, 13, 14]
    assert set(batch["input_ids"][0, 5:].tolist()) == {7}
    assert batch["attention_mask"].sum(dim=1).tolist() == [5, 9]
    assert batch["labels"][0, :5].tolist() == [IGNORED, IGNORED, IGNORED, 13, 14]


@pytest.mark.parametrize("base", ["llama", "qwen2"])
def test_the_end_token_is_trained_though_it_also_pads(base: str, request: pytest.FixtureRequest) -> None:
    prompts: PromptBuilder = request.getfixturevalue(base)
    end = prompts.end_ids[0]
    assert prompts.tokenizer.pad_token_id == end
    short, long = encode(PLAIN, prompts), encode(REASONED, prompts)
    labels = collate([short, long], pad_id=end)["labels"]
    for row, encoded in enumerate((short, long)):
        n = len(encoded.ids)
        assert encoded.ids[-1] == end
        assert labels[row, n - 1] == end
        assert (labels[row, n:] == IGNORED).all()
        assert (labels[row, : encoded.n_prompt] == IGNORED).all()
        assert labels[row, encoded.n_prompt : n].tolist() == list(encoded.ids[encoded.n_prompt :])


def test_end_tokens_inside_the_prompt_are_not_trained(llama: PromptBuilder) -> None:
    encoded = encode(PLAIN, llama)
    end = llama.end_ids[0]
    assert encoded.ids[: encoded.n_prompt].count(end) == 2  # the turns of system and user
    assert int((collate([encoded], pad_id=end)["labels"] == end).sum()) == 1


@torch.no_grad()
def test_the_models_loss_is_over_the_answer_alone(llama_base: Path, llama: PromptBuilder) -> None:
    model = AutoModelForCausalLM.from_pretrained(llama_base, dtype=torch.float32).eval()
    encoded = encode(REASONED, llama)
    log_p = torch.log_softmax(model(torch.tensor([encoded.ids])).logits[0].double(), dim=-1)
    by_hand = -sum(log_p[pos - 1, encoded.ids[pos]] for pos in range(encoded.n_prompt, len(encoded.ids)))
    batch = collate([encoded, example(200, n_prompt=200)], pad_id=llama.end_ids[0])
    n_answer = len(encoded.ids) - encoded.n_prompt
    assert float(model(**batch).loss) == pytest.approx(float(by_hand) / n_answer, rel=1e-5)
