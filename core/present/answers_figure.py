"""Answers to one question as something to keep: beside each other in a picture or page, one line a lane in a table.

Knows answers and figures; runs nothing.
"""

import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from core.generate.record import LaneAnswer
from core.generate.sampling import Sampling
from core.present.charts import Rows
from core.present.figures import Figure
from core.present.provenance import Source
from core.present.texts import two_digits

ENDINGS = {"end": "finished", "length": "cut at the token limit", "stopped": "stopped", "failed": "cut off"}
"""How an answer ended, in words."""
_LINE = 106  # characters
_LEGEND = (
    "Answers of the models to one question, and how far each lane is from base and from fine-tuned on its own tokens: "
    "mean KL(lane‖base) and KL(lane‖fine-tuned), nats; 0 is the same distribution."
)
_NOISE = "± is by how much a mean changes when the answer is read by another numerical route."
_LIMIT = "It shows what the models wrote, not which of it is right."


def answers_figure(source: Source, answers: Sequence[LaneAnswer], titles: Mapping[str, str], how: str) -> Figure:
    """The answers of one run.

    Args:
        source: models and question.
        answers: in the order shown.
        titles: lane → what it is.
        how: they were asked for, as `asked_words` says it.
    """
    rows = tuple(_row(answer, titles[answer.name]) for answer in answers)
    return Figure("Answers side by side", source, f"{_LEGEND} {how}", _NOISE, "answers", rows, answers_chart, _LIMIT)


def asked_words(sampling: Sampling, max_new_tokens: int, system: str | None, raw: bool, follow_up: bool = False) -> str:
    """How answers were asked for: what somebody needs to know who asks again."""
    if sampling.temperature == 0:
        chosen = "Greedy"
    else:
        noise = ", noise shared by the lanes" if sampling.coupled else ""
        chosen = (
            f"Sampled at temperature {sampling.temperature:g}, top-p {sampling.top_p:g}, seed {sampling.seed}{noise}"
        )
    said = [f"{chosen}; at most {max_new_tokens} tokens a lane."]
    if raw:
        said.append("Asked as raw text, without the chat template.")
    if system:
        said.append(f"System prompt: “{system}”.")
    if follow_up:
        said.append("The question followed on others, which the models were shown too.")
    return " ".join(said)


def answers_chart(rows: Rows) -> Any:
    """Texts under each other, each under its lane's name and figures.

    Args:
        rows: as those of `answers_figure`.
    """
    lines: list[dict[str, Any]] = []
    for row in rows:
        text = str(row["text"]).strip() or "(nothing)"
        for paragraph, bold in ((row["lane"], True), (_figures(row), False), *((p, False) for p in text.splitlines())):
            lines += [{"text": line, "bold": bold} for line in textwrap.wrap(paragraph, _width(paragraph))]
        lines.append({"text": "", "bold": False})
    data = alt.Data(values=[{**line, "y": number} for number, line in enumerate(lines)])
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[-0.5, len(lines) - 0.5], reverse=True, nice=False))
    base = alt.Chart(data)
    layers = [
        base.transform_filter("datum.bold" if bold else "!datum.bold")
        .mark_text(align="left", fontSize=12, fontWeight="bold" if bold else "normal")
        .encode(x=alt.value(0), y=y, text="text:N")
        for bold in (True, False)
    ]
    return alt.layer(*layers).properties(width=700, height=16 * len(lines))


def _width(text: str) -> int:
    """Characters of a line: half as many of scripts that are twice as wide, fewer of capitals."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    broad = sum(character.isupper() for character in text)
    return int(_LINE / (1 + (wide + 0.4 * broad) / max(len(text), 1)))


def _row(answer: LaneAnswer, title: str) -> dict[str, Any]:
    return {
        "lane": title,
        "text": answer.text,
        "tokens": len(answer.ids),
        "ended": ENDINGS.get(answer.finished, answer.finished),
        "reasoning": {None: "none", True: "finished", False: "not finished"}[answer.reasoning_finished],
        "kl_to_base": answer.kl_to_base,
        "kl_to_base_noise": answer.kl_to_base_noise,
        "kl_to_tuned": answer.kl_to_tuned,
        "kl_to_tuned_noise": answer.kl_to_tuned_noise,
        "repetition": answer.repetition,
    }


def _figures(row: Mapping[str, Any]) -> str:
    said = [f"{row['tokens']} tokens, {row['ended']}"]
    if row["reasoning"] == "not finished":
        said.append("reasoning not finished: no final answer")
    said += [
        f"KL to {model} {two_digits(row[f'kl_to_{key}'])} ± {two_digits(row[f'kl_to_{key}_noise'])}"
        for key, model in (("base", "base"), ("tuned", "fine-tuned"))
        if row[f"kl_to_{key}"] is not None
    ]
    return " · ".join(said)
