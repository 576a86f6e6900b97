"""The table of token metrics: name, words, unit, sign and the fixed colour domain.

A new metric is one function in `divergence`, one field in `tokens` and one row here. Knows no model.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One number per token.

    Attributes:
        name: field of `TokenScore` and column in exports.
        label: what the page calls it, direction included.
        plain: the same for someone who does not know the term.
        unit: `nats`, `1` for pure numbers.
        signed: whether it is centred on 0.
        domain: fixed ends of the colour scale, never rescaled to a text.
        steps: words for the whole numbers from `domain[0]` on, where values are classes; they have no mean.
    """

    name: str
    label: str
    plain: str
    unit: str
    signed: bool
    domain: tuple[float, float]
    steps: tuple[str, ...] = ()


_ROWS = (
    Metric("js_distance", "√(Jensen–Shannon)", "how far apart the two models are, 0 to 1", "1", False, (0, 1)),
    Metric(
        "kl_tuned_base",
        "KL(tuned‖base)",
        "how much more surprised the base model would be than the fine-tuned one by what that one expects",
        "nats",
        False,
        (0, 4),
    ),
    Metric(
        "kl_base_tuned",
        "KL(base‖tuned)",
        "how much more surprised the fine-tuned model would be than the base one by what that one expects",
        "nats",
        False,
        (0, 4),
    ),
    Metric("js", "JS(tuned, base)", "how far apart the two models are", "nats", False, (0, 0.6931471805599453)),
    Metric("tv", "TV(tuned, base)", "share of probability that moved", "1", False, (0, 1)),
    Metric(
        "delta_logp",
        "ln p(tuned) − ln p(base)",
        "how much likelier fine-tuning made this very token",
        "nats",
        True,
        (-4, 4),
    ),
    Metric("entropy_base", "entropy of base", "how undecided the base model is", "nats", False, (0, 6)),
    Metric("entropy_tuned", "entropy of tuned", "how undecided the fine-tuned model is", "nats", False, (0, 6)),
    Metric(
        "rank_class",
        "rank class under base",
        "whether the token is the base model's first choice, its second or third, or further down",
        "1",
        False,
        (0, 2),
        ("unshifted (1)", "marginal (2–3)", "shifted (> 3)"),
    ),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ROWS}
# Not of a text's two models but of one of them and a hybrid; on the scale of KL(tuned‖base), to be held beside it.
HYBRID_METRICS = {
    f"kl_{donor}_hybrid": Metric(
        f"kl_{donor}_hybrid",
        f"KL({donor}‖hybrid)",
        "how far the hybrid still is from the model its layers come from",
        "nats",
        False,
        (0, 4),
    )
    for donor in ("tuned", "base")
}
DEFAULT_COLOUR = "js_distance"
DEFAULT_FIGURE = "kl_tuned_base"
SUMMARISED = tuple(metric.name for metric in _ROWS if not metric.steps)
UNITS: dict[str, str] = {name: METRICS[name].unit for name in SUMMARISED} | {
    "logp_base": "nats",
    "logp_tuned": "nats",
    "rank_base": "1",
    "rank_tuned": "1",
    "end_base": "1",
    "end_tuned": "1",
}


def metric_of(name: str) -> Metric:
    """A metric of either table."""
    return METRICS.get(name) or HYBRID_METRICS[name]
