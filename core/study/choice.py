"""Which rows a study reads, as one line of text, and the data sets known by name.

Knows values only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from core.data.place import DataPlace, Reader, count, parse_place, parse_settings, skip, word
from core.errors import ArgumentError
from core.pair.home import ASSETS

Kind = Literal["medical", "general"]
KINDS: tuple[Kind, ...] = get_args(Kind)
COLUMNS = ("id", "question", "reasoning", "answer", "context", "options", "letter", "field", "style", "twin")
OPTIONAL = tuple(name for name in COLUMNS if name != "question")
"""Fields that can be left out though a column holds them: `reasoning=` reads none."""
SHIPPED = "shipped:"
CORPUS_FORM = (
    "shipped:medical, shipped:general, preset:NAME[,at=FOLDER], FILE or hub:ID[,split=S][,config=C][,revision=R], "
    "then [,name=N][,kind=medical|general][,rows=N][,bad=skip] and [,FIELD=COLUMN] for id, question, reasoning, "
    "answer, context, options, letter, field, style, twin; options=A+B+C+D takes one column an option, context=A.B a "
    "field inside one, reasoning= none"
)


@dataclass(frozen=True)
class CorpusChoice(DataPlace):
    """A corpus as it was asked for.

    Attributes:
        label: what tables call it.
        kind: whether it counts as medical or as general.
        rows: how many rows to draw; None for all.
        skip_bad: rows that cannot be used are left out and reported, instead of refusing the corpus.
        columns: field → column, where a column has another name than the field; empty where the field is left out.
        only: field and values; other rows are left out. None for all rows.
        fixed_options: options every question has, where no column holds them.
    """

    label: str = ""
    kind: Kind = "medical"
    rows: int | None = None
    skip_bad: bool = False
    columns: tuple[tuple[str, str], ...] = ()
    only: tuple[str, tuple[str, ...]] | None = None
    fixed_options: tuple[str, ...] = ()


_MMLU_MEDICAL = (
    "anatomy", "clinical_knowledge", "college_biology", "college_medicine", "medical_genetics", "nutrition",
    "professional_medicine", "virology",
)  # fmt: skip
_MMLU_GENERAL = (
    "astronomy", "business_ethics", "computer_security", "econometrics", "formal_logic", "high_school_geography",
    "high_school_us_history", "international_law", "machine_learning", "marketing", "philosophy", "world_religions",
)  # fmt: skip
_MMLU_COLUMNS = (("field", "subject"), ("letter", "answer"), ("options", "choices"))


def _hub(dataset: str, label: str, kind: Kind = "medical", **how: Any) -> CorpusChoice:
    return CorpusChoice(Path(f"hub:{dataset}"), label=label, kind=kind, **how)


# Reference answers are taken where they are prose; of a question with options the letter is what counts.
PRESETS: dict[str, CorpusChoice] = {
    "medical-o1": _hub(
        "FreedomIntelligence/medical-o1-reasoning-SFT",
        "medical-o1",
        config="en",
        columns=(("answer", "Response"), ("question", "Question"), ("reasoning", "Complex_CoT")),
    ),
    "medqa": _hub(
        "GBaker/MedQA-USMLE-4-options",
        "medqa",
        split="test",
        columns=(("answer", ""), ("field", "meta_info"), ("letter", "answer_idx")),
    ),
    "medmcqa": _hub(
        "openlifescienceai/medmcqa",
        "medmcqa",
        split="validation",
        columns=(("answer", "exp"), ("field", "subject_name"), ("letter", "cop"), ("options", "opa+opb+opc+opd")),
    ),
    "pubmedqa": _hub(
        "qiaojin/PubMedQA",
        "pubmedqa",
        config="pqa_labeled",
        columns=(("answer", "long_answer"), ("context", "context.contexts"), ("id", "pubid"),
                 ("letter", "final_decision")),
        fixed_options=("yes", "no", "maybe"),
    ),
    "mmlu-medical": _hub(
        "cais/mmlu", "mmlu-medical", split="test", config="all", only=("subject", _MMLU_MEDICAL),
        columns=(("answer", ""), *_MMLU_COLUMNS),
    ),
    "mmlu-general": _hub(
        "cais/mmlu", "mmlu-general", "general", split="test", config="all", only=("subject", _MMLU_GENERAL),
        columns=(("answer", ""), *_MMLU_COLUMNS),
    ),
}  # fmt: skip


def parse_corpus(text: str) -> CorpusChoice:
    """A `CorpusChoice` from what is typed, as `shipped:medical`, `preset:medqa,rows=200` or `a.csv,kind=general`.

    Raises:
        ArgumentError: an unknown name or setting, a value that does not fit it, or nothing says what kind it is.
    """
    name, values, columns = parse_settings(text, _READ, COLUMNS, CORPUS_FORM, OPTIONAL)
    base = _named(name)
    at = values.pop("at", None)
    if at is not None:
        if not name.startswith("preset:"):
            raise ArgumentError(f"at= goes with a preset, not with {name!r}.", "Give the folder itself.")
        values["path"] = at
    if base is None:
        if "kind" not in values:
            raise ArgumentError(
                f"Nothing says whether {name!r} is medical or general.", "Add ,kind=medical or ,kind=general."
            )
        path = parse_place(name)
        base = CorpusChoice(path, label=_stem(path))
    merged = tuple(sorted({**dict(base.columns), **columns}.items()))
    return replace(base, columns=merged, **values)


def _named(name: str) -> CorpusChoice | None:
    """A shipped or preset corpus; None where the name is a place."""
    if name.startswith(SHIPPED):
        kinds: Mapping[str, Kind] = {kind: kind for kind in KINDS}
        kind = kinds.get(name.removeprefix(SHIPPED))
        if kind is None:
            raise ArgumentError(f"There is no corpus {name!r}.", "Use shipped:medical or shipped:general.")
        return CorpusChoice(ASSETS / "corpora" / f"{kind}.jsonl", label=kind, kind=kind)
    if name.startswith("preset:"):
        found = PRESETS.get(name.removeprefix("preset:"))
        if found is None:
            raise ArgumentError(f"There is no preset {name!r}.", f"Use preset:{', preset:'.join(PRESETS)}.")
        return found
    return None


def _stem(path: Path) -> str:
    return path.name.split(".")[0] if path.name else str(path)


def _kind(value: str) -> str:
    if value not in KINDS:
        raise ValueError(value)
    return value


def _folder(value: str) -> Path:
    return Path(f"hub:{Path(word(value)).expanduser()}")


_READ: dict[str, tuple[str, Reader]] = {
    "at": ("at", _folder),
    "name": ("label", word),
    "kind": ("kind", _kind),
    "rows": ("rows", count),
    "bad": ("skip_bad", skip),
    "split": ("split", word),
    "config": ("config", word),
    "revision": ("revision", word),
}
