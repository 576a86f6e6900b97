"""Options: which letter of a multiple-choice question each model would answer with.

Knows what to ask the worker for, and how to show it.
"""

from functools import partial

import streamlit as st

from core.generate.lane import Lane
from core.generate.letters import lane_letters
from core.generate.requests import Progress
from core.measure.multiple_choice import LetterChoice
from core.measure.options import Options, parse_options
from core.pair.pair import Pair
from core.present.option_words import LIMITS, SKIPPED, mass_warnings, option_rows, option_texts, option_words
from core.present.run_lanes import called
from core.present.runs import RunReport
from pages._shared.at_hand import AGAIN, at_hand
from pages._shared.frame import escaped
from pages._shared.tasks import compute


def draw_options(report: RunReport) -> None:
    """The letters, where the question asked has options; nothing where it has none or was asked as raw text."""
    question = report.messages[-1]["content"]
    options = None if report.settings.raw else parse_options(question)
    if options is None:
        return
    st.markdown("**Options**")
    found = at_hand(report)
    if found is None:
        st.caption(f"{AGAIN} see which letter each model would choose: this run's models are not at hand.")
        return
    lanes = found.lanes(report)
    identity = (question, report.settings.system, report.settings.hybrids)
    work = partial(_letters, question, options, lanes, report.settings.system)
    letters = compute(found.worker, "options", "Ask", identity, work, "Reading each model's letters")
    if letters is not None:
        _draw(report, options, dict(zip([lane.name for lane in lanes], letters, strict=True)))


def _letters(
    question: str, options: Options, lanes: tuple[Lane, ...], system: str | None, pair: Pair, progress: Progress
) -> tuple[LetterChoice, ...]:
    return lane_letters(pair, question, options, lanes, system, progress)


def _draw(report: RunReport, options: Options, choices: dict[str, LetterChoice]) -> None:
    names = {name: called(report, name) for name in choices}
    st.markdown(escaped(option_words(choices, names)))
    for words in mass_warnings(choices, names):
        st.warning(escaped(words), icon=":material/warning:")
    rows = [{key: escaped(value) for key, value in row.items()} for row in option_rows(choices, names)]
    st.table(rows, hide_index=True, width="content")
    skipped = f" {SKIPPED}" if any(choice.reasoning_skipped for choice in choices.values()) else ""
    st.caption(f"{escaped(option_texts(options))}  \n{LIMITS}{skipped}")
