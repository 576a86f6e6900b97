"""Answers under models, against plain transformers and peft."""

import pytest

from core.errors import PromptError, TooLongError
from core.measure.cross import cross_scores
from core.measure.reference import score_reference
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.prompts import Message, Prompt
from tests import oracle
from tests.conftest import TinyFolders

TEXTS = {
    "base": "It may be asthma.",
    "tuned": "## Thinking\n\nOkay, the patient.\n\n## Final Response\n\nIt may be a heart attack.",
    "given": "A disease.",
}


@pytest.fixture
def prompt(pair: Pair) -> Prompt:
    return pair.prompts.chat([Message(role="user", content="What is it?")])


@pytest.fixture
def texts(pair: Pair) -> dict[str, tuple[int, ...]]:
    return {name: pair.prompts.answer_ids(text, end=name == "tuned") for name, text in TEXTS.items()}


def models(pair: Pair) -> dict[str, Gates]:
    return {"base": pair.base_gates(), "hybrid": Gates.graft(pair.n_layers, [1, 2]), "tuned": pair.tuned_gates()}


@pytest.mark.parametrize("mask", ["response", "answer", "all"])
def test_every_answer_under_base_and_tuned(
    pair: Pair, folders: TinyFolders, prompt: Prompt, texts: dict[str, tuple[int, ...]], mask: str
) -> None:
    plain = {"base": oracle.plain_base(folders.base), "tuned": oracle.plain_tuned(folders.base, folders.tuned)}
    found = cross_scores(pair, prompt, texts, models(pair), mask)  # type: ignore[arg-type]
    assert found.mask == mask
    assert [row.answer for row in found.answers] == list(texts)
    left_out = {"response": {"format", "end"}, "answer": {"format", "end", "reasoning"}, "all": set()}[mask]
    for row in found.answers:
        ids = texts[row.answer]
        parts = pair.prompts.answer_parts(ids, prompt).parts
        counted = [index for index, part in enumerate(parts) if part not in left_out]
        assert row.n == len(counted)
        assert [score.model for score in row.models] == ["base", "hybrid", "tuned"]
        for score in row.models:
            if score.model in plain and counted:
                logits = oracle.logits(plain[score.model], (*prompt.ids, *ids))[len(prompt.ids) - 1 : -1]
                logp = logits.double().log_softmax(-1)
                nats = -sum(float(logp[index, ids[index]]) for index in counted) / len(counted)
                assert score.nats == pytest.approx(nats, abs=1e-4)


def test_masks_differ_where_there_are_headings(pair: Pair, prompt: Prompt, texts: dict[str, tuple[int, ...]]) -> None:
    counts = [
        [row.n for row in cross_scores(pair, prompt, texts, models(pair), mask).answers]  # type: ignore[arg-type]
        for mask in ("answer", "response", "all")
    ]
    assert counts[0][1] < counts[1][1] < counts[2][1]
    assert counts[1][0] == counts[2][0]


def test_scores_are_the_references(pair: Pair, prompt: Prompt, texts: dict[str, tuple[int, ...]]) -> None:
    """A hybrid has no plain model; where every token counts, the reference answer's likelihood is the same figure."""
    row = cross_scores(pair, prompt, {"base": texts["base"]}, models(pair)).answers[0]
    reference = score_reference(pair, prompt, TEXTS["base"], texts["base"], models(pair)).models
    assert [s.nats for s in row.models] == pytest.approx([m.nats for m in reference], abs=1e-9)
    assert len({round(s.nats or 0, 3) for s in row.models}) == 3


def test_noise_is_small_but_not_absent(pair: Pair, prompt: Prompt, texts: dict[str, tuple[int, ...]]) -> None:
    noise = [s.noise for row in cross_scores(pair, prompt, texts, models(pair)).answers for s in row.models]
    assert all(n is not None and n < 1e-4 for n in noise)
    assert any(noise)


def test_two_forwards_an_answer(pair: Pair, prompt: Prompt, texts: dict[str, tuple[int, ...]]) -> None:
    told: list[float] = []
    before = pair.forwards
    cross_scores(pair, prompt, texts, models(pair), progress=told.append)
    assert pair.forwards - before == 6
    assert told == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])


def test_answers_without_counted_tokens_are_null(pair: Pair, prompt: Prompt) -> None:
    texts = {"empty": (), "ended": pair.prompts.end_ids[:1]}
    before = pair.forwards
    for row in cross_scores(pair, prompt, texts, models(pair)).answers:
        assert row.n == 0
        assert [(s.nats, s.noise) for s in row.models] == [(None, None)] * 3
    assert pair.forwards == before
    ended = cross_scores(pair, prompt, texts, models(pair), mask="all").answers[1]
    assert ended.n == 1
    assert ended.models[0].nats is not None


def test_what_cannot_be_scored_is_refused(pair: Pair, prompt: Prompt) -> None:
    with pytest.raises(PromptError, match="mask"):
        cross_scores(pair, prompt, {"a": (5,)}, models(pair), mask="words")  # type: ignore[arg-type]
    before = pair.forwards
    with pytest.raises(TooLongError, match="512"):
        cross_scores(pair, prompt, {"a": (5,), "b": (5,) * 512}, models(pair))
    assert pair.forwards == before
