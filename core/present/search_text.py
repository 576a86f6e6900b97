"""A search for layers as readable text for a terminal.

Knows its report; computes nothing but rounding.
"""

from core.intervene.controls import Control
from core.intervene.search import FoundSet
from core.present.layer_reports import SearchReport
from core.present.texts import two_digits


def search_text(report: SearchReport) -> str:
    """K(∅), each found set beside its controls, the steps, the shares."""
    lines = [
        f"Text of: {report.answer_from}. Mask: {report.mask}. {report.direction}. {report.method} by {report.by}.",
        f"K(∅) {two_digits(report.k_base)} ± {two_digits(report.k_noise)} nats a token.",
        *(line for found in report.sets for line in _set_lines(found)),
    ]
    if report.interaction is not None:
        lines.append(f"Recovery of all less the sum of each alone: {two_digits(report.interaction)}.")
    for step in report.curve:
        changed = f"{step.changed.layer} {step.changed.part}" if step.changed else "–"
        lines.append(f"{step.size:>4}  {changed:<10}  recovery {two_digits(step.recovery):>8}")
    if report.shapley is not None:
        lines.append(f"Shapley shares over {report.permutations} permutations, ± standard error:")
        ranked = sorted(report.shapley, key=lambda own: -own.share)
        lines += [f"{own.layer:>4}  {own.part:<6}  {two_digits(own.share):>8} ± {two_digits(own.se)}" for own in ranked]
    lines.append(f"{two_digits(report.forwards_equivalent)} forward passes' worth, {two_digits(report.seconds)} s.")
    return "\n".join([*lines, *(f"Warning: {warning}" for warning in report.warnings)])


def _set_lines(found: FoundSet) -> list[str]:
    size = len(found.units)
    if found.reached is None:
        first = f"Recovery {found.reach:g} was not reached; the best set, of {size}: {found.name}"
    else:
        known = ", and no smaller set does" if found.smallest else ""
        first = f"Recovery {found.reach:g} is reached with {size}{known}: {found.name}"
    return [
        f"{first} (recovery {two_digits(found.recovery)} ± {two_digits(found.recovery_noise)}).",
        f"  random sets of {size}: {_control(found.random)}",
        f"  the same set in random adapters: {_control(found.random_adapter)}",
    ]


def _control(control: Control) -> str:
    if control.mean is None:
        return "none"
    return f"{two_digits(control.mean)}, sd {two_digits(control.sd)}, n {control.n}"
