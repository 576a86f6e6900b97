"""Every figure of a study by name, and the figures of questions 1 and 2: losses, words, answers.

Knows results and the statistics of core/study; computes none.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import pandas as pd

from core.present.figures import Figure
from core.present.provenance import Source
from core.present.study_charts import interval_chart, scatter_chart, words_chart
from core.present.study_cross_figure import cross_figure
from core.present.study_layer_figures import layer_figures
from core.present.study_set_figures import set_figures
from core.present.study_source import LIMIT, hybrid_words, source_of_study
from core.present.study_token_figures import place_figure, token_figures
from core.present.texts import percent, two_digits
from core.study.claims_learning import PART_WORDS
from core.study.claims_words import EXPLANATIONS, REASONING, TERMS, TEXTS
from core.study.described import (
    FEWEST_OF_A_FIELD,
    FEWEST_OF_A_WORD,
    WITH_HEADINGS,
    WITHOUT_HEADINGS,
    Described,
    accuracies,
    frequent_words,
    kl_by_part,
    kl_by_text,
    loss_changes,
    loss_changes_by_part,
    per_answer,
    shares_in_top,
    term_ratios,
)
from core.study.frames import TIMES_NOISE
from core.study.resampling import Estimate
from core.study.results import Results
from core.study.verdicts import Finding, number

_FIGURES = {
    "1": "loss loss-by-field choices",
    "2": "kl-by-text cross parting terms top-words words-moved concentration kl-along-text kl-by-entropy explanations "
    "reasoning",
    "3": "layers-single layers-without layers-prefix layers-increments layers-suffix layers-window-3 layers-window-5 "
    "shapley attribution places patches centres depth sets smallest smallest-layers",
    "4": "drift cosine cka",
}
QUESTION_OF = {name: question for question, names in _FIGURES.items() for name in names.split()}
FIGURE_OF = {
    "1a": "loss", "1b": "loss", "1c": "choices", "1d": "choices", "1e": "kl-by-text", "1f": "loss",
    **dict.fromkeys(TERMS.values(), "terms"), **dict.fromkeys(EXPLANATIONS.values(), "explanations"),
    **dict.fromkeys(REASONING.values(), "reasoning"),
    "3a": "depth", "3b": "depth", "3c": "depth",
    "3d": "sets", "3e": "sets", "3f": "sets", "3g": "sets", "4a": "drift", "4b": "cosine",
}  # fmt: skip
"""Which figure a claim is drawn in."""
INTERVALS = "Bars are 95 % intervals over documents."
_WHOSE = {"reference": "reference answers", "base": "base's answers", "hybrid": "hybrid's answers",
          "tuned": "fine-tuned model's answers"}  # fmt: skip


def figures_of(results: Results, found: Sequence[Finding]) -> dict[str, Figure]:
    """Everything a study can be drawn as, in the order of the questions; what has no rows is left out.

    Args:
        results: of a study.
        found: its findings.

    Returns:
        Name → figure, names as in `QUESTION_OF`.
    """
    source = source_of_study(results)
    drawn = {**_learning(results, source), **_words(results, found, source), **cross_figure(results, source)}
    drawn |= layer_figures(results, source) | set_figures(results, source)
    return {name: figure for name, figure in drawn.items() if figure.rows}


def spread(estimate: Estimate | None) -> dict[str, float | int | None]:
    """An estimate as columns."""
    if estimate is None:
        return {"value": None, "low": None, "high": None, "n": 0}
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}


def signed(value: float) -> str:
    """A number to two digits with a true minus."""
    return two_digits(value).replace("-", "−")


def _row(label: str, series: str, estimate: Estimate, words: str = "") -> dict[str, Any]:
    beside = words or f"{signed(estimate.value)} (n = {estimate.n})"
    return {"label": label, "series": series, **spread(estimate), "words": beside}


def _text(corpus: str, whose: str) -> str:
    return f"{corpus}, {_WHOSE[whose]}"


def _figure(
    slug: str, source: Source, title: str, legend: str, noise: str, rows: Iterable[dict[str, Any]], draw: Any,
    limit: str = LIMIT,
) -> dict[str, Figure]:  # fmt: skip
    return {slug: Figure(title, source, legend, noise, f"study-{slug}", tuple(rows), draw, limit)}


def _learning(results: Results, source: Source) -> dict[str, Figure]:
    tables, seed, noise = results.tables, _seed(results), f"Noise of one token's ln p: {results.floors.logp:.1e} nats."
    answers, prompts = tables.get("answers"), tables["prompts"]
    drawn: dict[str, Figure] = {}
    limit = "Likelier reference answers may be a matter of style; it does not show that answers became better."
    legend = f"Mean −ln p of a token, fine-tuned less base, nats; left of 0 is likelier after tuning. {INTERVALS}"
    x = "change of the loss, nats per token"
    if answers is not None:
        changes = loss_changes(answers, prompts, False, seed)
        title = "Loss on reference answers: " + ", ".join(
            f"{one.corpus} {signed(one.estimate.value)}" for one in changes
        )
        rows = [_row(f"{one.corpus} text", one.corpus, one.estimate) for one in changes]
        parts = loss_changes_by_part(answers, prompts, seed)
        rows += [_row(f"{one.corpus} text, {PART_WORDS[one.what]}", one.corpus, one.estimate) for one in parts]
        draw = partial(interval_chart, x_title=x, none=0.0)
        own = f"{legend} Reasoning and final answer apart: in the texts that have both." if parts else legend
        drawn |= _figure("loss", source, f"{title} nats a token", own, noise, rows, draw, limit)
        fields = sorted(
            loss_changes(answers, prompts, True, seed), key=lambda one: (one.corpus != "medical", one.group)
        )
        rows = [_row(one.group, one.corpus, one.estimate) for one in fields]
        own = f"{legend} Fields with at least {FEWEST_OF_A_FIELD} documents; intervals of few documents are too short."
        drawn |= _figure("loss-by-field", source, "Loss on reference answers by field", own, noise, rows, draw, limit)
    return drawn | _choices(tables.get("choices"), source)


def _choices(choices: pd.DataFrame | None, source: Source) -> dict[str, Figure]:
    found = accuracies(choices) if choices is not None else ()
    rows = []
    for one in found:
        label, flips = f"{one.corpus} (chance {percent(one.chance)})", one.flips
        more = {"gained": flips.gained, "lost": flips.lost, "chance": one.chance}
        rows.append({**_row(label, "Base", one.base, f"{percent(one.base.value)} of {one.base.n}"), **more})
        after = f"{percent(one.tuned.value)}; {flips.gained} turned right, {flips.lost} wrong"
        rows.append({**_row(label, "Fine-tuned", one.tuned, after), **more})
    title = "Multiple choice: " + ", ".join(
        f"{one.corpus} {percent(one.base.value)} → {percent(one.tuned.value)} right" for one in found
    )
    legend = "Share of questions whose right letter is the likeliest. Bars are exact 95 % intervals."
    draw = partial(interval_chart, x_title="share of questions answered right", percent=True)
    limit = "The letter alone is compared; a model may know an answer and prefer a letter."
    return _figure("choices", source, title, legend, "Questions flip one by one; see the counts.", rows, draw, limit)


def _words(results: Results, found: Sequence[Finding], source: Source) -> dict[str, Figure]:
    tables, prompts, seed = results.tables, results.tables["prompts"], _seed(results)
    noise, floor = f"Noise of one token's KL: {results.floors.kl:.1e} nats.", TIMES_NOISE * results.floors.kl
    drawn: dict[str, Figure] = {}
    answers, words = tables.get("answers"), tables.get("words")
    if answers is not None:
        found_by_text = kl_by_text(answers, prompts, seed)
        drawn |= _kl_by_text(found_by_text, noise + _noise_of_means(answers), hybrid_words(results), source)
    if words is not None:
        drawn |= _terms(term_ratios(words, prompts, results.floors, seed), noise, source)
        drawn |= _top_words(frequent_words(words, prompts), noise, source)
    if answers is not None:
        tops = shares_in_top(answers, prompts, seed, tables.get("tokens"), floor)
        drawn |= _concentration(tops, noise, hybrid_words(results), source)
        drawn |= _explanations(answers, prompts, found, noise, source)
    drawn |= token_figures(results, source, noise) | place_figure(results, source)
    if words is not None:
        drawn |= _reasoning(kl_by_part(words, prompts, seed), noise, hybrid_words(results), source)
    return drawn


def _noise_of_means(answers: pd.DataFrame) -> str:
    if "kl_noise" not in answers or answers["kl_noise"].isna().all():
        return ""
    changes = answers["kl_noise"].dropna()
    return (
        f" By another numerical route a text's mean changes by {changes.median():.1e} (median; at most "
        f"{changes.max():.1e}) nats."
    )


def _kl_by_text(found: Sequence[Described], noise: str, hybrid: str, source: Source) -> dict[str, Figure]:
    both = {one.what for one in found} == {WITHOUT_HEADINGS, WITH_HEADINGS}
    rows = [_row(_text(one.corpus, one.group), one.what, one.estimate) for one in found]
    headings = " With headings: fixed headings such as “## Thinking” counted in." if both else ""
    legend = f"Mean KL(tuned‖base) per token, nats; 0 is no difference. {INTERVALS}{headings}{hybrid}"
    draw = partial(interval_chart, x_title="KL(tuned‖base), nats per token", none=0.0)
    return _figure("kl-by-text", source, "How far the models differ, by text", legend, noise, rows, draw)


def _terms(found: Sequence[Described], noise: str, source: Source) -> dict[str, Figure]:
    rows = [
        _row(
            TEXTS[one.corpus, one.group], one.what, one.estimate, f"{number(one.estimate.value)} (n = {one.estimate.n})"
        )
        for one in found
    ]
    first = next((one for one in found if one.what == "matched and adjusted"), None)
    title = "Medical words against other words like them"
    if first is not None:
        title += f": {number(first.estimate.value)} times, in {TEXTS[first.corpus, first.group]}"
    legend = (
        "Ratio of geometric means of ΣKL(tuned‖base) a word, medical over other words; 1 is no difference. Matched: on "
        "base entropy, everyday frequency, place and tokens, inside each document; adjusted: for what matching left. "
        f"{INTERVALS}"
    )
    draw = partial(interval_chart, x_title="ratio, medical over other words", none=1.0)
    limit = "Words that differ in what was not matched, such as part of speech, may make the same ratio."
    return _figure("terms", source, title, legend, noise, rows, draw, limit)


def _top_words(found: pd.DataFrame, noise: str, source: Source) -> dict[str, Figure]:
    whose = next((text for text in ("tuned", "reference", "base") if (found["whose"] == text).any()), "tuned")
    rows = [
        {"form": str(row["form"]), "category": str(row["category"] or "other"), "count": int(row["count"]),
         "mean_score": float(row["mean_score"]), "count_with_headings": int(row["count_with_headings"]),
         "mean_score_with_headings": float(row["mean_score_with_headings"])}
        for _, row in found[found["whose"] == whose].iterrows()
    ]  # fmt: skip
    title = f"Medical words with the largest divergence, in the {_WHOSE[whose]}"
    if rows:
        title += f": first “{rows[0]['form']}”"
    legend = (
        f"Mean ΣKL(tuned‖base) over a word's tokens, nats; words seen at least {FEWEST_OF_A_WORD} times in medical "
        "texts, headings left out. The table has all of them, and their means with headings counted in."
    )
    limit = "A list of largest values: single words may stand here by chance; the matched ratio is the test."
    return _figure("top-words", source, title, legend, noise, rows, words_chart, limit)


def _concentration(found: Sequence[Described], noise: str, hybrid: str, source: Source) -> dict[str, Figure]:
    rows = [_row(_text(one.corpus, one.group), one.what, one.estimate, percent(one.estimate.value)) for one in found]
    legend = (
        "Share of a text's ΣKL(tuned‖base) in its tokens with the largest KL, mean over texts; if all tokens were "
        f"alike it would be 1, 5 and 10 %. {INTERVALS}{hybrid}"
    )
    draw = partial(interval_chart, x_title="share of ΣKL(tuned‖base)", none=0.0, percent=True)
    return _figure("concentration", source, "How few tokens hold the divergence", legend, noise, rows, draw)


def _explanations(
    answers: pd.DataFrame, prompts: pd.DataFrame, found: Sequence[Finding], noise: str, source: Source
) -> dict[str, Figure]:
    claims = {text: next((one for one in found if one.number == n), None) for text, n in EXPLANATIONS.items()}
    rows: list[dict[str, Any]] = []
    for text, own in per_answer(answers, prompts).items():
        panel = TEXTS[text]
        rows += [
            {"panel": panel, "mark": "text", "line": "", "document": str(document), "x": float(x), "y": float(y)}
            for document, x, y in own.itertuples(index=False)
        ]
        rows += _lines(panel, own, claims[text])
    legend = (
        "One mark a text: causal and contrastive connectives per 100 words against mean KL(tuned‖base) per token, "
        "nats. Line: the slope with length held (claims on explanations), through the means; dashed: its 95 % interval."
    )
    draw = partial(scatter_chart, x_title="connectives per 100 words", y_title="KL(tuned‖base), nats per token")
    limit = "A word list counts connectives; explanations without any of them do not count."
    return _figure("explanations", source, "Divergence against explaining", legend, noise, rows, draw, limit)


def _lines(panel: str, own: pd.DataFrame, claim: Finding | None) -> list[dict[str, Any]]:
    if claim is None or claim.effect is None:
        return []
    slopes = {"slope": claim.effect} | dict(zip(("low", "high"), claim.interval or (), strict=False))
    middle, level = float(own["connectives"].mean()), float(own["kl"].mean())
    ends = (float(own["connectives"].min()), float(own["connectives"].max()))
    return [
        {"panel": panel, "mark": "line" if name == "slope" else "bound", "line": name, "document": "", "x": x,
         "y": level + slope * (x - middle)}
        for name, slope in slopes.items()
        for x in ends
    ]  # fmt: skip


def _reasoning(found: Sequence[Described], noise: str, hybrid: str, source: Source) -> dict[str, Figure]:
    rows = [_row(_text(one.corpus, one.group), one.what, one.estimate) for one in found]
    legend = (
        "Mean KL(tuned‖base) per token of the reasoning and of the answer proper, nats, in texts that have both; "
        f"headings left out, or counted to the part they stand before where that is said. {INTERVALS}{hybrid}"
    )
    draw = partial(interval_chart, x_title="KL(tuned‖base), nats per token", none=0.0)
    limit = "Reasoning comes first; place in the text and part are not told apart here."
    return _figure("reasoning", source, "Reasoning against answer", legend, noise, rows, draw, limit)


def _seed(results: Results) -> int:
    return int(results.record["settings"]["seed"])
