"""Studies on disk with made-up tables: what the report and the comparison read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core.pair.gates import PROJECTIONS
from core.study.choice import parse_corpus
from core.study.results import Results, read_results
from core.study.schema import SCHEMA
from core.study.settings import StudySettings, to_plain
from tests.study.simulated import FLOORS, tables_of


def record_of(**changes: Any) -> dict[str, Any]:
    """A `study.json` of a finished study."""
    settings = StudySettings((parse_corpus("shipped:medical,rows=40"), parse_corpus("shipped:general,rows=40")))
    versions = {"graft": "0.0", "torch": "0.0", "transformers": "0.0", "peft": "0.0"}
    facts = {
        "pair": "made-up", "base_id": "base/id", "base_sha256": "b" * 64, "tuned_id": "tuned/id",
        "tuned_sha256": "f" * 64, "template_sha256": None, "device": "cpu", "dtype": "float32", "noise_floor": 1e-4,
        "floors": vars(FLOORS), "n_layers": 12, "d_model": 8, "warnings": [],
    }  # fmt: skip
    return {
        "schema_version": SCHEMA,
        "state": "finished",
        "settings": to_plain(settings),
        "settings_sha256": settings.sha256,
        "corpora": [
            {
                "name": kind,
                "kind": kind,
                "rows": 40,
                "found": 44,
                "sha256": hash_ * 64,
                "bad": [f"row 7 of {kind}"],
            }
            for kind, hash_ in (("medical", "a"), ("general", "b"))
        ],
        "pair": {"pair": "demo", "base": None, "tuned": None, "device": "cpu", "dtype": None},
        "facts": facts,
        "prompts": 80,
        "done": 80,
        "sets_done": 16,
        "sets_of": 16,
        "left_out": ["m99: too long"],
        "runs": [{"engine": "local", "prompts": 80, "seconds": 1.0, "versions": versions}],
        **changes,
    }


def full_tables(seed: int = 0, **planted: float) -> dict[str, pd.DataFrame]:
    """`tables_of` with what a run's tables have beyond the claims' columns: words' forms, parts, shares, CKA."""
    tables = tables_of(seed, **planted)
    draw, ids = np.random.default_rng(seed + 1), list(tables["prompts"]["document"])
    tables["prompts"] = tables["prompts"].assign(
        question=[f"Question {one}?" for one in ids],
        reference=[f"Answer {one}." for one in ids],
        source=tables["prompts"]["corpus"],
        field=["lungs", "heart", "blood", "skin"] * 20,
        letter=None,
        left_out=None,
    )
    words = tables["words"]
    forms = np.where(words["medical"], draw.choice(["asthma", "fever", "heart"], len(words)), "the")
    tables["words"] = words.assign(
        form=forms,
        category=np.where(words["medical"], "disease", None),
        part=np.where(words["word"] < 40, "reasoning", "answer"),
    )
    n = len(tables["answers"])
    tables["answers"] = tables["answers"].assign(
        kl_sum_with_format=2 * tables["answers"]["kl_sum"],
        tokens_with_format=tables["answers"]["tokens"] + 4,
        top_1pct=draw.uniform(0.1, 0.2, n), top_5pct=draw.uniform(0.3, 0.4, n), top_10pct=draw.uniform(0.5, 0.6, n),
    )  # fmt: skip
    tables["tokens"] = pd.DataFrame(
        [
            {"document": one, "whose": "reference", "token": k, "part": "answer", "kl": 0.1 * k, "entropy_base": k % 5,
             "gained": " lung", "gained_term": 0.05, "lost": " the", "lost_term": -0.02}
            for one in ids[:6]
            for k in range(10)
        ]
    )  # fmt: skip
    tables["attribution"] = pd.DataFrame(
        [
            {"document": one, "layer": layer, "projection": name, "attribution": 1 / 84, "completeness_error": 1e-3,
             "kl_base_sum": 2.0}
            for one in ids[:5]
            for layer in range(12)
            for name in PROJECTIONS
        ]
    )  # fmt: skip
    tables["positions"] = pd.DataFrame(
        [
            {"document": one, "whose": "reference", "position": k, "part": part, "attn": 0.1, "mlp": 0.15}
            for one in ids[:5]
            for k, part in enumerate(("template", "prompt", "answer", "answer"))
        ]
    )
    tables["shapley"] = pd.DataFrame(
        [
            {"document": one, "layer": layer, "part": part, "share": 1 / 24}
            for one in ids[:5]
            for layer in range(12)
            for part in ("attn", "mlp")
        ]
    )
    tables["smallest"] = pd.DataFrame(
        [
            {"document": one, "whose": "reference", "method": method, "reach": reach, "size": 3, "units": "2, 5-6",
             "recovery": reach, "recovery_noise": 1e-6, "random_mean": 0.4}
            for one in ids[:5]
            for method in ("greedy-forward", "greedy-backward")
            for reach in (0.8, 0.9)
        ]
    )  # fmt: skip
    tables["patches"] = pd.DataFrame(
        [
            {"document": one, "corpus": tables["prompts"]["corpus"].iloc[k], "whose": "reference", "layer": layer,
             "position": position, "part": part, "kl_sum": 1.5, "kl_base_sum": 2.0}
            for k, one in enumerate(ids[:5])
            for layer in range(12)
            for position, part in enumerate(("prompt", "template", "answer", "answer"))
        ]
    )  # fmt: skip
    tables["cross"] = pd.DataFrame(
        [
            {"document": one, "whose": whose, "model": model, "tokens": 10, "nll_sum": 20.0, "nll_noise": 1e-6}
            for one in ids[:5]
            for whose in ("reference", "base", "hybrid", "tuned")
            for model in ("base", "hybrid", "tuned")
        ]
    )
    tables["similarity"] = pd.DataFrame(
        [
            {"corpus": corpus, "layer": layer, "cka_unbiased": 1 - layer / 10, "documents": 40}
            for corpus in ("medical", "general")
            for layer in range(4)
        ]
    )
    return tables


def write_study(folder: Path, tables: dict[str, pd.DataFrame], **changes: Any) -> Path:
    """A study's folder with these tables."""
    (folder / "tables").mkdir(parents=True)
    (folder / "study.json").write_text(json.dumps(record_of(**changes)))
    for name, table in tables.items():
        table.to_parquet(folder / "tables" / f"{name}.parquet")
    return folder


def made_up(folder: Path, seed: int = 0, **planted: float) -> Results:
    """The results of a made-up study, read back."""
    return read_results(write_study(folder, full_tables(seed, **planted)))
