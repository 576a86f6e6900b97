"""Reports as readable text for a terminal.

Knows reports; computes nothing but rounding.
"""

from collections.abc import Mapping

from core.generate.record import LaneAnswer
from core.measure.metrics import DEFAULT_FIGURE, METRICS
from core.present.answer_sections import NO_ANSWER
from core.present.layer_reports import SweepReport, WhyReport
from core.present.reports import AskReport, DiffReport, PairsReport


def two_digits(value: float | None) -> str:
    """A number to two significant digits, as pages show it; `–` where there is none."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    if abs(value) >= 99.5:
        return f"{value:.0f}"
    return f"{value:#.2g}".rstrip(".") if abs(value) >= 0.001 else f"{value:.1e}"


def told_apart(one: float, other: float) -> tuple[str, str]:
    """Two numbers to as many significant digits, two at least, as it takes to tell them apart, up to eight."""
    shown = two_digits(one), two_digits(other)
    for digits in range(3, 9):
        if shown[0] != shown[1]:
            break
        shown = f"{one:#.{digits}g}".rstrip("."), f"{other:#.{digits}g}".rstrip(".")
    return shown


def percent(share: float) -> str:
    """A probability as a page shows it, 0..1 given: `62 %`, `4.1 %`, `< 0.1 %`; `> 99 %` rather than a rounded 100."""
    if share < 0.001:
        return "0 %" if share == 0 else "< 0.1 %"
    if share > 0.99:
        return "100 %" if share == 1 else "> 99 %"
    return f"{share * 100:.1f} %" if share < 0.0995 else f"{share * 100:.0f} %"


def pairs_text(report: PairsReport) -> str:
    """One paragraph a pair."""
    lines = []
    for pair in report.pairs:
        size = f"{pair.n_layers} layers, d_model {pair.d_model}" if pair.n_layers else "size known once fetched"
        lines += [
            f"{pair.name}: {pair.title} ({'ready' if pair.ready else 'not ready'}; {size})",
            f"  base   {pair.base.id}  {pair.base.path or 'not fetched'}",
            f"  tuned  {pair.tuned.id} ({pair.tuned.kind})  {pair.tuned.path or 'not here'}",
        ]
    return "\n".join(lines)


def diff_text(report: DiffReport) -> str:
    """The summary, then one line a scored answer token."""
    figure = report.summary[DEFAULT_FIGURE]
    lines = [
        f"Text of: {report.answer_from}. Mask: {report.mask} ({figure.n} tokens).",
        f"{METRICS[DEFAULT_FIGURE].label}: mean {two_digits(figure.mean)} ± {two_digits(figure.noise)} nats, "
        f"max {two_digits(figure.max)} nats. Top 10 % of tokens hold "
        f"{two_digits(report.concentration.top_10pct)} of the sum.",
        *(f"Warning: {warning}" for warning in report.warnings),
        "",
        f"{'pos':>4}  {'part':<9}  {'KL(tuned‖base)':>14}  {'√JS':>6}  {'rank in base':>12}  token",
    ]
    for token in report.tokens[len(report.prompt_ids) :]:
        lines.append(
            f"{token.pos:>4}  {token.part:<9}  {two_digits(token.kl_tuned_base):>14}  "
            f"{two_digits(token.js_distance):>6}  {token.rank_base or 0:>12}  {token.text!r}"
        )
    return "\n".join(lines)


def ask_text(report: AskReport, titles: Mapping[str, str]) -> str:
    """One block a lane.

    Args:
        report: of the command.
        titles: lane → what it is.
    """
    blocks = []
    for lane in report.lanes:
        speed = two_digits(lane.tokens_per_second)
        title = lane.name if lane.name in ("base", "tuned") else f"{lane.name}: {titles[lane.name]}"
        blocks.append(
            f"== {title} ({len(lane.ids)} tokens, {speed} tokens/s, ended by {lane.finished})\n"
            f"{lane.text}{_unfinished(lane)}\n"
            f"   KL(lane‖base) {two_digits(lane.kl_to_base)}, KL(lane‖tuned) {two_digits(lane.kl_to_tuned)} nats a "
            f"token; repeated 4-grams {two_digits(lane.repetition)}{_coupling(lane)}"
        )
    parted = report.first_divergence
    whole = all(lane.finished == "end" for lane in report.lanes if lane.name in ("base", "tuned"))
    alike = f"Base and fine-tuned answer alike{'' if whole else ', as far as both were written'}."
    words = alike if parted is None else f"Base and fine-tuned part at token {parted}."
    for own in report.forks:
        blocks.append(
            f"== {titles[own.answer.name]} "
            f"({len(own.answer.ids)} tokens, ended by {own.answer.finished})\n{own.answer.text}"
            f"{_unfinished(own.answer)}"
        )
    more = [_cross_text(report)] if report.cross else []
    more += [_letters_text(report)] if report.letters else []
    return "\n\n".join([*blocks, words, *more, *(f"Warning: {warning}" for warning in report.warnings)])


def _coupling(lane: LaneAnswer) -> str:
    """Where lanes shared their noise: how often base and fine-tuned would have parted, beside what bounds it."""
    if lane.parting_rate is None:
        return ""
    return f"; would part at {percent(lane.parting_rate)} of tokens, mean TV {two_digits(lane.mean_tv)}"


def _unfinished(answer: LaneAnswer) -> str:
    return f"\n   {NO_ANSWER}" if answer.reasoning_finished is False else ""


def _cross_text(report: AskReport) -> str:
    assert report.cross is not None
    rows = [
        f"  {row.answer:<10} " + ", ".join(f"{score.model} {two_digits(score.nats)}" for score in row.models)
        for row in report.cross.answers
    ]
    return "\n".join(["Each answer under each model, −log p in nats a token:", *rows])


def _letters_text(report: AskReport) -> str:
    rows = [
        f"  {own.lane:<10} {own.choice.chosen}{' (flipped)' if own.flipped else ''}: "
        + ", ".join(f"{a} {p:.2f}" for a, p in zip(own.choice.letters, own.choice.probabilities, strict=True))
        + f"; all letters together {two_digits(own.choice.mass)}"
        for own in report.letters or ()
    ]
    return "\n".join(["Options, by the probability of their letter as the first token of the answer:", *rows])


def why_text(report: WhyReport) -> str:
    """The token, first choices, terms and layers."""
    why = report.why
    terms = why.terms
    written = [f"{name}'s choice no. {rank}, log p {two_digits(logp)}" for name, (rank, logp) in why.written.items()]
    lines = [
        f"Token {why.pos} {why.token_text!r}: KL(tuned‖base) {two_digits(terms.kl)} nats; {'; '.join(written)}.",
        *(
            f"{name} would write: " + ", ".join(f"{c.text!r} {two_digits(c.logp)}" for c in choices[:5])
            for name, choices in why.choices.items()
        ),
        "gained: " + ", ".join(f"{t.text!r} {two_digits(t.term)}" for t in terms.gained[:5]),
        "lost: " + ", ".join(f"{t.text!r} {two_digits(t.term)}" for t in terms.lost[:5]),
        f"Ending the turn: {two_digits(terms.end_base)} under base, {two_digits(terms.end_tuned)} under tuned.",
    ]
    if report.effects is not None:
        lines.append(f"{'layer':>5}  {'alone':>8}  {'without':>8}  slope attn, mlp")
        pairs = zip(report.effects.alone.results, report.effects.without.results, why.attribution, strict=True)
        for layer, (alone, without, slope) in enumerate(pairs):
            lines.append(
                f"{layer:>5}  {two_digits(alone.recovery):>8}  {two_digits(without.recovery):>8}  "
                f"{two_digits(slope[0])}, {two_digits(slope[1])}"
            )
    return "\n".join(lines)


def sweep_text(report: SweepReport) -> str:
    """K(∅), then one line a plan."""
    lines = [
        f"Text of: {report.answer_from}. Mask: {report.mask}. {report.direction}.",
        f"K(∅) {two_digits(report.k_base)} ± {two_digits(report.k_noise)} nats a token.",
    ]
    if all(plan.recovery is None for plan in report.plans):
        lines.append("There is no difference to recover.")
    lines += [
        f"{plan.name:<24}  recovery {two_digits(plan.recovery):>8}  logit difference "
        f"{two_digits(plan.logit_difference_recovery):>8}"
        for plan in report.plans
    ]
    lines.append(
        f"{report.layer_rows_total:,} rows of layers, {two_digits(report.forwards_equivalent)} forward passes' worth, "
        f"{two_digits(report.seconds)} s."
    )
    return "\n".join([*lines, *(f"Warning: {warning}" for warning in report.warnings)])
