"""Letters against plain transformers and peft, one question at a time and many at once."""

import gzip
import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from core.errors import PromptError, TooLongError
from core.measure import multiple_choice
from core.measure.multiple_choice import LETTER_PROMPT, LetterChoice, flips, letter_choices, letter_probabilities
from core.measure.options import Options, parse_options
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.prompts import Message
from tests import oracle
from tests.conftest import TinyFolders

QUESTION = "What is asthma?\nA. A disease of the lungs\nB. A blood test\nC. A doctor"
OTHERS = [
    "Is it chronic?\nA. Yes\nB. No",
    QUESTION,
    "Which?\nA) one\nB) two\nC) three\nD) four\nE) five",
    "The patient has chest pain and a raised troponin. What may it be, and whom do you call?\nA. a\nB. b",
]


def options_of(question: str) -> Options:
    found = parse_options(question)
    assert found is not None
    return found


def rows(pair: Pair) -> Gates:
    return Gates.stack([pair.base_gates(), Gates.graft(pair.n_layers, [1, 2]), pair.tuned_gates()])


def asked(pair: Pair, question: str) -> tuple[int, ...]:
    """The prompt written out by hand; where the template opens the reasoning, it is closed again."""
    prompt = pair.prompts.chat([Message(role="user", content=question + LETTER_PROMPT)])
    return (*prompt.ids, *(pair.prompts.answer_ids("\n</think>\n\n") if prompt.opens_reasoning else ()))


def test_probabilities_are_those_of_plain_models(pair: Pair, folders: TinyFolders) -> None:
    found = letter_probabilities(pair, QUESTION, options_of(QUESTION), rows(pair))
    plain = {0: oracle.plain_base(folders.base), 2: oracle.plain_tuned(folders.base, folders.tuned)}
    for row, model in plain.items():
        p = oracle.logits(model, asked(pair, QUESTION))[-1].double().softmax(-1)
        own = torch.stack([p[pair.prompts.answer_ids(letter)[0]] for letter in "ABC"])
        assert found[row].form == "A"  # the tiny tokenizers have no " A", " B" … of one token
        assert found[row].letters == ("A", "B", "C")
        assert found[row].probabilities == pytest.approx((own / own.sum()).tolist(), abs=1e-4)
        assert found[row].mass == pytest.approx(float(own.sum()), abs=1e-4)
        assert found[row].chosen == "ABC"[int(own.argmax())]
    assert len({choice.probabilities for choice in found}) == 3
    assert all(choice.noise is not None and 0 < choice.noise < 1e-4 for choice in found)


def test_an_opened_reasoning_is_closed_first(pair: Pair) -> None:
    opens = pair.prompts.chat([Message(role="user", content="Hi")]).opens_reasoning
    assert {c.reasoning_skipped for c in letter_probabilities(pair, QUESTION, options_of(QUESTION), rows(pair))} == {
        opens
    }


def test_a_system_prompt_is_put_before_the_question(pair: Pair) -> None:
    gates = pair.tuned_gates()
    plain, other = (
        letter_probabilities(pair, QUESTION, options_of(QUESTION), gates, system)[0] for system in (None, "Be brief.")
    )
    assert plain.probabilities != pytest.approx(other.probabilities, abs=1e-3)
    assert letter_choices(pair, [(QUESTION, options_of(QUESTION))], gates, "Be brief.")[0][0].probabilities == (
        pytest.approx(other.probabilities, abs=1e-4)
    )


@pytest.mark.parametrize("tokens_at_once", [8192, 700, 1])
def test_many_questions_at_once_are_each_alone(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, tokens_at_once: int
) -> None:
    """Questions of unequal length in one batch, in some, and one by one."""
    monkeypatch.setattr(multiple_choice, "TOKENS_AT_ONCE", tokens_at_once)
    questions = [(question, options_of(question)) for question in OTHERS]
    told: list[float] = []
    before = pair.forwards
    found = letter_choices(pair, questions, rows(pair), progress=told.append)
    n_batches = pair.forwards - before
    assert {8192: n_batches == 1, 700: 1 < n_batches < 4, 1: n_batches == 4}[tokens_at_once]
    assert len(told) == n_batches
    assert told[-1] == 1
    for (question, options), choices in zip(questions, found, strict=True):
        alone = letter_probabilities(pair, question, options, rows(pair))
        for one, other in zip(choices, alone, strict=True):
            assert one.letters == options.letters
            assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)
            assert one.mass == pytest.approx(other.mass, abs=1e-4)
            assert (one.chosen, one.form, one.noise) == (other.chosen, other.form, None)


def test_noise_of_many_questions_is_measured_on_request(pair: Pair) -> None:
    questions = [(question, options_of(question)) for question in OTHERS]
    alone = [letter_choices(pair, [question], rows(pair), noise=[0])[0] for question in questions]
    before = pair.forwards
    found = letter_choices(pair, questions, rows(pair), noise=[0, 2])
    assert pair.forwards - before == 2
    for number, (choices, own) in enumerate(zip(found, alone, strict=True)):
        assert [choice.chosen for choice in choices] == [choice.chosen for choice in own]
        assert all((choice.noise is not None) == (number in (0, 2)) for choice in choices)
    noise = [choice.noise for choices in found for choice in choices if choice.noise is not None]
    assert max(noise) < 1e-4
    assert any(noise)
    assert letter_choices(pair, [], rows(pair)) == ()


class SpacedTokenizer:
    """The pair's prompts, with token ids of our choosing for the letters."""

    def __init__(self, pair: Pair, ids: dict[str, list[int]]) -> None:
        self._prompts, self._ids = pair.prompts, ids

    def __getattr__(self, name: str) -> Any:
        return getattr(self._prompts, name)

    def answer_ids(self, text: str, end: bool = False) -> tuple[int, ...]:
        return tuple(self._ids[text]) if text in self._ids else self._prompts.answer_ids(text, end)


def spaced(pair: Pair, ids: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair, "prompts", SpacedTokenizer(pair, ids))


@pytest.mark.parametrize("likelier", ["A", " A"])
def test_the_likelier_form_of_the_letters_counts(pair: Pair, monkeypatch: pytest.MonkeyPatch, likelier: str) -> None:
    """Both forms get one token a letter; the one that holds more probability at this very place is taken."""
    logits = pair.unembed(pair.hidden(pair.ids([asked(pair, QUESTION)]), pair.base_gates()).detach())[0, -1]
    order = [[k] for k in logits.argsort(descending=True).tolist()]
    rare = "A" if likelier == " A" else " A"
    ids = {likelier.replace("A", letter): order[k] for k, letter in enumerate("DCABE")}
    ids |= {rare.replace("A", letter): order[10 + k] for k, letter in enumerate("ABCDE")}
    spaced(pair, ids, monkeypatch)
    found = letter_probabilities(pair, QUESTION, options_of(QUESTION), pair.base_gates())[0]
    assert found.form == likelier
    assert found.chosen == "C"
    p = logits.double().softmax(-1)
    assert found.mass == pytest.approx(float(p[[order[k][0] for k in (1, 2, 3)]].sum()), abs=1e-4)


def test_letters_in_pieces_are_refused(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    spaced(pair, {form.replace("A", x): [7, 8] for form in ("A", " A") for x in "ABCDE"}, monkeypatch)
    with pytest.raises(PromptError, match="single tokens"):
        letter_probabilities(pair, QUESTION, options_of(QUESTION), pair.base_gates())


def test_a_question_that_does_not_fit_is_refused(pair: Pair) -> None:
    long = "asthma " * 600 + QUESTION
    with pytest.raises(TooLongError, match="512"):
        letter_choices(pair, [(QUESTION, options_of(QUESTION)), (long, options_of(long))], pair.base_gates())


def choice(chosen: str) -> LetterChoice:
    return LetterChoice(("A", "B"), (0.5, 0.5), chosen, 1.0, "A", False, None)


def test_flips_are_rows_that_left_bases_letter() -> None:
    choices = [choice(letter) for letter in "ABAB"]
    assert flips(choices) == (1, 3)
    assert flips(choices, base=1) == (0, 2)
    assert flips([choice("A")]) == ()


MADE_UP = [
    {
        "question": "A child wheezes and coughs at night. Which drug opens the airways within minutes?",
        "options": {"A": "Warfarin", "B": "Salbutamol", "C": "Insulin", "D": "Metformin"},
    },
    {
        "question": "Which organ makes insulin?",
        "options": {"A": "The liver", "B": "The spleen", "C": "The pancreas", "D": "The kidney", "E": "The thyroid"},
    },
    {"question": "Can an infection with a virus be cured by penicillin?", "options": {"A": "Yes", "B": "No"}},
]


@pytest.mark.slow
def test_the_evaluation_script_chooses_the_same_letters(
    demo: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It computes with plain peft and reports the share of right letters: asked once for each letter's share."""
    script = Path(__file__).resolve().parents[2] / "docs" / "evaluate_adapter.py"
    spec = importlib.util.spec_from_file_location("evaluate_adapter", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    models = module.Models(Path(demo.identity.tuned_path))
    monkeypatch.setattr(module, "parse_choice", lambda text: SimpleNamespace(where=("split", "eval"), path=Path(text)))

    questions = []
    for row in MADE_UP:
        text = row["question"] + "".join(f"\n{letter}. {option}" for letter, option in row["options"].items())  # type: ignore[operator, attr-defined]
        questions.append((text, options_of(text)))
    both = Gates.stack([demo.base_gates(), demo.tuned_gates()])
    found = letter_choices(demo, questions, both)
    for number, (row, choices) in enumerate(zip(MADE_UP, found, strict=True)):
        path = tmp_path / f"{number}.jsonl.gz"
        for letter in choices[0].letters:
            with gzip.open(path, "wt") as file:
                file.write(json.dumps({**row, "answer_idx": letter, "split": "eval"}))
            figures = module.letter_figures(models, path, None)
            assert figures["base"] == float(choices[0].chosen == letter)
            assert figures["tuned"] == float(choices[1].chosen == letter)
