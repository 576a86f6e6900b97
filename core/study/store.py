"""One folder a study: what was asked, a journal of what every prompt gave, and the tables made of it.

A prompt enters the journal whole, in one SQLite transaction, or not at all: a process killed at any moment leaves what
was committed before, and nothing twice. The rows of the corpora lie in it too, so that a study goes on with the same
questions whatever became of their files. Knows rows and files; computes nothing but the similarity of states.
"""

import json
import sqlite3
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from core.errors import StudyError
from core.measure.similarity import CrossProducts
from core.pair.files import write_atomically
from core.study.choice import KINDS
from core.study.corpora import Corpus, CorpusRow
from core.study.journal import TABLES_SQL, VISITS_SQL, n_measured
from core.study.measure_prompt import Measured
from core.study.parquet import write_parquet
from core.study.schema import READABLE, SCHEMA, SUMMED_UP, TABLES, VISITED, Row, Tables
from core.study.tasks import Visited

RECORD, JOURNAL, LOCK, FOLDER = "study.json", "journal.sqlite", ".lock", "tables"


class StudyStore:
    """A study's folder, held by one process at a time. Use it in a `with` block.

    Made by `create_store` and `open_store`.

    Attributes:
        folder: where it lies.
        record: what `study.json` holds.
    """

    def __init__(self, folder: Path, lock: FileLock, journal: sqlite3.Connection, record: dict[str, Any]) -> None:
        self.folder, self.record = folder, record
        self._lock, self._journal = lock, journal

    def __enter__(self) -> "StudyStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets others have the folder."""
        self._journal.close()
        self._lock.release()

    def corpora(self) -> tuple[Corpus, ...]:
        """The corpora as they were when the study began."""
        return tuple(
            _corpus(_unpack(content))
            for (content,) in self._journal.execute("SELECT content FROM corpora ORDER BY number")
        )

    def done(self) -> set[int]:
        """Places of the prompts that have been measured."""
        return {place for (place,) in self._journal.execute("SELECT place FROM measured")}

    def add(self, found: Measured) -> None:
        """Keeps what a prompt gave; a prompt that is there already stays as it is.

        Raises:
            StudyError: the folder cannot be written.
        """
        kind = found.tables["prompts"][0]["corpus"]
        drift = found.tables.get("representations", [])
        try:
            with self._journal:
                new = self._journal.execute(
                    "INSERT OR IGNORE INTO measured VALUES (?, ?)", (found.place, _pack(found.tables))
                ).rowcount
                if new and found.states is not None:
                    self._journal.executemany(
                        "INSERT INTO states VALUES (?, ?, ?, ?, ?)",
                        [
                            (found.place, layer, kind, drift[layer]["tokens"], states.numpy().tobytes())
                            for layer, states in enumerate(found.states)
                        ],
                    )
        except sqlite3.Error as error:
            raise StudyError(f"{self.folder} cannot be written: {error}.", "Make room, then resume.") from error

    def visited(self, table: str) -> set[int]:
        """Places of the prompts that have been visited for a table."""
        return {place for (place,) in self._journal.execute("SELECT place FROM visits WHERE name = ?", (table,))}

    def add_visit(self, found: Visited) -> None:
        """Keeps what going back to a prompt gave; what is there already stays as it is.

        Raises:
            StudyError: the folder cannot be written.
        """
        row = (found.table, found.place, _pack(found.rows))
        try:
            with self._journal:
                self._journal.execute("INSERT OR IGNORE INTO visits VALUES (?, ?, ?)", row)
        except sqlite3.Error as error:
            raise StudyError(f"{self.folder} cannot be written: {error}.", "Make room, then resume.") from error

    def note(self, **values: Any) -> None:
        """Changes fields of `study.json`."""
        self.record = {**self.record, **values}
        _write_record(self.folder, self.record)

    def tables(self, places: Collection[int] | None = None) -> Iterator[tuple[int, Tables]]:
        """What prompts gave when they were measured, by place, in the order of the prompts; None for all of them."""
        for place, content in self._journal.execute("SELECT place, tables FROM measured ORDER BY place"):
            if places is None or place in places:
                yield place, _unpack(content)

    def rows(self, table: str) -> Iterator[Row]:
        """The rows of a table that grows prompt by prompt, in the order of the prompts."""
        if table in VISITED:
            for (content,) in self._journal.execute(
                "SELECT content FROM visits WHERE name = ? ORDER BY place", (table,)
            ):
                yield from _unpack(content)
            return
        for _, tables in self.tables():
            yield from tables.get(table, [])

    def finish(self) -> dict[str, int]:
        """Writes every table of what has been measured so far; how many rows each has.

        Each file is written beside its old version and takes its place when it is whole.
        """
        counts = {}
        for table in TABLES:
            rows = self._similarity() if table in SUMMED_UP else self.rows(table)
            counts[table] = write_parquet(self.folder / FOLDER / f"{table}.parquet", table, rows)
        return counts

    def _similarity(self) -> Iterator[Row]:
        """Linear CKA of the mean states of prompts, layer by layer, for either kind of corpus."""
        for kind in KINDS:
            layers = self._journal.execute("SELECT DISTINCT layer FROM states WHERE kind = ? ORDER BY layer", (kind,))
            for (layer,) in layers.fetchall():
                products: CrossProducts | None = None
                n_tokens = 0
                for n, content in self._journal.execute(
                    "SELECT n, content FROM states WHERE kind = ? AND layer = ? ORDER BY place", (kind, layer)
                ):
                    base, tuned = torch.from_numpy(np.frombuffer(content, dtype=np.float32).copy()).reshape(2, 1, -1)
                    products = products or CrossProducts(base.shape[1], tuned.shape[1])
                    products.add(base, tuned)
                    n_tokens += n
                if products is not None:
                    yield {
                        "corpus": kind,
                        "layer": layer,
                        "documents": products.n,
                        "tokens": n_tokens,
                        "cka": products.cka(),
                        "cka_unbiased": products.cka_unbiased(),
                    }


def create_store(folder: Path, corpora: Sequence[Corpus], record: dict[str, Any]) -> StudyStore:
    """A folder for a new study.

    Args:
        folder: made where it does not exist; must hold no study.
        corpora: the questions.
        record: what goes into `study.json`.

    Raises:
        StudyError: it holds a study already, or what one measured; another process holds it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _locked(folder)
    except OSError as error:
        raise StudyError(f"Cannot write to {folder}: {error.strerror or error}.", "Give another folder.") from error
    try:
        if (folder / RECORD).exists():
            raise StudyError(f"{folder} holds a study already.", "Resume it, or give another folder.")
        if n := n_measured(folder / JOURNAL):
            raise StudyError(
                f"{folder} has lost its {RECORD}, but its {JOURNAL} holds {n:,} measured prompts.",
                f"Put {RECORD} back and resume, or give another folder.",
            )
        (folder / JOURNAL).unlink(missing_ok=True)  # begun, and killed before it was whole
        journal = sqlite3.connect(folder / JOURNAL, check_same_thread=False)
        with journal:
            journal.executescript(TABLES_SQL + VISITS_SQL)
            journal.executemany(
                "INSERT INTO corpora VALUES (?, ?)",
                [(number, _pack(asdict(corpus))) for number, corpus in enumerate(corpora)],
            )
        _write_record(folder, record)  # last: with it there is a study
    except BaseException as error:
        lock.release()
        if isinstance(error, OSError | sqlite3.Error):
            raise StudyError(f"Cannot write to {folder}: {error}.", "Give another folder.") from error
        raise
    return StudyStore(folder, lock, journal, record)


def open_store(folder: Path) -> StudyStore:
    """The folder of a study that was begun.

    Raises:
        StudyError: there is none, it cannot be read, or another process holds it.
    """
    record = read_record(folder, (SCHEMA,))
    if not (folder / JOURNAL).is_file():
        raise StudyError(f"{folder} has lost its {JOURNAL}.", "Start the study anew in another folder.")
    lock = _locked(folder)
    journal = sqlite3.connect(folder / JOURNAL, check_same_thread=False)
    try:
        journal.execute("SELECT count(*) FROM measured").fetchone()
        journal.executescript(VISITS_SQL)
    except sqlite3.Error as error:
        journal.close()
        lock.release()
        raise StudyError(f"{folder / JOURNAL} cannot be read: {error}.", "Start the study anew.") from error
    return StudyStore(folder, lock, journal, record)


def read_record(folder: Path, forms: Sequence[int] = READABLE) -> dict[str, Any]:
    """What `study.json` says; takes no lock, so that a running study can be looked at.

    Args:
        folder: of the study.
        forms: of its tables that will do.

    Raises:
        StudyError: there is no study in the folder, or its tables have another form.
    """
    try:
        found: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(f"There is no study in {folder}.", "Start one with `study run`.") from error
    if found.get("schema_version") not in forms:
        raise StudyError(
            f"The study in {folder} was made by another version of Graft: its tables have form "
            f"{found.get('schema_version')}, and this version {'goes on with' if len(forms) == 1 else 'reads'} form "
            f"{' or '.join(map(str, forms))}.",
            "Report it as it is, or run it again."
            if found.get("schema_version") in READABLE
            else "Run it again, or read its parquet files with pandas.",
        )
    return found


def is_held(folder: Path) -> bool:
    """Whether a process is at work on the study; looks for an instant only."""
    if not (folder / LOCK).exists():
        return False
    try:
        _locked(folder).release()
    except StudyError:
        return True
    except OSError:
        return False  # a folder that can only be read is nobody's work
    return False


def _locked(folder: Path) -> FileLock:
    lock = FileLock(folder / LOCK, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise StudyError(f"Another process is at work on the study in {folder}.", "Wait for it, or stop it.") from error
    return lock


def _write_record(folder: Path, record: dict[str, Any]) -> None:
    write_atomically(folder / RECORD, json.dumps(record, ensure_ascii=False, indent=1))


def _pack(value: Any) -> bytes:
    return zlib.compress(json.dumps(value, ensure_ascii=False).encode())


def _unpack(content: bytes) -> Any:
    return json.loads(zlib.decompress(content))


def _corpus(values: dict[str, Any]) -> Corpus:
    rows = tuple(CorpusRow(**{**row, "options": tuple(row["options"])}) for row in values["rows"])
    return Corpus(**{**values, "rows": rows, "bad": tuple(values["bad"])})
