"""Two studies in one view: what differs, both verdicts beside each other, differences document by document.

Knows comparisons; computes none.
"""

import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import altair as alt

from core.present.charts import Rows
from core.present.document import Block, Document, Items, Picture, Section, Table, Text
from core.present.figures import Figure
from core.present.provenance import Source
from core.present.study_charts import interval_chart, layer_chart
from core.present.study_report import unfinished
from core.present.study_source import provenance_of_study, source_of_study
from core.present.study_text_parts import corpora_section, footer, limits_section, provenance_section
from core.present.texts import two_digits
from core.study.compare import ClaimPair, Comparison
from core.study.differences import Difference
from core.study.results import Results
from core.study.verdicts import FEWEST_DOCUMENTS, Finding, number

_CURVES = {
    "layers-single": "recovery (0 base, 1 fine-tuned)",
    "layers-without": "recovery lost (0 nothing, 1 all)",
    "layers-prefix": "recovery (0 base, 1 fine-tuned)",
    "drift": "‖h_t − h_b‖/‖h_b‖ (ratio)",
    "cosine": "1 − cos(h_t, h_b)",
}
_TOO_SHORT = f"Intervals of fewer than {FEWEST_DOCUMENTS} documents are too short."
_LIMIT = "Two intervals that overlap do not show that the studies agree; the difference is the comparison."


def comparison_figures(
    found: Comparison, a: Results, b: Results, of_a: Mapping[str, Figure], of_b: Mapping[str, Figure]
) -> dict[str, Figure]:
    """Everything a comparison can be drawn as; what has no rows is left out.

    Args:
        found: the comparison.
        a, b: the studies.
        of_a, of_b: the figures of each.
    """
    first, second = source_of_study(a), source_of_study(b)
    source = Source(f"{first.pair}-and-{second.pair}", f"A: {first.line} B: {second.line}", "")
    noise = "Each study's own noise; see its report."
    bars = "Bars are 95 % intervals over documents."
    claims = tuple(row for pair in found.claims for row in _claim_rows(pair))
    drawn = {
        "claims": Figure(
            "Effects of both studies, claim by claim", source, f"A and B, each on its own documents and scale. {bars}",
            noise, "compare-claims", claims, claims_chart, _LIMIT,
        ),
        "differences": Figure(
            "B less A on the documents both measured", source,
            f"Paired differences; 0 is no difference between the studies. {bars}", noise, "compare-differences",
            tuple(map(_difference_row, found.paired)), claims_chart,
            ("Documents are shared; what else differs between the studies stands in the table above. "
             + few_documents(found.paired)).rstrip(),
        ),
        "apart": Figure(
            "B less A, each on its own documents", source,
            f"Each study's documents are drawn apart; 0 is no difference between the studies. {bars}", noise,
            "compare-apart", tuple(map(_difference_row, found.apart)), claims_chart,
            ("Whatever sets the questions of the studies apart is part of these differences. "
             + few_documents(found.apart)).rstrip(),
        ),
    }  # fmt: skip
    for name, x in _CURVES.items():
        rows = tuple(_overlaid(of_a.get(name), "A") + _overlaid(of_b.get(name), "B"))
        if len({row["series"] for row in rows}) == 2:
            title = (of_a[name].title).partition(";")[0]
            drawn[f"compare-{name}"] = Figure(
                f"{title}, A and B", source, of_a[name].legend, noise, f"compare-{name}", rows,
                partial(layer_chart, x_title=x), _LIMIT,
            )  # fmt: skip
    return {name: figure for name, figure in drawn.items() if figure.rows}


def claims_chart(rows: Rows) -> Any:
    """Dots with intervals, one chart a unit, since effects of different units share no axis."""
    units = list(dict.fromkeys((row["unit"], row["none"]) for row in rows))
    charts = [
        interval_chart(
            [row for row in rows if (row["unit"], row["none"]) == unit], unit[0], unit[1], legend=unit == units[0]
        )
        for unit in units
    ]
    return alt.vconcat(*charts, spacing=22)


def _claim_rows(pair: ClaimPair) -> list[dict[str, Any]]:
    return [
        {**_labelled(f"{pair.number} {pair.claim}"), "series": side, "value": one.effect,
         **dict(zip(("low", "high"), one.interval or (None, None), strict=True)), "n": one.n, "unit": one.unit,
         "none": one.none, "verdict": one.verdict, "words": f"{side}: {_short(one.effect)}, {one.verdict}"}
        for side, one in (("A", pair.a), ("B", pair.b))
        if one is not None and one.effect is not None
    ]  # fmt: skip


def _labelled(label: str) -> dict[str, str]:
    return {"label": "\n".join(textwrap.wrap(label, 42))}


def _short(value: float) -> str:
    return two_digits(value).replace("-", "−")


def _difference_row(one: Difference) -> dict[str, Any]:
    change = one.difference
    return {**_labelled(f"{one.what}, {one.corpus} text"), "series": "B less A", "value": change.value,
            "low": change.low, "high": change.high, "n": change.n, "unit": one.unit, "none": 0.0,
            "a": one.a, "b": one.b, "n_a": one.n_a, "n_b": one.n_b,
            "words": f"{_short(change.value)} (n = {n_words(one)})"}  # fmt: skip


def _overlaid(figure: Figure | None, side: str) -> list[dict[str, Any]]:
    rows = figure.rows if figure is not None else ()
    return [{**row, "panel": f"{row['corpus']} text", "series": side} for row in rows]


def comparison_document(
    found: Comparison, a: Results, b: Results, figures: Mapping[str, Figure], typed: Sequence[str]
) -> Document:
    """The report of a comparison.

    Args:
        found: the comparison.
        a, b: the studies.
        figures: as `comparison_figures` gives them.
        typed: what was typed after `python -m core`.
    """
    first, second = provenance_of_study(a), provenance_of_study(b)
    notices = [f"{side}: {words}" for side, words in (("A", unfinished(a)), ("B", unfinished(b))) if words]
    return Document(
        title="Two studies compared",
        subtitle=f"A: {first.tuned_id} on {first.base_id} ({a.folder.name}). "
        f"B: {second.tuned_id} on {second.base_id} ({b.folder.name}).",
        notice=" ".join(notices),
        sections=(
            Section("settings", "What differs in how they were made", (_differing(found),)),
            Section("claims", "Claims side by side", _claims(found, figures)),
            Section("documents", "Differences", _documents(found, figures)),
            Section("curves", "Layers", _curves(figures)),
            limits_section(),
            *(_named(corpora_section(one), side) for side, one in (("A", a), ("B", b))),
            *(_named(provenance_section(one, typed), side) for side, one in (("A", a), ("B", b))),
        ),
        footer=f"A: {footer(a)} B: {footer(b)}",
    )


def _named(section: Section, side: str) -> Section:
    return Section(f"{section.key}-{side.lower()}", f"{section.title}: {side}", section.blocks)


def _differing(found: Comparison) -> Block:
    if not found.differing:
        return Text("Nothing: same pair, corpora, settings and versions.")
    return Table(("what", "A", "B"), tuple((one.what, one.a, one.b) for one in found.differing))


def _claims(found: Comparison, figures: Mapping[str, Figure]) -> tuple[Block, ...]:
    rows = tuple((f"{pair.number} {pair.claim}", *_side(pair.a), *_side(pair.b)) for pair in found.claims)
    table = Table(("claim", "A", "effect", "B", "effect"), rows)
    return (table, Text(_own_documents(found), small=True), *_picture("claims", figures))


def _own_documents(found: Comparison) -> str:
    few = any(side is not None and side.n < FEWEST_DOCUMENTS for pair in found.claims for side in (pair.a, pair.b))
    own = "Each study's effects are over its own documents; what both measured on the same ones stands further down."
    return f"{own} {_TOO_SHORT}" if few else own


def _side(one: Finding | None) -> tuple[str, str]:
    if one is None:
        return "not measured", "–"
    if one.effect is None:
        return one.verdict, "–"
    ends = f" ({number(one.interval[0])} to {number(one.interval[1])})" if one.interval else ""
    return one.verdict, f"{number(one.effect)}{ends} {one.unit}"


def _documents(found: Comparison, figures: Mapping[str, Figure]) -> tuple[Block, ...]:
    counts = ", ".join(f"{n} {kind}" for kind, n in found.shared.items())
    shared = f"Both studies have the same question and reference text in {counts} documents."
    blocks: list[Block] = [Text(shared if found.paired else f"Shared questions: {counts}.", small=not found.paired)]
    if found.paired:
        blocks += [*_differences(found.paired), *_picture("differences", figures)]
    if found.unpaired:
        blocks.append(Text(found.unpaired))
    if found.apart:
        blocks += [*_differences(found.apart), *_picture("apart", figures)]
    return tuple(blocks)


def _differences(rows: Sequence[Difference]) -> tuple[Block, ...]:
    header = ("what", "A", "B", "B less A (95 % interval)", "unit", "n")
    cells = tuple(
        (f"{one.what}, {one.corpus}", number(one.a), number(one.b), _change(one), one.unit, n_words(one))
        for one in rows
    )
    table = Table(header, cells, numbers=(1, 2, 5))
    few = few_documents(rows)
    return (table, Text(few, small=True)) if few else (table,)


def few_documents(rows: Sequence[Difference]) -> str:
    """What to keep in mind where differences are of few documents; empty where none is."""
    few = any(one.difference.n < FEWEST_DOCUMENTS for one in rows)
    return _TOO_SHORT if few else ""


def n_words(one: Difference) -> str:
    """How many documents are in it: one number where they are as many in both studies."""
    return str(one.n_a) if one.n_a == one.n_b else f"{one.n_a} and {one.n_b}"


def _change(one: Difference) -> str:
    change = one.difference
    if change.low is None or change.high is None:
        return number(change.value)
    return f"{number(change.value)} ({number(change.low)} to {number(change.high)})"


def _curves(figures: Mapping[str, Figure]) -> tuple[Block, ...]:
    own = tuple(block for name in figures if name.startswith("compare-") for block in _picture(name, figures))
    return own or (Items(("Neither layers nor states were measured in both.",)),)


def _picture(name: str, figures: Mapping[str, Figure]) -> tuple[Block, ...]:
    return (Picture(name, figures[name]),) if name in figures else ()
