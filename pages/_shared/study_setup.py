"""What a new study is to ask and to measure, as a person chooses it.

Knows widgets and settings; reads no corpus and runs nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import streamlit as st

from core.errors import GraftError
from core.present.study_layer_figures import CURVE_WORDS
from core.study.choice import KINDS, PRESETS, CorpusChoice, Kind, parse_corpus
from core.study.depth import CURVES
from core.study.settings import MEASUREMENTS, StudySettings
from core.study.shelf import study_folder
from core.study.uploads import SUFFIXES, Upload, choice_of_upload, upload_of
from pages._shared.frame import show_error

SHIPPED = {"shipped:medical": "medical questions (shipped)", "shipped:general": "general questions (shipped)"}
CORPORA = SHIPPED | {f"preset:{name}": f"{name} (from the hub)" for name in PRESETS}
BAD = {"refuse": "refuse the file", "skip": "leave the row out and say so"}
MOST_ROWS = 10_000
SLOW = ("smallest", "patches")
"""What two CPU cores had better not begin with."""
DEFAULTS = tuple(name for name in StudySettings((PRESETS["medqa"],)).measurements if name not in SLOW)
# Setting → label, value for two CPU cores, largest, what it means.
NUMBERS: dict[str, tuple[str, int, int, str]] = {
    "max_new_tokens": ("tokens of an answer", 48, 1024, "Answers are cut off there."),
    "sweep_prompts": ("prompts for layers, of each kind", 10, 1000, "Layers are grafted one by one on these."),
    "sweep_tokens": ("tokens for layers", 32, 1024, "Of each of these texts, from its first: its reasoning first."),
    "permutations": ("orders for Shapley shares", 1, 50, "Per prompt; more make the shares less noisy."),
    "control_prompts": ("prompts for random adapters", 5, 1000, "Of each kind; a verdict needs 10 in all."),
    "random_adapters": ("random adapters", 20, 200, "At least 20, or depth cannot be told from chance at 5 %."),
    "batch": ("answers at once", 8, 64, "Decoded together; decides nothing but speed and rounding."),
    "seed": ("seed", 0, 2**31 - 1, "Of the rows drawn and of everything else that is drawn."),
}  # fmt: skip
PRIVACY = (
    "What you upload is read on the server for the preview. Once the study starts, the questions are stored on the "
    "server, in the study's folder, and whoever may use this server can see them. Do not upload personal data."
)


@dataclass(frozen=True)
class AskedStudy:
    """A study as it was set up.

    Attributes:
        folder: where it would lie.
        settings: what it measures.
        uploads: the texts of uploaded corpora.
    """

    folder: Path
    settings: StudySettings
    uploads: tuple[Upload, ...]


def choose_study() -> AskedStudy | None:
    """The study that is set up now; None while something about it cannot be used (and says so)."""
    left, right = st.columns([2, 3])
    name = left.text_input("Name", key="study_name", max_chars=60, help="Of its folder on the server.")
    chosen = right.multiselect(
        "Corpora",
        list(CORPORA),
        default=list(SHIPPED),
        format_func=CORPORA.__getitem__,
        key="study_corpora",
        help="Those from the hub need a network.",
    )
    left, middle, right = st.columns([2, 3, 3], vertical_alignment="top")
    rows = left.number_input("Rows of each", 1, MOST_ROWS, 30, key="study_rows", help="Drawn with the seed.")
    with middle:
        bad = st.radio("A row that cannot be used", list(BAD), format_func=BAD.__getitem__, key="study_bad")
    with right:
        uploads, own = _choose_uploads(bad == "skip")
    measurements, curves, hybrid, numbers = _choose_measurements()
    system, raw = _choose_template()
    try:
        choices = [replace(parse_corpus(spec), skip_bad=bad == "skip") for spec in chosen] + own
        corpora = tuple(replace(choice, rows=int(rows)) for choice in choices)
        settings = StudySettings(
            corpora, measurements=measurements, control_kinds=curves, hybrid=hybrid, system=system, raw=raw, **numbers
        )
        return AskedStudy(study_folder(name), settings, uploads)
    except GraftError as error:
        show_error(error)
        return None


def _choose_uploads(skip_bad: bool) -> tuple[tuple[Upload, ...], list[CorpusChoice]]:
    with st.popover("Add questions of your own", width="stretch"):
        st.caption(PRIVACY)
        st.caption(
            "One question a row, with `question` and `answer` (and the `reasoning` that leads to it), or `options` and "
            "`letter`; UTF-8 JSON lines or CSV."
        )
        files = st.file_uploader("Files", list(SUFFIXES), accept_multiple_files=True, key="study_files")
        columns = st.text_input(
            "Columns with other names",
            key="study_columns",
            placeholder="question=Question,reasoning=Complex_CoT,answer=Response",
        )
        uploads: list[Upload] = []
        choices: list[CorpusChoice] = []
        for number, file in enumerate(files):
            kind = st.segmented_control(
                f"{file.name} counts as", KINDS, default="medical", required=True, key=f"study_kind_{number}"
            )
            try:
                upload = _unlike(uploads, file.name, file.getvalue())
                choices.append(choice_of_upload(upload, _kind(kind), columns, skip_bad))
                uploads.append(upload)
            except GraftError as error:
                show_error(error)
    if choices:
        st.caption(f"Your own: {', '.join(f'{one.label} ({one.kind})' for one in choices)}")
    return tuple(uploads), choices


def _unlike(others: Sequence[Upload], name: str, content: bytes) -> Upload:
    """An upload whose label no other one has, and no shipped corpus."""
    taken = {other.label for other in others} | set(KINDS) | set(PRESETS)
    return next(found for n in range(1, 99) if (found := upload_of(name, content, n)).label not in taken)


def _kind(value: str | None) -> Kind:
    return "general" if value == "general" else "medical"


def _choose_template() -> tuple[str | None, bool]:
    with st.expander("How questions are put to the models"):
        system = st.text_area("System prompt", key="study_system", placeholder="the template's own", height=68)
        raw = st.toggle(
            "Raw text", key="study_raw", help="No chat template: the models continue each question and a line break."
        )
    return system.strip() or None, raw


def _choose_measurements() -> tuple[tuple[str, ...], tuple[str, ...], str, dict[str, int]]:
    numbers: dict[str, int] = {}
    with st.expander("What is measured, and on how much"):
        chosen = st.multiselect(
            "Measurements", list(MEASUREMENTS), default=list(DEFAULTS), key="study_measurements",
            format_func=lambda name: f"{name}: {MEASUREMENTS[name]}",
        )  # fmt: skip
        columns = st.columns(4)
        for place, (name, (label, value, largest, words)) in enumerate(NUMBERS.items()):
            least = 1 if name in ("max_new_tokens", "sweep_tokens", "batch") else 0
            with columns[place % 4]:
                numbers[name] = int(
                    st.number_input(label, least, largest, value, key=f"study_{name}", help=words, width="stretch")
                )
        left, right = st.columns([2, 1])
        hybrid = right.text_input(
            "Layers of the hybrid that writes too", "upper", key="study_hybrid", help="`lower`, `middle`, `upper`, or "
            "layers such as `20-29`: grafted into base. For `cross`.",
        )  # fmt: skip
        curves = left.pills(
            "Curves in random adapters", list(CURVES), default=["single"], selection_mode="multi",
            format_func=CURVE_WORDS.__getitem__, key="study_control_kinds",
            help="Whether a curve lies higher than chance is told from these alone; each costs as much again.",
        )  # fmt: skip
    return (
        tuple(name for name in MEASUREMENTS if name in chosen),
        tuple(kind for kind in CURVES if kind in curves),
        hybrid.strip() or "upper",
        numbers,
    )
