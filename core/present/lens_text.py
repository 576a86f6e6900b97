"""A lens as readable text for a terminal.

Knows its report; computes nothing but rounding.
"""

from core.measure.lens import LensChoices
from core.present.layer_reports import LensReport
from core.present.lens_chart import APPROXIMATE
from core.present.texts import two_digits


def lens_text(report: LensReport) -> str:
    """The means, one line a layer, highest layer first; then the cell that was asked for."""
    lines = [
        f"Text of: {report.answer_from}. Mask: {report.mask} ({len(report.positions)} tokens). Means over them.",
        APPROXIMATE,
        *(f"Warning: {warning}" for warning in report.warnings),
        "",
        f"{'layer':>5}  {'lens KL(tuned‖base)':>19}  {'noise':>8}  {'drift norm':>10}  {'1 − cos':>8}",
    ]
    for row in reversed(range(len(report.layers))):
        mean, noise = report.mean, report.noise
        lines.append(
            f"{report.layers[row]:>5}  {two_digits(mean.kl[row]):>19}  {two_digits(noise.kl[row]):>8}  "
            f"{two_digits(mean.norm[row]):>10}  {two_digits(mean.cosine[row]):>8}"
        )
    return "\n".join([*lines, *(_cell_lines(report.cell) if report.cell else ())])


def _cell_lines(cell: LensChoices) -> list[str]:
    return [
        "",
        f"After layer {cell.layer}, before token {cell.pos}: lens KL(tuned‖base) {two_digits(cell.kl)} nats.",
        *(
            f"{model} would write: " + ", ".join(f"{choice.text!r} {two_digits(choice.logp)}" for choice in choices)
            for model, choices in (("base", cell.base), ("tuned", cell.tuned))
        ),
    ]
