"""What a study's report says in words: methods, corpora, limits, provenance.

Knows a study's record and the constants of the tests; computes nothing.
"""

from collections.abc import Sequence
from typing import Any

from core.present.document import Block, Code, Items, Section, Table, Text
from core.present.provenance import command_line, provenance_line
from core.present.study_source import provenance_of_study
from core.study.frames import TIMES_NOISE
from core.study.resampling import PERMUTATIONS, RESAMPLES
from core.study.results import Results
from core.study.typed import study_line
from core.study.verdicts import FEWEST_ADAPTERS, FEWEST_DOCUMENTS, LEVEL, Finding, number

LIMITS = (
    "A finding is about these two models on these texts; other prompts, other settings of decoding and other seeds of "
    "training may give others. The interval is over documents, not over trainings.",
    "Divergence says that the models differ, not which of them is right. No answer was checked by a clinician.",
    "Medical words are found by a tagger with a word list; it misses terms and takes some common words for terms.",
    "Grafting layers and patching states move a model off the path it was trained on; what a layer carries there is "
    "what these hybrids carry.",
    "Reference answers may resemble the fine-tuning data in style, or have been part of it.",
    "Research tool, not medical advice.",
)


_DEFINITIONS = """KL(tuned‖base) = Σ p_t ln(p_t/p_b) over the whole vocabulary at each token, in nats: how surprised the
base model would be by what the fine-tuned model would write. A word's score is the sum over its tokens. Reasoning and
answer count; fixed headings and the end of turn do not, unless a figure says so."""
_LAYERS = """Recovery of a set of layers = 1 − ΣKL(tuned‖hybrid)/ΣKL(tuned‖base), a ratio of sums over documents, where
the hybrid is base with these layers of the fine-tuned model: 0 is base, 1 fine-tuned. The centre of a curve over layers
is its mean depth weighted by its values above 0; 0 is the first layer, 1 the last. Random adapters keep the singular
values of each module's change and take random vectors."""
_TESTS = f"""Intervals are 95 % percentile bootstraps of {RESAMPLES:,} resamples over documents, since tokens and words
of one document are not independent; that of 3a to 3e is over random adapters too, and that of a gain in multiple
choice is Newcombe's (1998, method 10). p-values are two-sided: {PERMUTATIONS:,}
permutations of labels inside matched cells of a document (2a to 2d, 2j, 2k), of what controls leave of the outcome (2e
to 2i, 2l to 2n), sign changes of paired differences (1a, 1b), and of those between twins or, without twins, exchanges
of documents between the corpora (1e, 1f, 4a, 4b), McNemar's exact test (1c, 1d). Depth has the rank of the fine-tune
among random adapters, a set of layers the larger of its ranks among random sets and among random adapters with sets of
their own; these are one-sided. A permutation's p is (b + 1)/(n + 1), never 0."""
_VERDICTS = f"""Primary claims are corrected within their question by Holm, all others together by Benjamini and
Hochberg. Verdicts, in order: no difference to explain, where the models differ by no more than {TIMES_NOISE} times
numerical noise; not supported, where the interval holds no effect as large as the smallest that matters; supported,
where the interval lies wholly on the claimed side of no effect, the effect is at least the smallest that matters and
the corrected p is at most {LEVEL:g}; inconclusive, everything else and everything on fewer than {FEWEST_DOCUMENTS}
documents or {FEWEST_ADAPTERS} random adapters."""
_STATED = """Smallest effects are fixed in the program; a slope's is a share of the mean KL per token, so it follows the
study. Claims 1f and 2j to 2n came into the program after studies of its demo pair had been read; none is primary."""


def methods_section(found: Sequence[Finding]) -> Section:
    """Definitions, how intervals, p-values and verdicts are made, and what the program takes to matter."""
    rows = tuple(
        (f"{one.number} {one.claim}", "yes" if one.primary else "", number(one.none), number(one.least), one.unit)
        for one in found
    )
    paragraphs = tuple(Text(" ".join(words.split())) for words in (_DEFINITIONS, _LAYERS, _TESTS, _VERDICTS))
    stated = Table(("claim", "primary", "no effect", "smallest that matters", "unit"), rows, numbers=(2, 3))
    blocks: tuple[Block, ...] = (*paragraphs, stated, Text(" ".join(_STATED.split()), small=True))
    return Section("methods", "Methods", blocks)


def corpora_section(results: Results) -> Section:
    """Which rows were read, and every one that was left out."""
    record = results.record
    rows = tuple(
        (str(one["name"]), str(one["kind"]), f"{one['rows']:,}", f"{one['found']:,}", str(len(one["bad"])),
         str(one["sha256"]))
        for one in record["corpora"]
    )  # fmt: skip
    skipped = [f"{one['name']}: {reason}" for one in record["corpora"] for reason in one["bad"]]
    left_out = tuple(dict.fromkeys([*skipped, *record["left_out"], *results.dropped]))
    said: Block = Items(left_out) if left_out else Text("Nothing was left out.")
    header = ("corpus", "kind", "rows", "of", "skipped", "SHA-256 of the rows")
    return Section("corpora", "Corpora, and what was left out", (Table(header, rows, numbers=(2, 3, 4)), said))


def limits_section() -> Section:
    """What no finding of a study shows."""
    return Section("limits", "Limits", (Items(LIMITS),))


def provenance_section(results: Results, typed: Sequence[str]) -> Section:
    """Pair, hashes, numbers, versions and the lines that recompute it all."""
    found, record = provenance_of_study(results), results.record
    runs = tuple(
        (str(k + 1), str(run["engine"]), str(run["prompts"]), ", ".join(f"{a} {b}" for a, b in run["versions"].items()))
        for k, run in enumerate(record["runs"])
    )
    pairs = (
        ("pair", found.pair), ("base", found.base_id), ("base SHA-256", found.base_sha256),
        ("fine-tune", found.tuned_id), ("fine-tune SHA-256", found.tuned_sha256),
        ("chat template SHA-256", found.template_sha256),
        ("questions", _asked(record["settings"])),
        ("device, dtype", f"{found.device}, {found.dtype}; the change in {found.adapter_dtype}"),
        ("seed", str(found.seed)), ("noise floor", f"{found.noise_floor:.1e} nats"),
        ("settings SHA-256", str(record["settings_sha256"])), ("begun", str(record.get("created", "–"))),
    )  # fmt: skip
    blocks: tuple[Block, ...] = (
        Table(("what", "value"), tuple((name, value or "–") for name, value in pairs)),
        Table(("run", "engine", "prompts", "versions"), runs, numbers=(2,)),
        Text("The line that measures it again:"),
        Code(study_line(record)),
        Text("The line that made this report:"),
        Code(command_line(typed)),
    )
    return Section("provenance", "Provenance", blocks)


def _asked(settings: dict[str, Any]) -> str:
    if settings.get("raw"):
        return "raw text: the models continue each question and a line break (for letters, a line with “Answer:”)"
    system = settings.get("system")
    return f"through the chat template, after the system prompt “{system}”" if system else "through the chat template"


def footer(results: Results) -> str:
    """One line for the end of every page."""
    return provenance_line(provenance_of_study(results))
