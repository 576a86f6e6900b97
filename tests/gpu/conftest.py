"""The tiny pairs of all tests on a CUDA device, beside the same ones on the CPU."""

import pytest

from core.pair.open import load_pair
from core.pair.pair import Pair
from core.pair.prompts import Message, Prompt
from tests.conftest import TinyFolders
from tests.gpu.near import DEVICE


@pytest.fixture(scope="session")
def on_gpu(folders: TinyFolders) -> Pair:
    """The pair of the fixture `pair`, in float32 as there."""
    return load_pair(folders.spec(), DEVICE, "float32")


@pytest.fixture
def prompt(pair: Pair) -> Prompt:
    return pair.prompts.chat([Message(role="user", content="What is asthma?")])
