"""A study that runs by itself: in a thread of its own, whoever looks at it and whoever does not.

Knows the runner and a worker; knows no pages and no sessions.
"""

import atexit
import shutil
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from core.errors import GraftError, StudyError
from core.generate.worker import Worker
from core.pair.files import write_atomically
from core.study.choice import CorpusChoice
from core.study.runner import StudyProgress, resume_study, run_study
from core.study.settings import StudySettings
from core.study.store import RECORD
from core.study.through_worker import Interrupted, WorkerEngine
from core.study.uploads import UPLOADS, Upload

EXIT_SECONDS = 30.0


class BackgroundStudy:
    """One run of a study. Any thread may read it.

    Args:
        worker: of the pair.
        folder: of the study.
        settings: of a new study; None goes on with the one in the folder.
        uploads: texts behind the corpora of a new study that lie in no file yet; kept in the study's folder.

    Attributes:
        folder: of the study.
        progress: how far it is; None before the first prompt.
        error: why it failed; None where it did not.
        stopping: whether it was asked to stop.
    """

    def __init__(
        self, worker: Worker, folder: Path, settings: StudySettings | None, uploads: Sequence[Upload] = ()
    ) -> None:
        self.folder, self.worker = folder, worker
        self.progress: StudyProgress | None = None
        self.error: GraftError | None = None
        self._settings, self._uploads = settings, tuple(uploads)
        self._engine = WorkerEngine(worker, f"study {folder.name}")
        self._stop, self._tables, self._ended = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"study {folder.name}", daemon=True)

    def start(self) -> None:
        """Begins; returns at once."""
        atexit.register(self.close)  # comes before the worker's own, which would find it measuring
        self._thread.start()

    def stop(self) -> None:
        """Asks it to stop after the prompt in hand."""
        self._stop.set()

    def want_tables(self) -> None:
        """Asks for tables of what has been measured so far, after the prompt in hand."""
        self._tables.set()

    def close(self) -> None:
        """Gives up the prompt in hand and waits until the rest is written."""
        self._stop.set()
        self._engine.close()
        self._ended.wait(EXIT_SECONDS)

    def wait(self, timeout: float | None = None) -> bool:
        """Blocks until it has ended; False if the time ran out first."""
        return self._ended.wait(timeout)

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._ended.is_set()

    @property
    def stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self._stop.is_set()

    @property
    def tables_asked(self) -> bool:
        """Whether tables were asked for and have not been begun."""
        return self._tables.is_set()

    @property
    def in_hand(self) -> tuple[str, float]:
        """What is being measured, in words, and the share of it that is done."""
        return self._engine.in_hand

    def _run(self) -> None:
        try:
            if self._settings is None:
                resume_study(self._engine, self.folder, self._told, self._stop.is_set, self._tables_wanted)
            else:
                settings = self._kept_uploads(self._settings)
                run_study(self._engine, settings, self.folder, self._told, self._stop.is_set, self._tables_wanted)
        except Interrupted:
            self.error = None if self._stop.is_set() else StudyError("The pair was unloaded.", "Load it, and resume.")
        except GraftError as error:
            self.error = error
        except Exception as error:
            threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, self._thread)))
            self.error = StudyError(f"{type(error).__name__}: {error}", "This is a bug; see the log.")
        finally:
            if not (self.folder / RECORD).exists():
                _forget_uploads(self.folder)
            self._uploads = ()
            self._ended.set()
            atexit.unregister(self.close)

    def _told(self, progress: StudyProgress) -> None:
        self.progress = progress

    def _tables_wanted(self) -> bool:
        wanted = self._tables.is_set()
        self._tables.clear()
        return wanted

    def _kept_uploads(self, settings: StudySettings) -> StudySettings:
        """The settings with uploaded corpora read from the study's folder, where their texts are written now."""
        if (self.folder / RECORD).exists():
            raise StudyError(f"There is a study named {self.folder.name} already.", "Resume it, or give another name.")
        places = {upload.label: upload.kept_in(self.folder / UPLOADS) for upload in self._uploads}
        try:
            for upload in self._uploads:
                write_atomically(places[upload.label], upload.text)
        except OSError as error:
            raise StudyError(f"Cannot write to {self.folder}: {error.strerror or error}.", "Make room.") from error

        def placed(choice: CorpusChoice) -> CorpusChoice:
            return replace(choice, path=places.get(choice.label, choice.path))

        return replace(settings, corpora=tuple(placed(choice) for choice in settings.corpora))


class StudyDesk:
    """Lets one study run at a time, and remembers the last one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: BackgroundStudy | None = None

    @property
    def last(self) -> BackgroundStudy | None:
        """The study that runs, or the one that ran last."""
        return self._last

    def at_work(self) -> BackgroundStudy | None:
        """The study that runs."""
        last = self._last
        return last if last is not None and not last.ended else None

    def start(
        self, worker: Worker, folder: Path, settings: StudySettings | None, uploads: Sequence[Upload] = ()
    ) -> BackgroundStudy:
        """Begins a study, or goes on with one.

        Args:
            worker, folder, settings, uploads: as for `BackgroundStudy`.

        Raises:
            StudyError: another one runs, or a new one has the name of another.
        """
        with self._lock:
            if (running := self.at_work()) is not None:
                raise StudyError(
                    f"The study {running.folder.name} is running; one runs at a time.", "Wait for it, or stop it."
                )
            if settings is not None and (folder / RECORD).exists():
                raise StudyError(f"There is a study named {folder.name} already.", "Resume it, or give another name.")
            study = BackgroundStudy(worker, folder, settings, uploads)
            study.start()
            self._last = study
            return study


def _forget_uploads(folder: Path) -> None:
    """Of a study that never began, nothing uploaded stays."""
    shutil.rmtree(folder / UPLOADS, ignore_errors=True)
    if folder.is_dir() and not [file for file in folder.iterdir() if file.name != ".lock"]:
        shutil.rmtree(folder, ignore_errors=True)
