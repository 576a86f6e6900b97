"""What a run comes to: plain words, the reference answer, figures.

Knows finished runs; decodes nothing.
"""

import math

import streamlit as st

from core.generate.record import AGAIN_AT_ONCE, LaneAnswer
from core.measure.answer_text import AnswerFigures, count_answer
from core.pair.parts import MASKS, AnswerParts
from core.present.hybrids import lane_title
from core.present.run_lanes import called
from core.present.runs import LaneRun, RunReport
from core.present.strip import strip
from core.present.texts import two_digits
from core.present.words import LIMITS, in_plain_words
from pages._shared.components import token_lanes

_PARTING_WORDS = (
    "Would part: share of tokens at which base and fine-tuned model would have chosen differently under the lanes' "
    "shared noise. Beside it the mean total variation of what the two draw from, 0 to 1: no way of sharing noise parts "
    "them less often, and near-ties can part them on tiny differences."
)


def draw_words(report: RunReport) -> None:
    """What the run shows, in plain sentences, and what it does not show."""
    lanes = {lane.answer.name: lane for lane in report.lanes}
    st.markdown("**In plain words**")
    st.write(in_plain_words(lanes["base"].answer, lanes["tuned"].answer, lanes["tuned"].tokens))
    st.caption(LIMITS)


def draw_reference(report: RunReport) -> None:
    """The reference answer as base and fine-tuned read it, and how likely each lane's model finds it."""
    reference = report.reference
    if reference is None:
        return
    hybrids = report.settings.hybrids
    by_name = {model.name: model for model in reference.models}
    gain = by_name["base"].nats - by_name["tuned"].nats
    noise = by_name["base"].noise + by_name["tuned"].noise
    st.markdown("**Reference answer**")
    if abs(gain) <= noise:
        st.write("Base and fine-tuned model find the reference answer equally likely.")
    else:
        better, worse = ("fine-tuned", "base") if gain > 0 else ("base", "fine-tuned")
        st.write(
            f"The {better} model finds the reference answer likelier than the {worse} model does: by a factor of "
            f"{two_digits(math.exp(abs(gain)))} a token on average."
        )
    token_lanes(
        [strip("reference", "as base and fine-tuned model read it", reference.tokens, report.noise)],
        key="reference-strip",
    )
    rows = [
        {"model": lane_title(m.name, hybrids), "−log p, nats a token": _with_noise(m.nats, m.noise)}
        for m in reference.models
    ]
    st.table(rows, hide_index=True, width="content")
    st.caption("Lower is likelier. A likely answer is one the model might write, not a right one.")


def draw_numbers(report: RunReport) -> None:
    """The lanes' figures as a table."""
    rows = [_row(called(report, lane.answer.name), lane) for lane in report.lanes]
    st.dataframe(rows, hide_index=True, width="stretch")
    st.caption(
        "KL in nats a token, over reasoning and answer without headings, on each lane's own text: what a fork was "
        "begun with does not count. ± is how much it changes when the answer is read again from the end of the "
        f"question, {AGAIN_AT_ONCE} positions at a time, and never less than the pair's noise floor. Repetition: share "
        "of repeated 4-grams. Medical terms: distinct ones, in reasoning and answer, whether affirmed or negated."
    )
    if any(lane.answer.parting_rate is not None for lane in report.lanes):
        st.caption(_PARTING_WORDS)


def _with_noise(value: float | None, noise: float | None) -> str:
    """A figure with its noise; `no difference` where it does not exceed it."""
    if value is None or noise is None:
        return two_digits(value)
    return "no difference" if 0 < value <= noise else f"{two_digits(value)} ± {two_digits(noise)}"


def _row(word: str, lane: LaneRun) -> dict[str, str]:
    answer = lane.answer
    counts = count_answer(
        [token.id for token in lane.tokens],
        AnswerParts(tuple(token.part for token in lane.tokens), answer.reasoning_finished),
        [bytes.fromhex(token.bytes) for token in lane.tokens],
    )
    own = lane.tokens[answer.begun :]
    shown = [t.kl_tuned_base for t in own if t.part in MASKS["response"] and t.kl_tuned_base is not None]
    return {
        "lane": word,
        "tokens": str(len(answer.ids)),
        "of reasoning": "–" if counts.reasoning_finished is None else _reasoning(counts),
        "of answer": str(counts.answer_tokens),
        "words": str(counts.words),
        "medical terms": str(counts.medical_terms),
        "KL(lane‖base)": _with_noise(answer.kl_to_base, answer.kl_to_base_noise),
        "KL(lane‖tuned)": _with_noise(answer.kl_to_tuned, answer.kl_to_tuned_noise),
        "KL(tuned‖base) here": two_digits(sum(shown) / len(shown) if shown else None),
        "repetition": two_digits(answer.repetition),
    } | _parting(answer)


def _parting(answer: LaneAnswer) -> dict[str, str]:
    """Where lanes shared their noise, how often base and fine-tuned would have parted, beside what bounds it."""
    if answer.parting_rate is None:
        return {}
    return {"would part": two_digits(answer.parting_rate), "mean TV(base, tuned)": two_digits(answer.mean_tv)}


def _reasoning(counts: AnswerFigures) -> str:
    return f"{counts.reasoning_tokens}{'' if counts.reasoning_finished else ', not finished'}"
