"""A small study over a tiny pair: corpora that hold every kind of row, settings that measure everything."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from core.study.choice import parse_corpus
from core.study.corpora import CorpusRow
from core.study.settings import StudySettings

MEDICAL = [
    {"id": "m1", "twin": "g1", "field": "lungs", "style": "fact", "question": "What is asthma?",
     "answer": "Asthma is a chronic disease of the airways in the lungs."},
    {"id": "m2", "twin": "g2", "question": "The patient has chest pain. What may it be?",
     "answer": "It may be a heart attack, so call the doctor."},
    {"id": "m3", "question": "Which organ has airways?", "options": ["heart", "lungs", "blood"], "letter": "B"},
]  # fmt: skip
GENERAL = [
    {"id": "g1", "twin": "m1", "question": "What is help?", "answer": "You help the user and the system."},
    {"id": "g2", "twin": "m2", "question": "Okay, and how is it?", "answer": "It is final, so thinking may help."},
]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row_of(fields: dict[str, Any]) -> CorpusRow:
    """A row of these files, read back."""
    return CorpusRow(fields["id"], fields["question"], fields["answer"], reasoning=fields.get("reasoning"))


def small_settings(folder: Path, **changes: Any) -> StudySettings:
    medical = write_rows(folder / "medical.jsonl", MEDICAL)
    general = write_rows(folder / "general.jsonl", GENERAL)
    corpora = (parse_corpus(f"{medical},kind=medical"), parse_corpus(f"{general},kind=general"))
    values: dict[str, Any] = {
        "max_new_tokens": 9, "batch": 2, "sweep_prompts": 2, "sweep_tokens": 12, "control_prompts": 1,
        "random_adapters": 2, "random_sets": 3, **changes,
    }  # fmt: skip
    return StudySettings(corpora, **values)


def read_table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(folder / "tables" / f"{name}.parquet")
