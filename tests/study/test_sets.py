"""Sets of layers found on one half of the prompts and scored on the other: halves, rankings, real runs, statistics."""

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from core.errors import ArgumentError
from core.intervene.random_adapter import random_adapter
from core.intervene.set_function import SetFunction
from core.intervene.sets import Unit, set_name, units_of
from core.pair.pair import Pair
from core.pair.parts import MASKS
from core.pair.prompts import Message
from core.study.adapter_sets import against_adapters
from core.study.corpora import CorpusRow
from core.study.engines import LocalEngine
from core.study.findings import Settings, findings
from core.study.halves import halves
from core.study.held_out import held_out_sets
from core.study.measure_prompt import reference_ids
from core.study.passes import smallest_sizes
from core.study.prompts import StudyPrompt
from core.study.ranking import Ranking, rank_units
from core.study.runner import StudyProgress, resume_study, run_study
from core.study.schema import VISITED
from core.study.settings import StudySettings
from tests.study.runs import GENERAL, MEDICAL, read_table, row_of, small_settings
from tests.study.simulated import FLOORS, sets_of, tables_of
from tests.tiny import N_LAYERS

QUICK = Settings(n_permutations=199, n_resamples=200)


def prompt(place: int, kind: Any, twin: str | None = None, swept: bool = True) -> StudyPrompt:
    row = CorpusRow(f"d{place}", "?", "Yes.")
    return StudyPrompt(place, f"d{place}", twin, str(kind), kind, row, swept, False)


# Halves and rankings


def test_halves_keep_twins_together_and_split_each_kind() -> None:
    pairs = [
        one for k in range(0, 20, 2) for one in (prompt(k, "medical", f"d{k + 1}"), prompt(k + 1, "general", f"d{k}"))
    ]
    alone = [prompt(20 + k, "medical") for k in range(5)] + [prompt(25 + k, "general") for k in range(4)]
    left_out = prompt(30, "medical", swept=False)
    found = halves([*pairs, *alone, left_out], seed=0)
    assert set(found) == set(range(29))
    assert all(found[k] == found[k + 1] for k in range(0, 20, 2))
    for kind in ("medical", "general"):
        own = [found[one.place] for one in [*pairs, *alone] if one.kind == kind]
        assert abs(own.count(0) - own.count(1)) <= 1
    assert halves([*pairs, *alone], seed=0) == found
    assert halves([*pairs, *alone], seed=1) != found


def test_a_ranking_by_hand() -> None:
    def rows(gains: list[float], base: float) -> list[dict[str, Any]]:
        return [{"layer": k, "kl_base_sum": base, "kl_sum": base - gain} for k, gain in enumerate(gains)]

    # Layer 1 gives more in most prompts, layer 0 more in nats.
    found = rank_units(None, rows([6.0, 1.0, -1.0], 10.0), {})
    found = rank_units(found, rows([0.0, 2.0, 3.0], 10.0), {})
    assert found.ranked("layer") == (Unit(0), Unit(1), Unit(2))
    assert found.nested("layer") == ((Unit(0),), (Unit(0), Unit(1)), (Unit(0), Unit(1), Unit(2)))
    shares = [{"layer": k, "part": part, "share": share} for k, part, share in ((0, "attn", 0.1), (2, "mlp", 0.9))]
    by_share = rank_units(found, rows([0.0, 0.0, 0.0], 10.0), {"shapley": shares})
    assert by_share.ranked("layer")[0] == Unit(2)
    assert by_share.ranked("part")[:2] == (Unit(2, "mlp"), Unit(0, "attn"))
    equal = Ranking(3)
    assert equal.ranked("layer") == (Unit(0), Unit(1), Unit(2))


def test_the_smallest_size_is_that_of_pooled_recovery() -> None:
    rows = [
        # One document alone reaches 80 % with one layer, the two together with two.
        *(
            {"half": 0, "by": "layer", "size": s, "kl_sum": kl, "kl_base_sum": 1.0, "tokens": 9}
            for s, kl in ((1, 0.1), (2, 0.1))
        ),
        *(
            {"half": 0, "by": "layer", "size": s, "kl_sum": kl, "kl_base_sum": 9.0, "tokens": 9}
            for s, kl in ((1, 4.0), (2, 1.5))
        ),
        # Nothing but noise.
        {"half": 1, "by": "layer", "size": 1, "kl_sum": 0.0, "kl_base_sum": 1e-5, "tokens": 9},
    ]
    store: Any = SimpleNamespace(rows=lambda name: rows)
    assert smallest_sizes(store, floor=1e-5) == {
        (0, "layer", 0.8): 2, (0, "layer", 0.9): None, (1, "layer", 0.8): None, (1, "layer", 0.9): None,
    }  # fmt: skip


# Runs on a tiny pair


@pytest.fixture(scope="module")
def study(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudySettings]:
    root = tmp_path_factory.mktemp("sets")
    measurements = ("reference", "answers", "layers", "controls", "shapley", "sets", "part-sets")
    settings = small_settings(root, measurements=measurements, control_prompts=2, random_adapters=2)
    seen: list[StudyProgress] = []
    outcome = run_study(LocalEngine(pair), settings, root / "study", seen.append)
    assert outcome.state == "finished"
    assert (seen[-1].sets_done, seen[-1].seconds_left) == (seen[-1].sets_of, 0)
    return root / "study", settings


def function_of(pair: Pair, document: str, folder: Path, settings: StudySettings) -> SetFunction:
    """R on the text of a document, put together anew."""
    row = next(row for row in MEDICAL + GENERAL if row["id"] == document)
    prompts = read_table(folder, "prompts").set_index("document")
    asked = pair.prompts.chat([Message(role="user", content=prompts.question[document])])
    if "answer" in row:
        text: Sequence[int] = reference_ids(pair, asked, row_of(row))
    else:
        answers = read_table(folder, "answers")
        text = answers[(answers.document == document) & (answers.whose == "tuned")].ids.iloc[0].tolist()
    cut = list(text)[: settings.sweep_tokens]
    parts = pair.prompts.answer_parts(cut, asked).parts
    predicted = [len(asked.ids) + k for k, part in enumerate(parts) if part in MASKS["response"]]
    return SetFunction(pair, (*asked.ids, *cut), predicted)


def units_from(name: str, by: str) -> tuple[Unit, ...]:
    return next(
        units
        for size in range(1, 2 * N_LAYERS + 1)
        for units in _subsets(units_of(N_LAYERS, by), size)
        if set_name(units, N_LAYERS) == name
    )


def _subsets(units: tuple[Unit, ...], size: int) -> list[tuple[Unit, ...]]:
    return [
        own for flags in product((0, 1), repeat=len(units)) if sum(flags) == size
        for own in [tuple(unit for unit, flag in zip(units, flags, strict=True) if flag)]
    ]  # fmt: skip


def test_every_number_is_that_of_the_set_grafted_alone(pair: Pair, study: tuple[Path, StudySettings]) -> None:
    folder, settings = study
    for table in VISITED:
        rows = read_table(folder, table)
        for document, own in rows.groupby("document"):
            for _, row in own.iloc[::3].iterrows():
                adapter = row.adapter if table == "adapter_sets" else 0
                changed = random_adapter(pair, settings.seed + adapter - 1) if adapter else pair
                function = function_of(changed, str(document), folder, settings)
                (k,) = function.k([units_from(row.units, row.by)])
                assert row.kl_sum == pytest.approx(k * row.tokens, rel=1e-4, abs=1e-7)
                assert row.kl_base_sum == pytest.approx(function.k_base * row.tokens, rel=1e-6)
                assert len(units_from(row.units, row.by)) == row["size"]


def test_no_set_is_scored_on_the_half_it_was_found_on(study: tuple[Path, StudySettings]) -> None:
    nested, sets = (read_table(study[0], table) for table in VISITED[:2])
    half = nested.groupby("document").half.first()
    assert set(half) == {0, 1}
    assert (nested.half == nested.found_on).all()
    assert (sets.half != sets.found_on).all()
    assert (sets.half == half.loc[sets.document].to_numpy()).all()
    assert sets.groupby(["document", "by", "reach"]).number.apply(list).map(tuple).unique().tolist() == [(0, 1, 2, 3)]
    for (found_on, by, reach), own in sets.groupby(["found_on", "by", "reach"]):
        there = nested[(nested.half == found_on) & (nested.by == by)].groupby("size")[["kl_sum", "kl_base_sum"]].sum()
        recovery = 1 - there.kl_sum / there.kl_base_sum
        assert own["size"].unique().tolist() == [recovery.index[recovery >= reach].min()]
        found = own[own.number == 0].units.unique()
        assert len(found) == 1
        assert found[0] in set(nested[(nested.half == found_on) & (nested.by == by)].units)
        assert len(own.groupby("number").units.unique().map(tuple).map(len).unique()) == 1


def test_prompts_are_ranked_by_their_own_half_alone(study: tuple[Path, StudySettings]) -> None:
    nested, shapley = read_table(study[0], "nested_sets"), read_table(study[0], "shapley")
    layers = read_table(study[0], "layers").query("adapter == 0 and kind == 'single'")
    base = layers.groupby("document").kl_base_sum.first()
    for half, own in nested[nested.by == "layer"].groupby("half"):
        shares = shapley[shapley.document.isin(own.document)]
        worth = (shares.share * base.loc[shares.document].to_numpy()).groupby(shares.layer).sum()
        best = own[own["size"] == 1].units.unique()
        assert best.tolist() == [str(worth.idxmax())], half


def test_every_adapter_has_its_own_best_layers_of_the_other_half(study: tuple[Path, StudySettings]) -> None:
    layers, sets, found = (read_table(study[0], name) for name in ("layers", "sets", "adapter_sets"))
    controlled = set(layers[layers.adapter > 0].document)
    half = found.groupby("document").half.first()
    assert set(half.index) == controlled
    assert set(half) == {0, 1}
    assert set(found.adapter) == {0, 1, 2}
    sizes = sets[(sets.by == "layer") & (sets.number == 0)].groupby(["found_on", "reach"])["size"].first()
    alone = layers[(layers.kind == "single") & layers.document.isin(controlled)]
    alone = alone.assign(worth=alone.kl_base_sum - alone.kl_sum)
    for _, row in found.iterrows():
        assert (row.half, row["size"]) == (1 - row.found_on, sizes[row.found_on, row.reach])
        there = alone[(alone.adapter == row.adapter) & alone.document.map(half).eq(row.found_on)]
        best = there.groupby("layer").worth.sum().nlargest(row["size"])
        assert {unit.layer for unit in units_from(row.units, "layer")} == set(best.index)


def test_a_study_stopped_among_random_adapters_resumes_to_the_same_tables(
    pair: Pair, study: tuple[Path, StudySettings], tmp_path: Path
) -> None:
    folder, settings = study
    n_visits = sum(read_table(folder, table).document.nunique() for table in VISITED)
    seen: list[StudyProgress] = []
    stopped = run_study(
        LocalEngine(pair), settings, tmp_path / "s", seen.append, lambda: seen[-1:] != [] and seen[-1].sets_done > 8
    )
    assert (stopped.state, stopped.progress.sets_of) == ("stopped", n_visits)
    assert 8 < stopped.progress.sets_done < n_visits
    assert resume_study(LocalEngine(pair), tmp_path / "s").state == "finished"
    for table in VISITED:
        assert len(read_table(folder, table))
        assert not read_table(folder, table).isna().all().any()
        pd.testing.assert_frame_equal(read_table(tmp_path / "s", table), read_table(folder, table))


def test_one_half_alone_makes_no_sets(pair: Pair, tmp_path: Path) -> None:
    settings = small_settings(tmp_path, sweep_prompts=1, measurements=("reference", "answers", "layers", "sets"))
    outcome = run_study(LocalEngine(pair), replace(settings, corpora=settings.corpora[:1]), tmp_path / "s")
    assert (outcome.state, outcome.progress.sets_of) == ("finished", 0)
    assert len(read_table(tmp_path / "s", "layers"))
    assert [len(read_table(tmp_path / "s", table)) for table in VISITED] == [0, 0, 0]


def test_sets_need_layers(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="what layers bring back"):
        small_settings(tmp_path, measurements=("sets",))


def test_a_study_from_before_sets_goes_on(pair: Pair, tmp_path: Path) -> None:
    settings = small_settings(tmp_path, measurements=("reference",))
    seen: list[StudyProgress] = []
    run_study(LocalEngine(pair), settings, tmp_path / "s", seen.append, lambda: bool(seen))
    with sqlite3.connect(tmp_path / "s" / "journal.sqlite") as journal:
        journal.execute("DROP TABLE visits")
    assert resume_study(LocalEngine(pair), tmp_path / "s").state == "finished"


# Statistics


def test_held_out_recovery_and_p_by_hand() -> None:
    ids = ["a", "b"]
    nested = pd.DataFrame(
        [(d, h, "layer", s, kl, 10.0, 5) for d, h in (("a", 0), ("b", 1)) for s, kl in ((1, 4.0), (2, 1.0))],
        columns=["document", "half", "by", "size", "kl_sum", "kl_base_sum", "tokens"],
    )
    left = {"b": [2.0, 5.0, 1.0], "a": [3.0, 8.0, 7.0]}  # found, random, random; b is scored by the set found on a
    sets = pd.DataFrame(
        [
            (d, 0 if d == "b" else 1, "layer", 0.8, n, 2, "0-1", kl, 10.0, 5)
            for d in ids
            for n, kl in enumerate(left[d])
        ],
        columns=["document", "found_on", "by", "reach", "number", "size", "units", "kl_sum", "kl_base_sum", "tokens"],
    )
    at_80, at_90 = held_out_sets(nested, sets, n_resamples=100)
    assert at_80.recovery is not None
    assert at_80.recovery.value == pytest.approx(1 - 5 / 20)
    assert at_80.above_random is not None
    assert at_80.above_random.value == pytest.approx((3.0 + 7.5 - 5) / 20)
    every = [kl_b + kl_a for kl_b, kl_a in product(left["b"], left["a"])]
    assert at_80.p == pytest.approx(sum(kl <= 5 for kl in every) / 9)
    assert at_80.least_p == pytest.approx(1 / 9)
    first = at_80.sets[0]
    assert (first.found_on, first.size, first.of, first.units) == (0, 2, 2, "0-1")
    assert first.recovery_found == pytest.approx(0.9)
    assert first.recovery is not None
    assert first.recovery.value == pytest.approx(0.8)
    assert first.random == pytest.approx((0.5, 0.9))
    assert (first.random_mean, first.random_sd) == (pytest.approx(0.7), pytest.approx(np.std([0.5, 0.9], ddof=1)))
    assert (at_90.recovery, at_90.p, at_90.sets[0].size) == (None, None, None)


def test_planted_sets_are_supported_and_random_ones_are_not() -> None:
    found = {one.number: one for one in findings(tables_of(few=0.45), FLOORS, QUICK)}
    assert found["3d"].verdict == "supported"
    assert found["3d"].effect == pytest.approx(0.45, abs=0.15)
    assert "3 and 3 of 12 layers" in found["3d"].sentence
    other = {one.number: one for one in findings(tables_of(few=-0.2), FLOORS, QUICK)}
    assert other["3d"].verdict == "not supported"


def test_sets_that_random_adapters_have_too_show_nothing() -> None:
    tables = tables_of(few=0.45)
    of_adapters = tables["adapter_sets"]
    like = of_adapters.assign(kl_sum=0.3 * of_adapters["kl_base_sum"])
    (one,) = (f for f in findings({**tables, "adapter_sets": like}, FLOORS, QUICK) if f.number == "3d")
    assert (one.verdict, one.effect) == ("not supported", pytest.approx(0))
    assert "199 of these at least as much" in one.sentence
    without = {**tables, "adapter_sets": of_adapters.iloc[:0]}
    (one,) = (f for f in findings(without, FLOORS, QUICK) if f.number == "3d")
    assert (one.verdict, one.p) == ("inconclusive", None)
    assert "at least 20 random adapters" in one.would_change_it


def test_recovery_beside_random_adapters_by_hand() -> None:
    left = {
        ("a", 0): (2.0, 10.0), ("b", 0): (1.0, 20.0), ("a", 1): (4.0, 8.0), ("b", 1): (0.0, 8.0), ("a", 2): (1.0, 1.0),
    }  # fmt: skip
    rows = pd.DataFrame(
        [(d, adapter, kl, kl_base, 5) for (d, adapter), (kl, kl_base) in left.items()],
        columns=["document", "adapter", "kl_sum", "kl_base_sum", "tokens"],
    )
    whole = rows[rows.adapter < 2]
    found = against_adapters(whole, 1e-6, n_resamples=200)
    assert found is not None
    assert (found.own, found.random) == (pytest.approx(1 - 3 / 30), (pytest.approx(1 - 4 / 16),))
    assert found.above.value == pytest.approx(0.9 - 0.75)
    assert found.p == pytest.approx(1 / 2)
    only_a = against_adapters(rows, 1e-6, n_resamples=200)  # b was not measured in adapter 2
    assert only_a is not None
    assert (only_a.own, only_a.above.n) == (pytest.approx(0.8), 1)
    assert against_adapters(whole, 10.0) is None


def test_a_reach_that_is_never_met_is_said() -> None:
    tables = tables_of()
    none = {name: tables[name].iloc[:0] for name in ("sets", "adapter_sets")}
    found = findings({**tables, **none}, FLOORS, QUICK)
    (one,) = (one for one in found if one.number == "3d")
    assert (one.verdict, one.effect, one.p) == ("inconclusive", None, None)
    assert "no set of layers brings back 80 %" in one.sentence


def test_without_an_effect_p_of_sets_is_uniform() -> None:
    found = []
    for seed in range(200):
        tables = sets_of(seed, [f"d{k}" for k in range(6)], n_random=10, n_adapters=1)
        (one, _) = held_out_sets(tables["nested_sets"], tables["sets"], n_resamples=20)
        found.append(one.p)
    for level in (0.05, 0.2, 0.5, 0.8):
        low, high = binom.ppf([0.0005, 0.9995], 200, level)
        assert low <= sum(p <= level for p in found if p is not None) <= high, level
