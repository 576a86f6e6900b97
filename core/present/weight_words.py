"""What weight changes show, in plain sentences made from their numbers, which can say no.

Knows sizes, effects and how they agree; computes nothing but medians and rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from core.intervene.size_and_effect import Agreement
from core.measure.weights import ModuleChange
from core.present.texts import two_digits

PART_WORDS = {"attn": "attention", "mlp": "MLP"}
STRONG = 0.7  # a rank correlation beyond which about half of the order is shared


@dataclass(frozen=True)
class WeightMeasure:
    """One way to say how large a change is.

    Attributes:
        name: the field it stands in.
        label: for choices, axes and legends.
        plain: what it says, without jargon.
        more: the parts that have more of it.
    """

    name: str
    label: str
    plain: str
    more: str


_MEASURES = (
    WeightMeasure(
        "relative_frobenius", "size ‖ΔW‖_F / ‖W‖_F", "the size of the change as a share of the weights' own",
        "the parts that changed more",
    ),
    WeightMeasure(
        "spectral", "spectral norm ‖ΔW‖₂", "the most the change can lengthen a vector",
        "the parts whose change can lengthen a vector more",
    ),
    WeightMeasure(
        "stable_rank", "stable rank ‖ΔW‖_F² / ‖ΔW‖₂²", "about how many directions the change spreads over",
        "the parts whose change spreads over more directions",
    ),
    WeightMeasure(
        "on_data", "on the text ‖ΔW x‖ / ‖W x‖",
        "the change's share of what the weights make of this text's tokens but the first, with inputs as in the "
        "fine-tuned model's own run",
        "the parts whose change weighs more on this text",
    ),
)  # fmt: skip
WEIGHT_MEASURES = {measure.name: measure for measure in _MEASURES}
ON_DATA = "on_data"


def projection_word(projection: str) -> str:
    """A projection without what all of their names end in."""
    return projection.removesuffix("_proj")


def module_words(module: ModuleChange) -> str:
    """Where a module stands."""
    return f"layer {module.layer}, {projection_word(module.projection)}"


def largest(modules: Sequence[ModuleChange], measure: str) -> ModuleChange:
    """The module with the most of a measure; the lowest of equals."""
    return max(modules, key=lambda module: getattr(module, measure) or 0.0)


def sizes_words(modules: Sequence[ModuleChange], measure: str) -> str:
    """Where the largest change is, and how attention and MLPs compare."""
    changed = [module for module in modules if module.frobenius]
    if not changed:
        return "No weight changed."
    top = largest(changed, measure)
    medians = [
        f"{two_digits(median(values))} in {words}"
        for part, words in (("attn", "attention"), ("mlp", "MLPs"))
        if (values := [getattr(m, measure) or 0.0 for m in changed if m.part == part])
    ]
    untouched = len(modules) - len(changed)
    rest = f" {untouched} of {len(modules)} projections did not change." if untouched else ""
    return (
        f"The largest value is {two_digits(getattr(top, measure))}, at {module_words(top)}; the median is "
        f"{' and '.join(medians)}.{rest}"
    )


def spectrum_words(module: ModuleChange) -> str:
    """Over how many directions one change spreads."""
    if not module.frobenius or module.stable_rank is None:
        return f"Nothing changed at {module_words(module)}."
    return (
        f"At {module_words(module)} the strongest of {len(module.singular_values)} directions holds "
        f"{(module.spectral / module.frobenius) ** 2:.0%} of the change's squared size: a stable rank of "
        f"{two_digits(module.stable_rank)}."
    )


def agreement_words(found: Agreement, within: Sequence[Agreement]) -> str:
    """Whether large changes are those that do much.

    Args:
        found: over attention and MLPs together.
        within: over attention, and over MLPs, by themselves. Where only these two kinds of parts differ, no layer is
            told from another, and the sentence says so.
    """
    if found.correlation is None or found.by_chance is None:
        return "There is no order of sizes and effects to compare."
    more = WEIGHT_MEASURES[found.measure].more
    figure = f"rank correlation {found.correlation:.2f}, n = {found.n}"
    if abs(found.correlation) <= found.by_chance:
        return (
            f"No: {more} do neither more nor less by themselves than the others, as far as this text tells ({figure}; "
            f"up to ±{found.by_chance:.2f} comes about by chance)."
        )
    if not any(_beyond_chance(one, found.correlation) for one in within):
        how = "more" if found.correlation > 0 else "less"
        return (
            f"Not from layer to layer: {more} do {how} by themselves on this text ({figure}), but only as attention "
            "and MLPs differ from each other; within either kind the order is no clearer than chance."
        )
    if found.correlation < 0:
        return f"On the contrary: {more} do less by themselves on this text ({figure})."
    how = "clearly" if found.correlation >= STRONG else "somewhat"
    return f"Yes, {how}: {more} also do more by themselves on this text ({figure})."


def _beyond_chance(one: Agreement, like: float) -> bool:
    """Whether a correlation is clear of chance, in the direction of another."""
    if one.correlation is None or one.by_chance is None:
        return False
    return one.correlation * like > 0 and abs(one.correlation) > one.by_chance


def within_words(found: Sequence[Agreement]) -> str:
    """The same within attention and within MLPs, whose sizes may differ as groups."""
    said = [
        f"among {'attention parts' if one.part == 'attn' else 'MLPs'} "
        f"{'none' if one.correlation is None else f'{one.correlation:.2f}'} (n = {one.n})"
        for one in found
    ]
    return f"Rank correlation {', '.join(said)}."
