"""A patch grid as readable text for a terminal.

Knows the report; computes nothing but rounding and order.
"""

from core.intervene.grid import Cell
from core.present.layer_reports import GridReport
from core.present.texts import two_digits

SHOWN = 20


def grid_text(report: GridReport) -> str:
    """K(∅), then the cells that bring most over, strongest first."""
    target = f"token {report.target}" if isinstance(report.target, int) else report.target
    lines = [
        f"Text of: {report.answer_from}. {report.site}, {report.direction}. Target: {target}.",
        f"K(∅) {two_digits(report.k_base)} ± {two_digits(report.k_noise)} nats a token.",
        f"{'layer':>5}  {'pos':>5}  {'KL recovery':>11}  {'logit difference':>16}  {'attribution':>11}",
    ]
    strongest = sorted(report.cells, key=_strength, reverse=True)[:SHOWN]
    lines += [
        f"{cell.layer:>5}  {cell.pos:>5}  {two_digits(cell.kl_recovery):>11}  "
        f"{two_digits(cell.logit_difference_recovery):>16}  {two_digits(cell.attribution):>11}"
        for cell in strongest
    ]
    if len(report.cells) > SHOWN:
        lines.append(f"and {len(report.cells) - SHOWN:,} cells more")
    lines.append(
        f"Rank correlation of attribution and recovery {two_digits(report.rank_correlation)} over "
        f"{report.n_compared:,} cells; "
        f"{two_digits(report.forwards_equivalent)} forward passes' worth, {two_digits(report.seconds)} s."
    )
    return "\n".join([*lines, *(f"Warning: {warning}" for warning in report.warnings)])


def _strength(cell: Cell) -> tuple[bool, float]:
    exact = cell.kl_recovery is not None
    value = cell.kl_recovery if cell.kl_recovery is not None else cell.attribution
    return exact, abs(value or 0.0)
