"""Base, a hybrid of the upper third and the fine-tuned model writing side by side: what benchmarks let them write.

Takes no times.
"""

from benchmarks.common import question_of
from core.generate.lane import Lane
from core.generate.lanes import Decoding
from core.generate.scored import ScoredDecoding
from core.pair.gates import Gates, thirds
from core.pair.pair import Pair
from core.pair.prompts import Message, Prompt

QUESTIONS = (
    "What is asthma and how is it treated?",
    "Why does a heart attack cause pain in the left arm?",
    "How is anaemia diagnosed?",
    "What are the side effects of ibuprofen?",
    "Which symptoms come with a migraine?",
    "How do vaccines work?",
    "What should a person with gout avoid eating?",
    "When is a fever dangerous in a small child?",
)


def lanes_of(pair: Pair) -> tuple[Lane, ...]:
    """Base, a hybrid of the upper third, tuned."""
    upper = Gates.graft(pair.n_layers, thirds(pair.n_layers)["upper"])
    return Lane("base", pair.base_gates()), Lane("hybrid", upper), Lane("tuned", pair.tuned_gates())


def prompt_of(pair: Pair, n_tokens: int) -> Prompt:
    """A question as the models read it."""

    def chat(question: str) -> Prompt:
        return pair.prompts.chat([Message(role="user", content=question)])

    return chat(question_of(n_tokens, lambda question: len(chat(question).ids)))


def decoded(pair: Pair, prompt: Prompt, lanes: tuple[Lane, ...], n_new: int) -> list[list[int]]:
    """Answers without scores."""
    decoding = Decoding(pair, prompt.ids, lanes, max_new_tokens=n_new)
    for _ in decoding:
        pass
    return decoding.tokens


def scored(pair: Pair, prompt: Prompt, lanes: tuple[Lane, ...], n_new: int) -> None:
    """Answers with the colours of every token."""
    for _ in ScoredDecoding(pair, prompt.ids, lanes, max_new_tokens=n_new):
        pass
