"""A whole study on a CUDA device: the tables of the CPU."""

from pathlib import Path

import pandas as pd

from core.pair.pair import Pair
from core.study.engines import LocalEngine
from core.study.runner import run_study
from core.study.schema import TABLES
from core.study.settings import MEASUREMENTS
from tests.gpu.near import GPU, OF_SEVERAL, PLACES, TOLERANCE
from tests.study.runs import read_table, small_settings

pytestmark = GPU


def test_a_study_that_measures_everything_leaves_the_tables_of_the_cpu(
    pair: Pair, on_gpu: Pair, tmp_path: Path
) -> None:
    settings = small_settings(tmp_path, measurements=tuple(MEASUREMENTS))
    for own, folder in ((pair, "here"), (on_gpu, "there")):
        outcome = run_study(LocalEngine(own), settings, tmp_path / folder)
        assert (outcome.state, outcome.left_out) == ("finished", ())
    for name in TABLES:
        here, there = (read_table(tmp_path / folder, name) for folder in ("here", "there"))
        near_zero = ["logp_recovery"] if name in ("layers", "parts") else []  # of a change that may be next to nothing
        ranks = [column for column in here if column.startswith("rank_") and column != "rank_class"]
        assert ((here[ranks] - there[ranks]).abs().fillna(0) <= PLACES).all(axis=None)
        pd.testing.assert_frame_equal(
            here.drop(columns=ranks + near_zero),
            there.drop(columns=ranks + near_zero),
            rtol=TOLERANCE,
            atol=OF_SEVERAL,
            obj=name,
        )
