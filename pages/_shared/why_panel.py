"""One token, questioned: first choices, words that make the divergence, layers that make it.

Knows what to ask the worker for, and how to draw it.
"""

from collections.abc import Sequence
from functools import partial

import streamlit as st

from core.generate.requests import Progress
from core.generate.worker import Worker
from core.intervene.why import LayerEffects, RankedChoice, Why, layer_effects, why
from core.measure.terms import Term
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.present.charts import effect_rows, effects_chart, slope_rows, slopes_chart
from core.present.provenance import Source, source_of
from core.present.texts import two_digits
from pages._shared.exports import draw_figure
from pages._shared.frame import escaped
from pages._shared.tasks import compute
from pages._shared.texts import Text

_WORDS = {"base": "Base", "hybrid": "Hybrid", "tuned": "Fine-tuned"}


def ask_why(worker: Worker, page: str, text: Text, pos: int) -> None:
    """Puts the questions to the worker and draws the answers as they come: the quick ones, then the exact ones."""
    ids, hybrid = (*text.prompt.ids, *text.ids), text.hybrid
    gates = hybrid.gates(worker.pair.n_layers) if hybrid else None
    reasons = compute(worker, "why", page, (ids, pos, hybrid), partial(_why, ids, pos, gates), "Asking the token")
    if reasons is None:
        return
    pieces = worker.pair.prompts.pieces([reasons.token_id, reasons.gained_id, reasons.lost_id])
    word, gained, lost = (piece.text for piece in pieces)
    draw_why(reasons, word)
    source = source_of(worker.pair, text.question)
    draw_slopes(reasons, gained, lost, source)
    effects = compute(worker, "effects", page, (ids, pos), partial(_effects, ids, pos), "Grafting each layer")
    if effects is not None:
        draw_effects(effects, pos, _shown(word), source)


def _why(ids: tuple[int, ...], pos: int, gates: Gates | None, pair: Pair, progress: Progress) -> Why:
    return why(pair, ids, pos, gates)


def _effects(ids: tuple[int, ...], pos: int, pair: Pair, progress: Progress) -> LayerEffects:
    return layer_effects(pair, ids, pos, progress)


def draw_why(found: Why, word: str) -> None:
    """What each model would have written, and which words carry the divergence."""
    st.markdown(f"##### Why “{escaped(_shown(word))}”?")
    st.write(_sentence(found))
    for column, (model, choices) in zip(st.columns(len(found.choices)), found.choices.items(), strict=True):
        column.caption(f"{_WORDS[model]} would write")
        column.table(_choice_rows(model, choices), hide_index=True)
    terms = found.terms
    left, right = st.columns(2)
    for column, title, listed, rest in (
        (left, "Words fine-tuning made likelier", terms.gained, terms.other_gained),
        (right, "Words fine-tuning made rarer", terms.lost, terms.other_lost),
    ):
        column.caption(f"{title}, by their share of KL(tuned‖base)")
        column.table([*map(_term_row, listed), {"word": "all others", "nats": two_digits(rest)}], hide_index=True)
    st.caption(
        f"The shares add up to KL(tuned‖base) = {two_digits(terms.kl)} nats. Probability of ending the turn here: "
        f"{two_digits(terms.end_base)} under base, {two_digits(terms.end_tuned)} under the fine-tuned model."
    )


def draw_slopes(found: Why, gained: str, lost: str, source: Source) -> None:
    """The quick ranking of layers."""
    st.markdown("**Which layers, at a glance**")
    ends = f"base {two_digits(found.contrast_base)}, fine-tuned {two_digits(found.contrast_tuned)}"
    legend = (
        f"By how much grafting a little of each part into base would move the contrast between “{_shown(gained)}” "
        f"and “{_shown(lost)}” ({ends}): a slope at the base model, a ranking and not yet an effect."
    )
    title = f"Slopes by layer at token {found.pos}, “{_shown(found.token_text)}”"
    slug = f"slopes-token-{found.pos}"
    draw_figure(
        source, title, legend, "First order: no noise is computed.", slug, slope_rows(found.attribution), slopes_chart
    )
    st.caption(legend)


def draw_effects(effects: LayerEffects, pos: int, word: str, source: Source) -> None:
    """The exact effects of layers."""
    st.markdown("**Which layers, exactly**")
    if all(result.recovery is None for result in effects.alone.results):
        st.write("The two models do not differ here beyond numerical noise: no difference to recover.")
        return
    legend = (
        "Recovery of this prediction, 1 − K(S)/K(∅) with K = KL(tuned‖grafted): 0 is the base model, 1 the fine-tuned "
        "one. Each layer grafted alone, and all layers but each. The two differ where layers work together."
    )
    moved = max(result.recovery_noise or 0.0 for result in (*effects.alone.results, *effects.without.results))
    title, noise = f"Recovery by layer at token {pos}, “{word}”", f"± at most {two_digits(moved)} by numerical noise."
    draw_figure(source, title, legend, noise, f"recovery-token-{pos}", effect_rows(effects), effects_chart)
    st.caption(f"{legend} {noise} It says where the change acts, not whether it is right.")


def _sentence(found: Why) -> str:
    base, tuned = found.written["base"], found.written["tuned"]
    if base[0] == tuned[0] == 1:
        return "Both models would have written this token; they differ in how sure they are."
    if tuned[0] == 1:
        return f"It is the fine-tuned model's first choice and the base model's choice number {base[0]:,}."
    if base[0] == 1:
        return f"It is the base model's first choice and the fine-tuned model's choice number {tuned[0]:,}."
    return f"It is neither model's first choice: number {base[0]:,} for base, {tuned[0]:,} for the fine-tuned model."


def _shown(text: str) -> str:
    return text.replace("\n", "↵").strip() or "␣"


def _choice_rows(model: str, choices: Sequence[RankedChoice]) -> list[dict[str, str]]:
    others = [name for name in choices[0].ranks if name != model]
    return [
        {"token": escaped(_shown(choice.text)), "log p": two_digits(choice.logp)}
        | {f"no. in {_WORDS[name].lower()}": f"{choice.ranks[name]:,}" for name in others}
        for choice in choices
    ]


def _term_row(term: Term) -> dict[str, str]:
    return {
        "word": escaped(_shown(term.text)),
        "nats": two_digits(term.term),
        "p base": two_digits(term.p_base),
        "p fine-tuned": two_digits(term.p_tuned),
    }
