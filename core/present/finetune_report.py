"""A fine-tuning run as the command line reports it: the object, and readable text for a terminal.

Apart from the other reports, since what it is made of takes seconds to import. Knows results; computes nothing.
"""

from dataclasses import dataclass

from core.present.report import Report
from core.present.texts import two_digits
from core.train.preview import Preview
from core.train.settings import FinetuneResult, FinetuneSettings


@dataclass(frozen=True)
class FinetuneReport(Report):
    """A fine-tuning run: what it left, or with `--dry-run` what it would do."""

    settings: FinetuneSettings
    preview: Preview | None
    result: FinetuneResult | None


def finetune_text(report: FinetuneReport) -> str:
    """What was trained and what became of the held-out loss; or what would be."""
    if report.preview is not None:
        return _preview_text(report.preview)
    result = report.result
    if result is None:
        return "Nothing was trained."
    lines = [
        f"Adapter in {result.out} (SHA-256 {result.adapter_sha256[:12]}…), {result.steps} steps, "
        f"{result.seconds / 60:.0f} min."
    ]
    for name, after in result.heldout_after.items():
        before = result.heldout_before.get(name)
        lines.append(f"  {name}: {two_digits(before)} → {two_digits(after)} nats a token")
    return "\n".join(lines)


def _preview_text(preview: Preview) -> str:
    blocks = [
        f"== {row.row_id}: {row.n_prompt} tokens of prompt, {row.n_trained} trained (between ⟦ and ⟧)\n"
        f"{row.prompt}⟦{row.trained}⟧"
        for row in preview.rows
    ]
    sets = ", ".join(f"{name} ({rows} rows)" for name, rows in preview.heldout.items()) or "none"
    return "\n\n".join(
        [
            *blocks,
            f"{preview.n_rows:,} rows and {preview.n_tokens:,} tokens an epoch, {preview.n_steps:,} updates; held out: "
            f"{sets}.\nAbout {preview.seconds / 60:.0f} min at {preview.tokens_per_second:.0f} tokens/s as timed just "
            "now, without held-out scores. Nothing was written.",
        ]
    )
