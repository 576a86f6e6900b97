"""The form of a study's journal, and how much one holds.

Knows SQLite; knows no study.
"""

import contextlib
import sqlite3
from pathlib import Path

TABLES_SQL = """
CREATE TABLE corpora (number INTEGER PRIMARY KEY, content BLOB NOT NULL);
CREATE TABLE measured (place INTEGER PRIMARY KEY, tables BLOB NOT NULL);
CREATE TABLE states (place INTEGER, layer INTEGER, kind TEXT, n INTEGER, content BLOB, PRIMARY KEY (place, layer));
CREATE INDEX states_by_layer ON states (kind, layer, place);
"""
VISITS_SQL = """
CREATE TABLE IF NOT EXISTS visits (name TEXT, place INTEGER, content BLOB NOT NULL, PRIMARY KEY (name, place));
"""


def n_measured(journal: Path) -> int:
    """Prompts in a journal; 0 where it does not exist or was not made whole."""
    if not journal.exists():
        return 0
    with contextlib.closing(sqlite3.connect(journal)) as found:
        if not found.execute("SELECT 1 FROM sqlite_master WHERE name = 'measured'").fetchone():
            return 0
        return int(found.execute("SELECT count(*) FROM measured").fetchone()[0])
