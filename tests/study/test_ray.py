"""The Ray engine on two workers of this machine: the numbers of one process, also when a worker is killed."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from core.errors import ArgumentError, DataError
from core.pair.pair import Pair
from core.study.engines import LocalEngine, RayEngine
from core.study.pairs import PairChoice
from core.study.runner import StudyProgress, resume_study, run_study
from core.study.schema import TABLES
from tests.command import run_process
from tests.conftest import TinyFolders
from tests.study.runs import MEDICAL, read_table, small_settings, write_rows

with_ray = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.parametrize("folders", ["llama"], indirect=True),  # who measures does not ask what is measured
]


def test_without_ray_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ArgumentError, match="Ray is not installed") as caught:
        RayEngine(PairChoice())
    assert "requirements-ray.txt" in caught.value.remedy


@pytest.fixture
def engine(pair: Pair) -> Iterator[RayEngine]:
    pytest.importorskip("ray")
    made = RayEngine(PairChoice.of(pair), workers=2)
    yield made
    made.close()


def same_tables(one: Path, other: Path) -> None:
    for name in TABLES:
        pd.testing.assert_frame_equal(read_table(one, name), read_table(other, name), rtol=1e-9, atol=1e-12)


def _numbered(k: int) -> dict[str, Any]:
    return {**MEDICAL[0], "id": f"m{k}", "question": f"What is asthma {k}?"}


class TestRay:
    pytestmark = with_ray

    def test_two_workers_give_the_tables_of_one_process(self, pair: Pair, engine: RayEngine, tmp_path: Path) -> None:
        settings = small_settings(tmp_path)
        assert run_study(engine, settings, tmp_path / "ray").state == "finished"
        run_study(LocalEngine(pair), settings, tmp_path / "local")
        same_tables(tmp_path / "ray", tmp_path / "local")

    def test_a_killed_worker_loses_nothing(self, pair: Pair, engine: RayEngine, tmp_path: Path) -> None:
        import ray

        settings = small_settings(tmp_path, batch=1, measurements=("reference", "answers"), max_new_tokens=60)
        write_rows(tmp_path / "medical.jsonl", [_numbered(k) for k in range(40)])
        pids = ray.get([actor.pid.remote() for actor in engine.actors])
        killed: list[int] = []

        def kill_one(told: StudyProgress) -> None:
            if told.done == 5:
                os.kill(pids[0], signal.SIGKILL)
                killed.append(pids[0])

        assert run_study(engine, settings, tmp_path / "ray", kill_one).state == "finished"
        assert killed
        assert killed[0] not in ray.get([actor.pid.remote() for actor in engine.actors])
        run_study(LocalEngine(pair), settings, tmp_path / "local")
        same_tables(tmp_path / "ray", tmp_path / "local")

    @pytest.mark.parametrize("after", [2, 7])  # of 5 prompts and then 8 visits for sets of layers
    def test_stopped_on_the_cluster_it_resumes_in_this_process(
        self, pair: Pair, engine: RayEngine, tmp_path: Path, after: int
    ) -> None:
        settings = small_settings(tmp_path, batch=1)
        seen: list[StudyProgress] = []
        stopped = run_study(engine, settings, tmp_path / "s", seen.append, lambda: len(seen) >= after)
        assert stopped.state == "stopped"
        assert after <= stopped.progress.done + stopped.progress.sets_done < 5 + 8
        assert resume_study(LocalEngine(pair), tmp_path / "s").state == "finished"
        run_study(LocalEngine(pair), settings, tmp_path / "local")
        same_tables(tmp_path / "s", tmp_path / "local")

    def test_an_error_of_a_worker_is_the_error_of_this_process(self, engine: RayEngine, tmp_path: Path) -> None:
        settings = small_settings(tmp_path)
        write_rows(tmp_path / "medical.jsonl", [{"id": "long", "question": "pain " * 600, "answer": "Yes."}])
        with pytest.raises(DataError, match="long"):
            run_study(engine, settings, tmp_path / "s")

    def test_the_command_line_joins_a_cluster_that_runs_already(
        self, pair: Pair, folders: TinyFolders, tmp_path: Path
    ) -> None:
        ray = pytest.importorskip("ray")
        settings = small_settings(tmp_path, measurements=("reference", "answers"))
        corpora = [f"{choice.path},kind={choice.kind}" for choice in settings.corpora]
        cluster = ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
        try:
            done = run_process(
                "study", "run", str(tmp_path / "ray"), "--base", str(folders.base), "--tuned", str(folders.tuned),
                "--corpus", *corpora, "--measure", "reference,answers", "--max-new-tokens", "9", "--batch", "2",
                "--engine", "ray", "--workers", "2",
                "--address", cluster.address_info["address"], "--json",
            )  # fmt: skip
        finally:
            ray.shutdown()
        assert done.code == 0, done.err
        assert done.report["engine"] == "ray"
        run_study(LocalEngine(pair), settings, tmp_path / "local")
        for name in ("prompts", "answers", "tokens", "words"):
            one, other = (read_table(tmp_path / folder, name) for folder in ("ray", "local"))
            pd.testing.assert_frame_equal(one, other, rtol=1e-9, atol=1e-12)
