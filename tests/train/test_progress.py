"""What a run says of itself on the way."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.train.best import BestFactors
from core.train.progress import CurveCallback


def test_the_time_left_counts_tokens_not_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of like length come together, so the steps to come may be much shorter than those before."""
    said: list[str] = []
    lengths = [100] * 20 + [10] * 20
    best = BestFactors(tmp_path / "best.safetensors", 0)
    callback = CurveCallback(tmp_path / "curve.jsonl", lambda model: {}, 100, lengths, said.append, best)
    arguments: Any = SimpleNamespace(per_device_train_batch_size=2, gradient_accumulation_steps=1)
    clock = iter([0.0, 600.0, 600.0])
    monkeypatch.setattr("core.train.progress.time.perf_counter", lambda: next(clock))
    callback.on_train_begin(arguments, SimpleNamespace(global_step=0), None, model=None)
    state = SimpleNamespace(global_step=10, max_steps=20)
    callback.on_log(arguments, state, None, {"loss": 2.0, "learning_rate": 1e-4})
    assert said[-1] == "step 10/20  loss 2.000  3 tokens/s  1 min left"  # 2,000 tokens took 600 s, 200 are left
