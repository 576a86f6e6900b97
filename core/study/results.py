"""What a study left, read back: its tables, ready for the findings.

Knows the folder's layout and which rows no test can use; computes no figures.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from core.errors import StudyError
from core.study.findings import Finding, Settings, findings
from core.study.frames import Floors
from core.study.runner import facts_from
from core.study.store import read_record
from core.study.tables import TABLES


@dataclass(frozen=True, eq=False)
class Results:
    """A study as it stands.

    Attributes:
        folder: where it lies.
        record: what `study.json` says.
        tables: by name, columns as in docs/study.md, without the prompts and texts that no test can use.
        n_measured: prompts in the tables, those left out included; behind the record where the study went on since.
        floors: of numerical noise.
        dropped: what was left out of the tables, in sentences.
    """

    folder: Path
    record: dict[str, Any]
    tables: dict[str, pd.DataFrame]
    n_measured: int
    floors: Floors
    dropped: tuple[str, ...]

    @property
    def finished(self) -> bool:
        """Whether every prompt has been measured."""
        return bool(self.record["state"] == "finished")

    def n_usable(self, corpus: str) -> int:
        """Prompts of a corpus in the tables."""
        return int((self.tables["prompts"]["source"] == corpus).sum())


def read_results(folder: Path) -> Results:
    """Reads a study's tables, of the last time it was stopped or finished.

    Raises:
        StudyError: there is no study, it was made by another version, or nothing was measured yet.
    """
    record = read_record(folder)
    files = sorted((folder / "tables").glob("*.parquet"))
    if not files:
        raise StudyError(
            f"The study in {folder} has no tables yet.",
            "Resume it where it was killed; let it run to its end, or stop it once.",
        )
    try:
        tables = {path.stem: pd.read_parquet(path) for path in files}
    except (OSError, ValueError) as error:
        raise StudyError(
            f"A table of {folder} cannot be read: {error}.", "Resume it: tables are written anew."
        ) from error
    usable, dropped = _usable(tables)
    n_measured = len(tables.get("prompts", ()))
    return Results(folder, record, usable, n_measured, facts_from(record).floors, dropped)


def findings_of(results: Results, settings: Settings | None = None) -> tuple[Finding, ...]:
    """Every claim the study can speak to.

    Args:
        results: of a study.
        settings: of permutations and resamples; by default the study's own seed.
    """
    tables = {name: table for name, table in results.tables.items() if name in TABLES}
    how = settings or Settings(seed=int(results.record["settings"]["seed"]))
    return findings(tables, results.floors, how)


def _usable(tables: dict[str, pd.DataFrame]) -> tuple[dict[str, pd.DataFrame], tuple[str, ...]]:
    """Tables without prompts that could not be measured and without texts that hold nothing to score."""
    found, dropped = dict(tables), []
    if "prompts" in found:
        prompts = found["prompts"]
        left_out = prompts["left_out"].notna()
        dropped += [str(reason) for reason in prompts.loc[left_out, "left_out"]]
        found["prompts"] = prompts[~left_out]
    if "answers" in found:
        answers = found["answers"]
        empty = (answers["tokens"] == 0) | answers["connectives"].isna()
        for _, row in answers[empty].iterrows():
            dropped.append(f"{row['document']}: the text of {row['whose']} has no words to score")
        found["answers"] = answers[~empty]
        if "cross" in found:
            kept = pd.MultiIndex.from_frame(found["answers"][["document", "whose"]])
            found["cross"] = found["cross"][found["cross"].set_index(["document", "whose"]).index.isin(kept)]
    if "similarity" in found:
        found["similarity"] = found["similarity"].dropna(subset="cka_unbiased")  # under four prompts
    return {name: table.reset_index(drop=True) for name, table in found.items()}, tuple(dropped)
