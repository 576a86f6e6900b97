"""Corpora that come as a text instead of a file: checked names, and rows read without leaving anything behind.

Knows names and temporary folders; knows no model.
"""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.errors import DataError
from core.study.choice import CorpusChoice, Kind, parse_corpus
from core.study.corpora import Corpus, read_corpora
from core.study.settings import StudySettings

UPLOADS = "uploads"
SUFFIXES = ("jsonl", "ndjson", "csv")
"""Kinds of files that are read here, without a library that would keep a copy of its own."""


@dataclass(frozen=True)
class Upload:
    """An uploaded file.

    Attributes:
        label: what tables call its corpus.
        file_name: plain, with one of the known endings.
        text: what it holds.
    """

    label: str
    file_name: str
    text: str

    def kept_in(self, folder: Path) -> Path:
        """Its place in a folder."""
        return folder / self.file_name


def upload_of(name: str, content: bytes, number: int = 1) -> Upload:
    """An uploaded file under a name that can do no harm.

    Args:
        name: as the browser gave it.
        content: of the file.
        number: which one it is; goes before a name that was taken already.

    Raises:
        DataError: it is of no kind known here, or not UTF-8.
    """
    stem, _, suffix = Path(name.replace("\\", "/")).name.rpartition(".")
    if suffix.lower() not in SUFFIXES:
        raise DataError(f"{name} is of no kind that can be uploaded.", f"Give .{', .'.join(SUFFIXES)}.")
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-")[:60] or "questions"
    label = plain if number == 1 else f"{plain}-{number}"
    try:
        return Upload(label, f"{label}.{suffix.lower()}", content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8: {error}.", "Save it as UTF-8.") from error


def choice_of_upload(upload: Upload, kind: Kind, columns: str = "", skip_bad: bool = False) -> CorpusChoice:
    """The corpus of an uploaded file; its path is a bare name until it is kept somewhere.

    Args:
        upload: the file.
        kind: whether it counts as medical or as general.
        columns: `FIELD=COLUMN` with commas between, as on the command line.
        skip_bad: as in `CorpusChoice`.

    Raises:
        ArgumentError: the columns are not understood.
    """
    more = f",{columns.strip()}" if columns.strip() else ""
    found = parse_corpus(f"{upload.file_name},kind={kind}{more}")
    return replace(found, path=Path(upload.file_name), label=upload.label, kind=kind, skip_bad=skip_bad)


def read_with_uploads(settings: StudySettings, uploads: Sequence[Upload]) -> tuple[Corpus, ...]:
    """The corpora of a study that may hold uploads; nothing of these stays on disk.

    Raises:
        DataError: as `read_corpora`.
    """
    with tempfile.TemporaryDirectory() as folder:
        places = {upload.label: upload.kept_in(Path(folder)) for upload in uploads}
        for upload in uploads:
            places[upload.label].write_text(upload.text, encoding="utf-8", newline="")
        choices = [replace(one, path=places.get(one.label, one.path)) for one in settings.corpora]
        return read_corpora(choices, settings.seed)
