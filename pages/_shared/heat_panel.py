"""The token heatmap of one or two texts, and what it sums up to.

Knows scored texts; scores none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import streamlit as st

from core.measure.diff import Diff
from core.measure.medical import categories_of_units, medical_terms
from core.measure.metrics import METRICS
from core.measure.tokens import TokenScore
from core.measure.units import Unit
from core.pair.parts import MASKS
from core.present.charts import bin_rows, bins_chart
from core.present.heatmap import heatmap, noise_of_metric, shown_tokens, shown_units
from core.present.provenance import Source
from core.present.strip import unit_strip
from core.present.texts import two_digits
from core.present.words import concentration_words
from pages._shared.components import token_lanes
from pages._shared.exports import draw_exports, draw_figure
from pages._shared.texts import Text


@dataclass(frozen=True)
class Look:
    """How a text is to be drawn: coloured by what, cut how, with what marked."""

    metric: str
    granularity: str
    spaces: bool
    terms: bool


def draw_heat(
    texts: Sequence[Text], scored: Sequence[Diff], look: Look, sources: Sequence[Source]
) -> tuple[int, int] | None:
    """Draws the texts with their exports; which text and which token position was just clicked."""
    strips, all_units = [], []
    for text, found in zip(texts, scored, strict=True):
        cut = shown_units(found, look.granularity)
        noise, note = noise_of_metric(found, look.metric), _note(found, look.metric)
        texts_of_units = [unit.text for unit in cut]
        spans = medical_terms().tag("".join(texts_of_units)) if look.terms else ()
        terms = categories_of_units(spans, texts_of_units) if look.terms else ()
        mask = MASKS[found.mask]
        strips.append(unit_strip(text.lane, text.label, cut, look.metric, noise, mask, note, terms, look.spaces))
        all_units.append((shown_tokens(found), cut))
    picked = token_lanes(strips, key="heat")
    with st.container(horizontal=True):
        for number, (text, found) in enumerate(zip(texts, scored, strict=True)):
            figure = heatmap(found, text.label, look.metric, look.granularity, sources[number])
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
    if METRICS[metric].steps:
        return _classes(found)
    figure = found.summary[metric]
    unit = "" if METRICS[metric].unit == "1" else f" {METRICS[metric].unit}"
    if figure.mean is None:
        return "no token in this part of the text"
    return f"mean {two_digits(figure.mean)} ± {two_digits(figure.noise)}{unit} over {figure.n} tokens"


def _classes(found: Diff) -> str:
    shares = found.choices
    if shares.unshifted is None:
        return "no token in this part of the text"
    return f"{shares.unshifted:.0%} unshifted, {shares.marginal:.0%} marginal, {shares.shifted:.0%} shifted"


def draw_summary(text: Text, found: Diff, source: Source) -> None:
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
        st.caption("Mean KL(tuned‖base) by part of the text, whatever part is chosen above")
        parts = {part: found.by_part[part] for part in found.by_part if found.by_part[part].n}
        st.table(
            [
                {"part": part, "nats": two_digits(p.mean), "± noise": two_digits(p.noise), "tokens": p.n}
                for part, p in parts.items()
            ],
            hide_index=True,
        )
    with st.expander("Where in the text, and where base was undecided"):
        _draw_bins(text, found, source)
    with st.expander("Tokens with the largest divergence"):
        kept = [t for t in found.tokens if t.part in MASKS[found.mask] and t.kl_tuned_base is not None]
        top = sorted(kept, key=lambda t: t.kl_tuned_base or 0.0, reverse=True)[:30]
        st.dataframe([_row(token) for token in top], hide_index=True, width="stretch")


def _draw_bins(text: Text, found: Diff, source: Source) -> None:
    noise = f"± {two_digits(found.summary['kl_tuned_base'].noise)} nats by numerical noise over the whole text."
    for column, along, words, bins in zip(
        st.columns(2),
        ("position", "entropy"),
        ("place in the text, from its first (0) to its last token (1)", "entropy of base at the token, nats"),
        (found.by_position, found.by_entropy),
        strict=True,
    ):
        with column:
            draw_figure(
                source, f"{text.label}: divergence by {along}",
                f"Mean KL(tuned‖base) in nats over fifths of the tokens, by {words}.", noise,
                f"kl-tuned-from-base-by-{along}-{text.lane}", bin_rows(bins), partial(bins_chart, along=words),
            )  # fmt: skip


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
