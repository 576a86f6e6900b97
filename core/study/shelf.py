"""The studies of this machine: one folder each in one place, found by name.

Knows names and records; opens no journal and runs nothing.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from core.errors import ArgumentError, StudyError
from core.pair.home import graft_home
from core.pair.pair import Pair
from core.study.schema import SCHEMA
from core.study.store import FOLDER as TABLES_FOLDER
from core.study.store import is_held, read_record

State = Literal["running", "finished", "stopped"]
_NEEDED = ("state", "created", "settings", "corpora", "facts", "prompts", "done", "runs", "left_out")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")


@dataclass(frozen=True, eq=False)
class ShelvedStudy:
    """A study as it stands on the shelf.

    Attributes:
        name: of its folder.
        folder: where it lies.
        record: what `study.json` says.
        state: `running` while a process is at work on it, whatever its record says; `stopped` is to be resumed.
    """

    name: str
    folder: Path
    record: dict[str, Any]
    state: State

    @property
    def done(self) -> int:
        """Prompts measured."""
        return int(self.record["done"])

    @property
    def prompts(self) -> int:
        """Prompts in all."""
        return int(self.record["prompts"])

    @property
    def stamp(self) -> str:
        """Changes whenever tables are written; empty where there are none yet."""
        files = sorted((self.folder / TABLES_FOLDER).glob("*.parquet"))
        return " ".join(str(file.stat().st_mtime_ns) for file in files)

    @property
    def goes_on(self) -> bool:
        """Whether this version can resume it; earlier forms of tables it only reads."""
        return bool(self.record["schema_version"] == SCHEMA)

    def of_pair(self, pair: Pair) -> bool:
        """Whether it was measured on this pair."""
        facts = self.record["facts"]
        return (facts["base_sha256"], facts["tuned_sha256"]) == (
            pair.identity.base_sha256,
            pair.identity.tuned_sha256,
        )

    @property
    def per_second(self) -> float | None:
        """Prompts and visits for sets of layers a second, in its last run; None before the first."""
        if not self.record["runs"]:
            return None
        last = self.record["runs"][-1]
        made = last["prompts"] + last.get("sets", 0)
        return float(made / last["seconds"]) if made and last["seconds"] else None

    @property
    def seconds_left(self) -> float | None:
        """As its last run expected when it last wrote; None before the first."""
        left = self.record["runs"][-1].get("seconds_left") if self.record["runs"] else None
        return None if left is None else float(left)


def studies_home() -> Path:
    """Where studies lie: `GRAFT_STUDIES` if set, else `studies` in the cache folder."""
    configured = os.environ.get("GRAFT_STUDIES")
    return Path(configured).expanduser() if configured else graft_home() / "studies"


def study_folder(name: str) -> Path:
    """The folder of a study of this name; it need not exist. Blanks become hyphens.

    Raises:
        ArgumentError: the name is no plain name.
    """
    plain = "-".join(name.split())
    if not _NAME.fullmatch(plain):
        raise ArgumentError(
            f"{name!r} cannot be the name of a study." if plain else "The study has no name.",
            "Use up to 60 letters from a to z, digits, hyphens and underscores, a letter or digit first.",
        )
    return studies_home() / plain


def shelved(name: str) -> ShelvedStudy:
    """A study by its name.

    Raises:
        ArgumentError: the name is no plain name.
        StudyError: there is none, it was made by another version, or its record is not whole.
    """
    folder = study_folder(name)
    record = read_record(folder)
    lost = [name for name in _NEEDED if name not in record]
    if lost:
        raise StudyError(f"The record of the study in {folder} has no {lost[0]!r}.", "Start the study anew.")
    state: State = "finished" if record["state"] == "finished" else "stopped"
    return ShelvedStudy(folder.name, folder, record, "running" if state == "stopped" and is_held(folder) else state)


def all_shelved() -> tuple[tuple[ShelvedStudy, ...], tuple[StudyError, ...]]:
    """Every study there is, newest first, and what is wrong with those that cannot be read."""
    found: list[ShelvedStudy] = []
    unread: list[StudyError] = []
    for record in sorted(studies_home().glob("*/study.json")):
        if not _NAME.fullmatch(record.parent.name):
            continue
        try:
            found.append(shelved(record.parent.name))
        except StudyError as error:
            unread.append(error)
    return tuple(sorted(found, key=lambda study: str(study.record["created"]), reverse=True)), tuple(unread)
