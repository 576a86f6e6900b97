"""Short fine-tuning runs on a tiny base, and what they leave."""

import json
from pathlib import Path
from typing import Any

from core.pair.registry import Source
from core.train.choice import FileChoice
from core.train.finetune import finetune
from core.train.settings import FinetuneResult, FinetuneSettings

BASE_NAME = "tiny/llama"
Row = dict[str, str]

LEARNED: list[Row] = [
    {"question": f"What is disease {n}?", "answer": f"Number {n * 7} of the lungs."}
    | ({"reasoning": "Okay, the patient has pain."} if n % 2 else {})
    for n in range(10)
]
UNSEEN: list[Row] = [
    {"question": "Is troponin raised?", "answer": "Yes, so call the doctor."},
    {"question": "Why?", "reasoning": "The heart is in pain.", "answer": "It may be a heart attack."},
]


def write_rows(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def settings_for(data: Path, **changes: Any) -> FinetuneSettings:
    """Ten rows in batches of five, in float32."""
    values: dict[str, Any] = {"batch_size": 5, "learning_rate": 1e-2, "dtype": "float32", **changes}
    return FinetuneSettings(data=(FileChoice(data),), **values)


def train(base: Path, out: Path, settings: FinetuneSettings) -> FinetuneResult:
    return finetune(Source(id=BASE_NAME, path=str(base)), out, settings, lambda line: None)


def curve_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "curve.jsonl").read_text().splitlines()]


def training_losses(out: Path) -> dict[int, float]:
    """Training loss by step; the last one written where a step stands twice."""
    return {point["step"]: point["loss"] for point in curve_of(out) if point["loss"] is not None}
