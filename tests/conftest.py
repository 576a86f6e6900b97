"""Pairs to test on: tiny random ones built from real configs, and the demo pair where it is fetched."""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch

import core  # noqa: F401  (sets torch's memory option before torch is imported)
from core.pair.fetch import is_ready
from core.pair.home import graft_home
from core.pair.open import load_pair
from core.pair.pair import Pair
from core.pair.registry import PairSpec, Source, pair_spec
from tests.tiny import TARGETS, build_adapter, build_base


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where processes share the tests, files with slow ones begin, so that none is left to one process at the end."""
    if hasattr(config, "workerinput"):
        slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
        items.sort(key=lambda item: -slow[item.path])


@dataclass(frozen=True)
class TinyFolders:
    """Folders of a tiny pair, loadable by plain transformers and peft."""

    base: Path
    tuned: Path

    def spec(self, name: str = "tiny") -> PairSpec:
        return PairSpec(
            name, name, Source(id=str(self.base), path=str(self.base)), Source(id="t", path=str(self.tuned))
        )


@pytest.fixture(scope="session", autouse=True)
def _one_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Noise and hashes measured in tests stay out of the user's cache; the fetched models are shared.

    One thread: with two, tiny models wait for each other many times longer than they compute on a busy machine.
    """
    home = tmp_path_factory.mktemp("home")
    (graft_home() / "models").mkdir(parents=True, exist_ok=True)
    (home / "models").symlink_to(graft_home() / "models")
    os.environ["GRAFT_HOME"] = str(home)
    torch.set_num_threads(1)


@pytest.fixture(scope="session", params=["llama", "qwen2"])
def folders(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TinyFolders:
    """A tiny random pair of each architecture, with a LoRA on every projection."""
    root = tmp_path_factory.mktemp(request.param)
    base = build_base(root / "base", request.param)
    return TinyFolders(base, build_adapter(base, root / "tuned"))


@pytest.fixture(scope="session")
def pair(folders: TinyFolders) -> Pair:
    """The tiny pair, loaded."""
    return load_pair(folders.spec())


@pytest.fixture(scope="session")
def llama_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama to put adapters on."""
    return build_base(tmp_path_factory.mktemp("llama-base") / "base", "llama")


@pytest.fixture(scope="session")
def qwen2_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2 with the flagship's chat template, which opens the reasoning."""
    return build_base(tmp_path_factory.mktemp("qwen2-base") / "base", "qwen2")


@pytest.fixture(scope="session")
def load_with(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Pair]:
    """Loads a base with an adapter of the given LoRA settings."""

    def load(base: Path, **settings: Any) -> Pair:
        tuned = build_adapter(base, tmp_path_factory.mktemp("adapter"), **settings)
        return load_pair(TinyFolders(base, tuned).spec())

    return load


@pytest.fixture(scope="session")
def demo() -> Pair:
    """The real demo pair; `python -m core pairs --fetch demo` brings it here."""
    if not is_ready(pair_spec("demo")):
        pytest.fail("The demo pair is not fetched: run `python -m core pairs --fetch demo`.")
    return load_pair("demo")


__all__ = ["TARGETS", "TinyFolders"]
