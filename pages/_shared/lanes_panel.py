"""Three answers side by side: live while they are written, or from a finished run.

Knows how lanes are laid out; gets them from a live run or a report.
"""

from collections.abc import Sequence

import streamlit as st

from core.generate.record import LaneAnswer
from core.measure.answers import first_divergence
from core.measure.noise import noise_of
from core.measure.tokens import TokenScore
from core.present.colour import SPEAKER_WORDS
from core.present.live import ORDER, LiveRun
from core.present.runs import RunReport, RunSettings
from core.present.strip import strip
from core.present.texts import two_digits
from core.present.words import LIMITS, in_plain_words
from pages._shared.components import token_lanes
from pages._shared.frame import show_error

POLL_SECONDS = 0.2
_ENDINGS = {"end": "finished", "length": "cut at the token limit", "stopped": "stopped"}


def lane_title(name: str, settings: RunSettings) -> str:
    """The lane's name, with what makes the hybrid one."""
    if name != "hybrid":
        return SPEAKER_WORDS[name]
    part = "" if settings.part == "both" else f", {settings.part} only"
    strength = "" if settings.strength == 1 else f", strength {settings.strength:g}"
    other = "fine-tuned" if settings.direction == "tuned-into-base" else "base"
    return f"Hybrid ({other} layers {settings.layers}{part}{strength})"


def draw_live(run: LiveRun, simple: bool = False) -> None:
    """Draws a run as far as it has come; polls while more will come."""
    polling = run.running
    st.fragment(_live, run_every=POLL_SECONDS if polling else None)(run, polling, simple)


def _live(run: LiveRun, polling: bool, simple: bool) -> None:
    if polling and not run.running:
        st.rerun()  # draw the whole page once more, finished and without polling
    if polling:
        left, right = st.columns([8, 1], vertical_alignment="center")
        place = run.worker.place(run.request)
        left.caption(f"Waiting: {place} before you." if place else "Writing …")
        right.button("Stop", on_click=run.stop, width="stretch")
    if run.request.error is not None:
        show_error(run.request.error)
    prompts = run.worker.pair.prompts
    noise = noise_of(run.worker.pair).js_distance
    lanes = []
    for name in _shown(simple):
        record = run.records[name]
        lanes.append(
            strip(
                name,
                lane_title(name, run.settings),
                record.tokens(prompts, run.prompt),
                noise,
                parted=None if name == "base" else run.parted(name),
                running=record.finished is None,
                note=_note(record.finished, record.tokens_per_second, len(record.ids)),
                with_details=not polling,
            )
        )
    token_lanes(lanes, key="lanes")


def _shown(simple: bool) -> tuple[str, ...]:
    return tuple(name for name in ORDER if not (simple and name == "hybrid"))


def draw_report(report: RunReport, simple: bool, key: str) -> None:
    """Draws a finished run from its report alone."""
    base = next(lane.answer for lane in report.lanes if lane.answer.name == "base")
    lanes = [
        strip(
            lane.answer.name,
            lane_title(lane.answer.name, report.settings),
            lane.tokens,
            report.noise,
            parted=None if lane.answer is base else first_divergence(base.ids, lane.answer.ids),
            note=_note(lane.answer.finished, lane.answer.tokens_per_second, len(lane.answer.ids)),
        )
        for lane in report.lanes
        if lane.answer.name in _shown(simple)
    ]
    token_lanes(lanes, key=key)


def _note(finished: str | None, speed: float | None, n_tokens: int) -> str:
    pace = f"{two_digits(speed)} tokens/s" if speed else ""
    ending = _ENDINGS.get(finished or "", "")
    return " · ".join(part for part in (f"{n_tokens} tokens", pace, ending) if part)


def draw_words(report: RunReport) -> None:
    """What the run shows, in plain sentences, and what it does not show."""
    lanes = {lane.answer.name: lane for lane in report.lanes}
    st.markdown("**In plain words**")
    st.write(in_plain_words(lanes["base"].answer, lanes["tuned"].answer, lanes["tuned"].tokens))
    st.caption(LIMITS)


def draw_numbers(report: RunReport) -> None:
    """The lanes' figures as a table."""
    rows = [_row(lane.answer, lane.tokens) for lane in report.lanes]
    st.dataframe(rows, hide_index=True, width="stretch")
    st.caption(
        "KL in nats a token, over reasoning and answer without headings, on each lane's own text; ± is how much it "
        "changes when the text is run in one pass instead of token by token. Repetition: share of repeated 4-grams."
    )


def _with_noise(value: float | None, noise: float | None) -> str:
    """A figure with its noise; `no difference` where it does not exceed it."""
    if value is None or noise is None:
        return two_digits(value)
    return "no difference" if 0 < value <= noise else f"{two_digits(value)} ± {two_digits(noise)}"


def _row(answer: LaneAnswer, tokens: Sequence[TokenScore]) -> dict[str, str]:
    shown = [t.kl_tuned_base for t in tokens if t.part in ("reasoning", "answer") and t.kl_tuned_base is not None]
    return {
        "lane": SPEAKER_WORDS[answer.name],
        "tokens": str(len(answer.ids)),
        "KL(lane‖base)": _with_noise(answer.kl_to_base, answer.kl_to_base_noise),
        "KL(lane‖tuned)": _with_noise(answer.kl_to_tuned, answer.kl_to_tuned_noise),
        "KL(tuned‖base) here": two_digits(sum(shown) / len(shown) if shown else None),
        "repetition": two_digits(answer.repetition),
    }
