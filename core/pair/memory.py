"""A device's memory running out, as the error a person can meet.

Knows how torch says so; knows nothing of what is computed.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from core.errors import DeviceMemoryError


@contextmanager
def memory_for(what: str, remedy: str = "Shorten the text or ask for fewer lanes.") -> Iterator[None]:
    """Runs its body, which needs memory.

    Args:
        what: begins the message, which goes on "do not fit on the device".
        remedy: what the person can do about it.

    Raises:
        DeviceMemoryError: the device ran out of memory.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceMemoryError(f"{what} do not fit on the device.", remedy) from error
