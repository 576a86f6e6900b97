"""The texts a page can look at: answers of the run at hand, its reference answer, or a pasted one.

Knows runs and what was typed; scores nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from core.errors import GraftError, PromptError
from core.pair.pair import Pair
from core.pair.prompts import Message, Prompt
from core.present.forks import coloured_lane
from core.present.hybrids import Hybrid, lane_word
from core.present.live import build_prompt
from core.present.runs import RunReport, RunSettings
from pages._shared.frame import show_error
from pages._shared.resources import recorded_example

PASTED = "A pasted answer"
DIRECTION_WORDS = {"tuned-into-base": "fine-tuned into base", "base-into-tuned": "base into fine-tuned"}
MASK_WORDS = {
    "response": "reasoning and answer",
    "reasoning": "reasoning",
    "answer": "answer",
    "prompt": "question",
    "all": "all",
}


@dataclass(frozen=True)
class Text:
    """One answer to look at.

    Attributes:
        label: whose it is.
        lane: for its colour, as `coloured_lane` gives it; `reference` for a text no model wrote.
        question: as asked.
        prompt: the same as token ids.
        ids: the answer's tokens.
        hybrid: the run's first hybrid of grafted layers, to be shown beside base and tuned; None without one and for
            a pasted text.
    """

    label: str
    lane: str
    question: str
    prompt: Prompt
    ids: tuple[int, ...]
    hybrid: Hybrid | None


def run_at_hand() -> RunReport | None:
    """The run the Ask page shows, finished or stopped, else the recorded example."""
    run = st.session_state.get("run")
    return run.report() if run is not None and not run.running else recorded_example()


def texts_of(pair: Pair, report: RunReport) -> tuple[Text, ...]:
    """The answers of a run, and its reference answer.

    Raises:
        PromptError: the run was made with another pair, whose tokens these are not.
    """
    prompt = build_prompt(pair, report.messages, report.settings)
    if prompt.ids != report.prompt_ids:
        raise PromptError("This run was made with another pair.", "Ask again with the pair that is loaded now.")
    question = report.messages[-1]["content"]
    hybrids: Sequence[Hybrid] = report.settings.hybrids
    grafted = next((hybrid for hybrid in hybrids if hybrid.kind == "graft"), None)
    # The last is offered first: the fine-tuned model's answer, and forks after all others.
    forks = [lane for lane in reversed(report.lanes) if lane.fork is not None]
    ordered = [*forks, *(lane for lane in report.lanes if lane.fork is None)]
    answers = [(lane.answer, coloured_lane(lane.answer.name, lane.fork)) for lane in ordered if lane.answer.ids]
    found = [
        Text(f"The answer of {lane_word(answer.name, hybrids)}", coloured, question, prompt, answer.ids, grafted)
        for answer, coloured in answers
    ]
    if report.reference is not None:
        ids = tuple(token.id for token in report.reference.tokens)
        found.append(Text("The reference answer", "reference", question, prompt, ids, grafted))
    return tuple(found)


def texts_at_hand(pair: Pair) -> dict[str, Text]:
    """The texts of the run at hand by label; says why where there are none."""
    report = run_at_hand()
    try:
        return {text.label: text for text in (texts_of(pair, report) if report else ())}
    except GraftError as error:
        show_error(error)
        return {}


def choose_text(pair: Pair, width: int = 230) -> tuple[Text | None, dict[str, Text]]:
    """The text to look at, fine-tuned's answer first, and what else is at hand; None while a pasted one is missing."""
    at_hand = texts_at_hand(pair)
    label = st.selectbox("Text", [*reversed(at_hand), PASTED], key="text_first", width=width)
    return (None if label == PASTED else at_hand[label]), at_hand


def choose_direction(key: str) -> str:
    """What goes into what."""
    return st.selectbox("direction", list(DIRECTION_WORDS), format_func=DIRECTION_WORDS.__getitem__, key=key, width=190)


def draw_asked(text: Text) -> None:
    """What was asked."""
    asked = " ".join(text.question.split())
    st.caption(f"Asked: “{asked[:300]}{'…' if len(asked) > 300 else ''}”")


def draw_pasted(pair: Pair) -> Text | None:
    """Fields for a question and an answer; the text made of them, or None (and says what is missing)."""
    question = st.text_input("Question", key="pasted_question", placeholder="What was asked")
    answer = st.text_area("Answer", key="pasted_answer", placeholder="The answer to look at", height=100)
    if not question.strip() or not answer.strip():
        st.info("Give a question and an answer.")
        return None
    try:
        prompt = build_prompt(pair, [Message(role="user", content=question)], RunSettings())
        ids = pair.prompts.answer_ids(answer)
        if pair.prompts.text(ids) != answer:
            raise PromptError(
                "The model's tokenizer does not give this answer back as it was pasted.", "Remove unusual characters."
            )
    except GraftError as error:
        show_error(error)
        return None
    return Text("The pasted answer", "reference", question, prompt, ids, None)


def mixer_words(kind: str, donor: str, host: str, n_chosen: int, n_layers: int) -> str:
    """One line on what the mixer is set to."""
    if kind == "amplify":
        return (
            "α −1 is base, 0 fine-tuned; above 0 goes beyond. Both models read along, and their predictions are mixed."
        )
    counted = f"{n_chosen} of {n_layers} layers"
    if kind == "graft":
        return f"{counted} · layer 0 reads the words, layer {n_layers - 1} is nearest the output"
    return f"{counted} · the {donor} model reads along and lends its activations to the {host} model"
