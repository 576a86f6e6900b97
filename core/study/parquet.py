"""Rows of a table as a parquet file, in bounded memory.

Knows columns and their types; knows nothing of what is in them.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from core.study.schema import Row, parquet_schema

ROWS_AT_ONCE = 5000


def write_parquet(path: Path, table: str, rows: Iterator[Row]) -> int:
    """Writes rows in groups, beside the file's old version, which gives way when all are there.

    Returns:
        How many rows there are.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = parquet_schema(table)
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    count = 0
    try:
        with pq.ParquetWriter(partial, schema) as writer:
            group: list[Row] = []
            for row in rows:
                group.append(row)
                count += 1
                if len(group) == ROWS_AT_ONCE:
                    writer.write_table(pa.Table.from_pylist(group, schema=schema))
                    group = []
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
        os.replace(partial, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
    return count
