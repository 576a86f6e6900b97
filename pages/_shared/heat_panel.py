"""The token heatmap of one or two texts, and what it sums up to.

Knows scored texts; scores none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from core.measure.diff import Diff
from core.measure.metrics import METRICS
from core.measure.tokens import TokenScore
from core.measure.units import Unit, units
from core.pair.parts import MASKS
from core.present.heatmap import heatmap
from core.present.strip import display_texts, unit_strip
from core.present.texts import two_digits
from core.present.words import concentration_words
from pages._shared.components import token_lanes
from pages._shared.exports import draw_exports
from pages._shared.texts import Text


@dataclass(frozen=True)
class Source:
    """What an export says of where it comes from: the pair's name, and the provenance line."""

    pair: str
    line: str


def shown_tokens(found: Diff) -> tuple[TokenScore, ...]:
    """The tokens a heatmap shows: the answer's, and the prompt's where the mask asks for it."""
    inside = MASKS[found.mask]
    with_prompt = "prompt" in inside
    return tuple(t for t in found.tokens if with_prompt or t.part not in ("prompt", "template"))


def draw_heat(
    texts: Sequence[Text], scored: Sequence[Diff], metric: str, granularity: str, source: Source
) -> tuple[int, int] | None:
    """Draws the texts with their exports; which text and which token position was just clicked."""
    strips, all_units, figures = [], [], []
    for text, found in zip(texts, scored, strict=True):
        tokens = shown_tokens(found)
        cut = units(tokens, display_texts([bytes.fromhex(token.bytes) for token in tokens]), granularity)
        noise = found.summary[metric].noise_token or 0.0
        strips.append(unit_strip(text.lane, text.label, cut, metric, noise, MASKS[found.mask], _note(found, metric)))
        all_units.append((tokens, cut))
        figures.append(
            heatmap(
                cut, MASKS[found.mask], title=text.label, question=text.question, metric=metric,
                mask_name=found.mask, granularity=granularity, noise=noise, pair=source.pair, provenance=source.line,
            )
        )  # fmt: skip
    picked = token_lanes(strips, key="heat")
    with st.container(horizontal=True):
        for number, figure in enumerate(figures):
            draw_exports(figure, str(number))
    if picked is None or picked[0] >= len(texts) or picked[1] >= len(all_units[picked[0]][1]):
        return None
    tokens, cut = all_units[picked[0]]
    return picked[0], _strongest(tokens, cut[picked[1]])


def _strongest(tokens: Sequence[TokenScore], unit: Unit) -> int:
    """The position of the unit's token with the largest KL: the one to ask about."""
    own = tokens[unit.first : unit.last + 1]
    return max(own, key=lambda token: token.kl_tuned_base or 0.0).pos


def _note(found: Diff, metric: str) -> str:
    figure = found.summary[metric]
    unit = "" if METRICS[metric].unit == "1" else f" {METRICS[metric].unit}"
    if figure.mean is None:
        return "no token in this part of the text"
    return f"mean {two_digits(figure.mean)} ± {two_digits(figure.noise)}{unit} over {figure.n} tokens"


def draw_summary(text: Text, found: Diff) -> None:
    """Where the divergence sits, in words and as tables."""
    st.markdown(f"**{text.label}**")
    st.write(concentration_words(found))
    with st.expander("Numbers"):
        rows = [
            {
                "metric": METRICS[name].label,
                "mean": two_digits(s.mean),
                "± noise": two_digits(s.noise),
                "median": two_digits(s.median),
                "95th percentile": two_digits(s.p95),
                "largest": two_digits(s.max),
                "mean with headings": two_digits(found.summary_with_format[name].mean),
            }
            for name, s in found.summary.items()
        ]
        st.table(rows, hide_index=True)
        left, right = st.columns(2)
        for column, title, bins in (
            (left, "by place in the text, 0 to 1", found.by_position),
            (right, "by how undecided base is (entropy, nats)", found.by_entropy),
        ):
            column.caption(f"Mean KL(tuned‖base) {title}")
            column.table(
                [
                    {"from": two_digits(b.low), "to": two_digits(b.high), "nats": two_digits(b.mean_kl), "tokens": b.n}
                    for b in bins
                ],
                hide_index=True,
            )
    with st.expander("Tokens with the largest divergence"):
        kept = [t for t in found.tokens if t.part in MASKS[found.mask] and t.kl_tuned_base is not None]
        top = sorted(kept, key=lambda t: t.kl_tuned_base or 0.0, reverse=True)[:30]
        st.dataframe([_row(token) for token in top], hide_index=True, width="stretch")


def _row(token: TokenScore) -> dict[str, object]:
    return {
        "token": token.text,
        "position": token.pos,
        "part": token.part,
        "KL(tuned‖base)": round(token.kl_tuned_base or 0.0, 3),
        "√(Jensen–Shannon)": round(token.js_distance or 0.0, 3),
        "rank in base": token.rank_base,
        "base would write": token.top_base[0].text if token.top_base else "",
        "fine-tuned would write": token.top_tuned[0].text if token.top_tuned else "",
    }
