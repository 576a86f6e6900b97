"""Records from data files and from the hub, each with the place it came from.

JSON lines and CSV are read here, so that a broken row is named by its number and a text stays a text; everything else
through `datasets`. Knows files; knows nothing of what the fields mean.
"""

import csv
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.data.place import DataPlace
from core.errors import DataError
from core.pair.home import graft_home

_LINES = (".jsonl", ".ndjson")
_LOADERS = {".json": "json", ".parquet": "parquet"}
Record = tuple[str, Any]


def read_records(place: DataPlace) -> Iterator[Record | DataError]:
    """Every record with where it stands; a line that cannot be read comes as its error.

    Raises:
        DataError: file or data set cannot be read at all.
    """
    if place.hub_id is not None:
        yield from _from_hub(place, place.hub_id)
        return
    path = place.path
    if not path.is_file():
        raise DataError(f"There is no file {path}.", "Check the path.")
    bare = path.with_suffix("") if path.suffix == ".gz" else path
    if bare.suffix in _LOADERS and path.suffix != ".gz":
        yield from _loaded(path.name, _LOADERS[path.suffix], data_files=str(path), split="train")
    elif path.suffix == ".csv":
        yield from _table(path)
    elif bare.suffix in _LINES:
        yield from _lines(path)
    else:
        raise DataError(f"{path.name} is of no kind known here.", "Give .jsonl, .jsonl.gz, .json, .csv or .parquet.")


def _lines(path: Path) -> Iterator[Record | DataError]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    where = f"{path.name} line {number}"
                    try:
                        yield where, json.loads(line)
                    except ValueError as error:
                        yield DataError(f"{where} is not JSON: {error}.", "Mend the line.")
    except (OSError, UnicodeDecodeError, EOFError, zlib.error) as error:
        raise DataError(f"{path.name} cannot be read: {error}.", "Give UTF-8 JSON lines, plain or gzipped.") from error


def _table(path: Path) -> Iterator[Record | DataError]:
    """Every field as the text it is: no word such as "None" or "NA" means that something is missing."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, fields in enumerate(csv.DictReader(file), start=1):
                where = f"{path.name} row {number}"
                if None in fields or None in fields.values():
                    yield DataError(f"{where} has more or fewer fields than the header.", "Mend the row.")
                else:
                    yield where, fields
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path.name} cannot be read: {error}.", "Give a UTF-8 CSV file with a header.") from error


def _from_hub(place: DataPlace, hub_id: str) -> Iterator[Record]:
    return _loaded(place.name, hub_id, name=place.config, split=place.split, revision=place.revision)


def _loaded(label: str, loader: str, **how: Any) -> Iterator[Record]:
    """Through `datasets`, without its bars and its log."""
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    try:
        found = datasets.load_dataset(loader, cache_dir=str(graft_home() / "datasets"), **how)
    except Exception as error:  # datasets lets many kinds through: of its own, of pyarrow, of the network
        raise DataError(
            f"{label} cannot be read: {type(error).__name__}: {str(error).strip().splitlines()[0][:300]}",
            "Check name, split and columns; a data set of the hub needs a network.",
        ) from error
    for number, fields in enumerate(found, start=1):
        yield f"{label} row {number}", fields
