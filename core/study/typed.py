"""The line that runs a study again, from the settings and the pair it wrote down.

Knows settings; runs nothing.
"""

import shlex
from dataclasses import fields, replace
from typing import Any

from core.pair.home import ASSETS
from core.study.choice import PRESETS, SHIPPED, CorpusChoice
from core.study.runner import choice_from, settings_from
from core.study.settings import StudySettings

FIRST_WITH_REASONING = 7
"""Form of the first studies that read a reasoning."""
_PLAIN = {"label": "name", "kind": "kind", "rows": "rows", "split": "split", "config": "config", "revision": "revision"}


def corpus_text(choice: CorpusChoice) -> str:
    """A corpus as it is typed: what `parse_corpus` reads back to the same choice."""
    name, base = _base(choice)
    parts = [name]
    for field, word in _PLAIN.items():
        value = getattr(choice, field)
        if value is not None and value != getattr(base, field):
            parts.append(f"{word}={value}")
    if choice.skip_bad:
        parts.append("bad=skip")
    known = dict(base.columns)
    parts += [f"{field}={column}" for field, column in choice.columns if known.get(field) != column]
    return ",".join(parts)


def study_line(record: dict[str, Any]) -> str:
    """The line that runs a study with this record's settings again, in another folder."""
    settings, pair = settings_from(record), choice_from(record)
    corpora = [corpus_text(_as_read(choice, record["schema_version"])) for choice in settings.corpora]
    words = ["python", "-m", "core", "study", "run", "FOLDER", "--corpus", *corpora]
    plain = StudySettings(settings.corpora)
    for field in fields(StudySettings):
        value = getattr(settings, field.name)
        if field.name != "corpora" and value != getattr(plain, field.name):
            option = "measure" if field.name == "measurements" else field.name.replace("_", "-")
            words.append(f"--{option}")
            if not isinstance(value, bool):
                words.append(",".join(value) if isinstance(value, tuple) else str(value))
    halves = (
        ["--base", pair.base, "--tuned", pair.tuned] if pair.base and pair.tuned else ["--pair", pair.pair or "demo"]
    )
    where = ["--device", pair.device] if pair.device != "cpu" else []
    dtype = ["--dtype", pair.dtype] if pair.dtype else []
    return shlex.join([*words, *halves, *where, *dtype])


def _as_read(choice: CorpusChoice, form: int) -> CorpusChoice:
    """A corpus as studies of this form read it: earlier ones read no reasoning, which shipped rows have not."""
    if form >= FIRST_WITH_REASONING or _base(choice)[0].startswith(SHIPPED):
        return choice
    return replace(choice, columns=(*choice.columns, ("reasoning", "")))


def _base(choice: CorpusChoice) -> tuple[str, CorpusChoice]:
    """The name a corpus goes by, and what that name alone means."""
    for kind in ("medical", "general"):
        if choice.path.parts[-3:] == (ASSETS.name, "corpora", f"{kind}.jsonl"):  # wherever the project lay
            return f"{SHIPPED}{kind}", CorpusChoice(choice.path, label=kind, kind=kind)
    for name, preset in PRESETS.items():
        if (preset.only, preset.fixed_options) == (choice.only, choice.fixed_options) and preset.label == choice.label:
            at = "" if preset.path == choice.path else f",at={str(choice.path).removeprefix('hub:')}"
            return f"preset:{name}{at}", preset
    nothing = replace(CorpusChoice(choice.path), kind="medical", label=choice.path.name.split(".")[0])
    return (f"{choice.path},kind=medical", nothing) if choice.kind == "medical" else (str(choice.path), nothing)
