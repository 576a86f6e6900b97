"""The errors a person can meet, under one root.

Each message says what happened, the values that disagree and what to do about it; pages and the command
line show these as they are. Anything else that escapes is a bug. Knows nothing about models.
"""


class GraftError(Exception):
    """Root of every error that is the input's or the environment's fault.

    Args:
        message: what happened, with the values that disagree.
        remedy: what the person can do about it.
    """

    exit_code = 2

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class ArgumentError(GraftError):
    """An argument or a typed value cannot be used."""


class ShapeError(GraftError):
    """Two tensors that must agree in shape do not."""


class PromptError(GraftError):
    """A question, answer or chat template cannot be turned into token ids."""


class TooLongError(PromptError):
    """A text does not fit the model's context."""


class AdapterError(GraftError):
    """An adapter cannot be used, or is of a kind that is not supported."""


class DataError(GraftError):
    """A data file cannot be read, or its rows cannot be used."""


class TrainingError(GraftError):
    """A fine-tuning run cannot start or go on."""


class StudyError(GraftError):
    """A study cannot start, go on or be read."""


class PairUnavailableError(GraftError):
    """The pair's files are not here: not fetched, offline, or a folder is missing."""

    exit_code = 3


class FetchError(PairUnavailableError):
    """Fetching a pair's files failed; nothing half-written was left to load."""


class DeviceMemoryError(GraftError):
    """The device ran out of memory."""

    exit_code = 4
