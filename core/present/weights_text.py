"""Weight changes as readable text for a terminal.

Knows its report; computes nothing but rounding.
"""

from core.present.layer_reports import WeightsReport
from core.present.texts import two_digits
from core.present.weight_words import WEIGHT_MEASURES, agreement_words, within_words


def weights_text(report: WeightsReport) -> str:
    """One line a layer's part, highest layer first."""
    lines = [
        "ΔW is what fine-tuning added to the weights W; attn and mlp each as one matrix of blocks, both as well.",
        *([f"On the text of: {report.answer_from} ({report.n_tokens} tokens)."] if report.n_tokens else ()),
        *(f"Warning: {warning}" for warning in report.warnings),
        "",
        f"{'layer':>5}  {'part':<4}  {'‖ΔW‖_F':>8}  {'‖ΔW‖_F/‖W‖_F':>12}  {'‖ΔW‖₂':>8}  {'stable rank':>11}  "
        f"{'on data':>8}",
    ]
    for part in reversed(report.parts):
        lines.append(
            f"{part.layer:>5}  {part.part:<4}  {two_digits(part.frobenius):>8}  "
            f"{two_digits(part.relative_frobenius):>12}  {two_digits(part.spectral):>8}  "
            f"{two_digits(part.stable_rank):>11}  {two_digits(part.on_data):>8}"
        )
    changed = sum(module.frobenius > 0 for module in report.modules)
    lines.append(f"{changed} of {len(report.modules)} projections are changed.")
    effects = report.effects
    if effects is not None:
        lines.append(f"Recovery of each part alone; K(∅) {two_digits(effects.k_base)} nats. Mask: {report.mask}.")
        for measure in WEIGHT_MEASURES:
            each, *within = (one for one in effects.agreement if one.measure == measure)
            lines.append(f"{measure}: {agreement_words(each, within)} {within_words(within)}")
    return "\n".join(lines)
