"""A study in words: what a run left, what a run would do, what a study says and where two differ.

Knows reports; computes nothing.
"""

from core.present.study_comparison import few_documents, n_words
from core.present.study_reports import StudyComparison, StudyFindings, StudyReport
from core.study.differences import Difference
from core.study.preview import CorpusPreview, StudyPreview
from core.study.verdicts import number


def study_text(report: StudyReport) -> str:
    """What `study` prints without `--json`."""
    if report.preview is not None:
        return _preview_text(report.preview)
    if report.report is not None:
        return "\n".join(_unfinished(report) + _findings_lines(report.report))
    if report.comparison is not None:
        return "\n".join(_unfinished(report) + _comparison_lines(report.comparison))
    left_out = [f"left out: {reason}" for reason in report.left_out]
    tables = ", ".join(f"{name} {rows:,}" for name, rows in report.tables.items())
    sets = f", sets of layers on {report.sets_done:,} of {report.sets_of:,}" if report.sets_of else ""
    lines = [
        f"{report.state}: {report.done:,} of {report.prompts:,} prompts{sets} in {report.folder}",
        f"rows: {tables}",
        *left_out,
    ]
    if report.state == "stopped":
        lines.append(f"go on with: python -m core study resume {report.folder}")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Seconds in the largest unit that leaves two digits: 45 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _unfinished(report: StudyReport) -> list[str]:
    if report.state == "finished":
        return []
    return [f"not finished: {report.done:,} of {report.prompts:,} prompts in {report.folder}"]


def _findings_lines(found: StudyFindings) -> list[str]:
    lines: list[str] = []
    for key, question in found.questions.items():
        own = [one for one in found.findings if one.number[0] == key]
        lines.append(f"{key} {question}" if own else f"{key} {question} Nothing was measured that answers it.")
        for one in sorted(own, key=lambda one: not one.primary):
            lines += [f"  {one.number}{'' if one.primary else ' (further)'} {one.sentence}"]
    return [*lines, *(f"left out: {reason}" for reason in found.dropped)]


def _comparison_lines(found: StudyComparison) -> list[str]:
    lines = [f"differs: {one.what}: {one.a} against {one.b}" for one in found.comparison.differing]
    for pair in found.comparison.claims:
        sides = (f"{side} {one.verdict if one else 'not measured'}" for side, one in (("A", pair.a), ("B", pair.b)))
        lines.append(f"{pair.number} {pair.claim}: {', '.join(sides)}")
    lines += map(_difference_line, found.comparison.paired)
    lines += [found.comparison.unpaired] if found.comparison.unpaired else []
    lines += map(_difference_line, found.comparison.apart)
    few = few_documents((*found.comparison.paired, *found.comparison.apart))
    return [*lines, few] if few else lines


def _difference_line(change: Difference) -> str:
    ends = change.difference
    low, high = ("–" if end is None else number(end) for end in (ends.low, ends.high))
    return (
        f"{change.what}, {change.corpus}: A {number(change.a)}, B {number(change.b)} {change.unit}; B less A "
        f"{number(ends.value)} ({low} to {high}; n = {n_words(change)})"
    )


def _preview_text(preview: StudyPreview) -> str:
    lines: list[str] = []
    for corpus in preview.corpora:
        lines += _corpus_lines(corpus)
    lines.append(
        f"{preview.prompts:,} prompts, layers on {preview.swept:,} of them, random adapters on {preview.controlled:,}"
        + (f", {preview.visits:,} visits for sets of layers" if preview.visits else "")
    )
    if preview.seconds is not None:
        lines.append(f"about {duration(preview.seconds)} on this device")
    return "\n".join(lines)


def _corpus_lines(corpus: CorpusPreview) -> list[str]:
    lines = [
        f"{corpus.name} ({corpus.kind}): {corpus.rows:,} of {corpus.found:,} rows, {corpus.prompt_tokens:,} tokens of "
        f"questions, {corpus.reference_tokens:,} of reference answers"
    ]
    lines += [f"  skipped: {reason}" for reason in (*corpus.bad, *corpus.too_long)]
    for row in corpus.shown:
        lines += [f"  {row.id}", *(f"    {line}" for line in row.prompt.splitlines())]
        said = f"⟦{row.reference}⟧" if row.reference else f"({row.options} options, {row.letter} is right)"
        lines += [f"    {line}" for line in said.splitlines()]
    return lines
