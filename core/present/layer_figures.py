"""Reports on layers as figures to keep: what `--out` writes as a picture, a page or a table.

Knows reports; computes nothing.
"""

from collections.abc import Sequence
from functools import partial

from core.present.charts import slope_rows, slopes_chart
from core.present.figures import Figure
from core.present.layer_charts import recovery_chart, sweep_report_rows
from core.present.layer_reports import GridReport, SearchReport, SweepReport, WhyReport
from core.present.provenance import Source
from core.present.set_charts import (
    cell_rows,
    curve_chart,
    curve_rows,
    grid_chart,
    grid_end,
    grid_scale,
    share_rows,
    shares_chart,
)
from core.present.texts import two_digits


def _recovery_words(direction: str, k_base: float, what: str) -> str:
    donor = "tuned" if direction == "tuned-into-base" else "base"
    return (
        f"Recovery 1 − K(S)/K(∅), K = mean KL({donor}‖{what}), {direction.replace('-', ' ')}; "
        f"K(∅) = {two_digits(k_base)} nats."
    )


def sweep_figure(report: SweepReport, source: Source) -> Figure:
    """Recovery of every plan of a sweep."""
    noise = max((plan.recovery_noise or 0.0 for plan in report.plans), default=0.0)
    return Figure(
        f"Sweep: {report.kind}",
        source,
        f"{_recovery_words(report.direction, report.k_base, 'grafted')} Mask: {report.mask}.",
        f"± at most {two_digits(noise)} by numerical noise.",
        f"sweep-{report.kind}-{report.direction}",
        tuple(sweep_report_rows(report.kind, report.plans)),
        recovery_chart,
    )


def grid_figure(report: GridReport, tokens: Sequence[str], source: Source) -> Figure:
    """The cells of a patch grid: exact ones where all were computed, else what gradients say."""
    exact = all(cell.kl_recovery is not None or cell.attribution is None for cell in report.cells)
    value = "kl_recovery" if exact else "attribution"
    layers = sorted({cell.layer for cell in report.cells})
    positions = sorted({cell.pos for cell in report.cells})
    n_predictions = 1 if isinstance(report.target, int) else len(report.answer_ids)
    noise = two_digits(report.k_noise / report.k_base if report.k_base else None)
    return Figure(
        f"Patch grid: {report.site}",
        source,
        f"{_recovery_words(report.direction, report.k_base, 'patched')} Target: {report.target}; {value}; blank where "
        f"undefined; {grid_scale(n_predictions)}.",
        f"± {noise} by numerical noise.",
        f"grid-{report.site}-{value}".replace("_", "-"),
        tuple(cell_rows(report.cells, dict(enumerate(tokens)), value)),
        partial(grid_chart, value=value, layers=layers, positions=positions, end=grid_end(n_predictions)),
    )


def search_figure(report: SearchReport, n_layers: int, source: Source) -> Figure:
    """Recovery by the number of units, with controls; where shares were asked for, the share of every unit."""
    if report.method == "shapley" and report.shapley:
        return Figure(
            f"Shapley shares, by {report.by}",
            source,
            f"{_recovery_words(report.direction, report.k_base, 'grafted')} Mean increment of recovery over "
            f"{report.permutations} orders, ± one standard error. Mask: {report.mask}.",
            f"± {two_digits(report.k_noise)} nats of K(∅) by numerical noise.",
            f"shapley-{report.by}",
            tuple(share_rows(report.shapley)),
            shares_chart,
        )
    return Figure(
        f"Smallest sets: {report.method}, by {report.by}",
        source,
        f"{_recovery_words(report.direction, report.k_base, 'grafted')} Controls: mean ± standard deviation. Mask: "
        f"{report.mask}.",
        f"± {two_digits(report.k_noise)} nats of K(∅) by numerical noise.",
        f"sets-{report.method}-{report.by}",
        tuple(curve_rows(report.curve, report.sets, n_layers)),
        curve_chart,
    )


def why_figure(report: WhyReport, source: Source) -> Figure:
    """First-order effects of layers on the contrast of one prediction."""
    found = report.why
    return Figure(
        f"Slopes by layer at token {found.pos}, “{found.token_text.strip() or '␣'}”",
        source,
        f"Slope of logit {found.gained_id} − logit {found.lost_id} per unit of gate, at the base model.",
        "First order: no noise is computed.",
        f"slopes-token-{found.pos}",
        tuple(slope_rows(found.attribution)),
        slopes_chart,
    )
