"""Studies of fine-tunes whose truth is known: what is planted is found, and what is not there is not."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.intervene.random_adapter import random_adapter
from core.pair.gates import parse_layers
from core.pair.home import ASSETS
from core.pair.open import load_pair
from core.pair.pair import Pair
from core.present.study_figures import figures_of
from core.study.choice import parse_corpus
from core.study.corpora import read_corpora
from core.study.curves import Curve, layer_curves, shapley_curves
from core.study.depth import CURVES
from core.study.engines import LocalEngine
from core.study.findings import Finding, Settings
from core.study.prompts import StudyPrompt, study_prompts
from core.study.results import Results, findings_of, read_results
from core.study.runner import run_study
from core.study.settings import REACHES, StudySettings
from core.study.verdicts import FEWEST_ADAPTERS, FEWEST_DOCUMENTS
from tests.conftest import TinyFolders
from tests.study.planted import answer_tokens, at_words, in_directions, in_layers
from tests.study.runs import write_rows
from tests.tiny import build_adapter, build_base

pytestmark = pytest.mark.slow

LAYERS = 6
PLANTED = (3, 4)
PLANTED_DEEP = (20, 21, 22, 23, 24)  # of the demo pair's thirty layers
QUICK = Settings(n_permutations=999, n_resamples=500)
WORDS, SHORT = 25, 12


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A random pair with six layers."""
    root = tmp_path_factory.mktemp("deep")
    base = build_base(root / "base", "llama", num_hidden_layers=LAYERS, initializer_range=0.15)
    return load_pair(TinyFolders(base, build_adapter(base, root / "tuned")).spec())


def shortened(kind: str, n_words: int, n: int) -> list[dict[str, Any]]:
    """Rows of a shipped corpus with the beginnings of their questions and answers."""
    lines = (ASSETS / "corpora" / f"{kind}.jsonl").read_text(encoding="utf-8").splitlines()[:n]
    return [
        {**row, "question": begin(row["question"], 3), "answer": begin(row["answer"], n_words)}
        for row in map(json.loads, lines)
    ]


def begin(text: str, n_words: int) -> str:
    return " ".join(text.split()[:n_words])


def settings_of(folder: Path, n_words: int, n: int, **changes: Any) -> StudySettings:
    files = {kind: write_rows(folder / f"{kind}.jsonl", shortened(kind, n_words, n)) for kind in ("medical", "general")}
    corpora = tuple(parse_corpus(f"{path},kind={kind}") for kind, path in files.items())
    return StudySettings(corpora, max_new_tokens=4, **changes)


def layer_settings(folder: Path, random_adapters: int = FEWEST_ADAPTERS, **changes: Any) -> StudySettings:
    measurements = ("reference", "layers", "shapley", "controls", "sets")
    return settings_of(
        folder, SHORT, 5, measurements=measurements, sweep_prompts=5, sweep_tokens=8, control_prompts=5,
        random_adapters=random_adapters, **changes,
    )  # fmt: skip


def studied(pair: Pair, settings: StudySettings, folder: Path) -> tuple[Results, dict[str, Finding]]:
    assert run_study(LocalEngine(pair), settings, folder).state == "finished"
    results = read_results(folder)
    return results, {one.number: one for one in findings_of(results, QUICK)}


def texts_of(settings: StudySettings) -> tuple[StudyPrompt, ...]:
    return study_prompts(read_corpora(settings.corpora, settings.seed), settings)


def depths_of(results: Results, shape: str) -> list[float]:
    """Where a curve has its centre, in layers, on medical and on general text."""
    tables, prompts = results.tables, results.tables["prompts"]
    found: tuple[Curve, ...]
    if shape == "shapley":
        found = shapley_curves(tables["shapley"], tables["layers"], prompts, n_resamples=100)
    else:
        found = layer_curves(tables["layers"], prompts, shape, results.floors, n_resamples=100)
    assert found
    assert all(one.centre for one in found)
    last = int(tables["layers"].layer.max())
    return [one.centre.value * last for one in found if one.centre]


def test_layers_that_alone_are_changed_are_found_and_nothing_else(deep: Pair, tmp_path: Path) -> None:
    results, found = studied(in_layers(deep, PLANTED), layer_settings(tmp_path, 4), tmp_path / "s")
    for shape in ("single", "without", "increments", "shapley"):
        for depth in depths_of(results, shape):
            assert PLANTED[0] <= depth <= PLANTED[1], shape
    sets = results.tables["sets"]
    assert set(sets[sets.number == 0].units) <= {"3", "4", "3-4"}
    assert set(results.tables["adapter_sets"].units) <= {"3", "4", "3-4"}
    # Random adapters of the same singular values are changed in the same layers, so neither is more than theirs.
    assert {found[number].verdict for number in ("3a", "3d")} <= {"not supported", "inconclusive"}
    assert abs(found["3a"].effect or 0) < 0.1
    assert "in the upper half, and the sizes of the fine-tune's weights alone" in found["3a"].sentence


def test_planted_layers_of_the_demo_pair_are_found(demo: Pair, tmp_path: Path) -> None:
    measurements = ("reference", "layers", "sets")
    settings = settings_of(
        tmp_path, SHORT, 2, measurements=measurements, sweep_prompts=2, sweep_tokens=8, random_sets=2
    )  # fmt: skip
    results, _ = studied(in_layers(demo, PLANTED_DEEP), settings, tmp_path / "s")
    sets = results.tables["sets"].query("number == 0")
    assert set(sets.reach) == set(REACHES)
    for units in sets.units:
        assert set(parse_layers(units, demo.n_layers)) <= set(PLANTED_DEEP), units
    for shape in ("single", "without", "increments"):
        for depth in depths_of(results, shape):
            assert PLANTED_DEEP[0] <= depth <= PLANTED_DEEP[-1], shape
    alone = results.tables["layers"].query("kind == 'single'").groupby("layer")[["kl_sum", "kl_base_sum"]].sum()
    missed = alone.kl_sum / alone.kl_base_sum
    assert set(missed.nsmallest(len(PLANTED_DEEP)).index) == set(PLANTED_DEEP)
    assert missed.drop(list(PLANTED_DEEP)).min() > 0.999


@pytest.mark.parametrize(("strong", "verdict"), [(range(4, 6), "supported"), (range(2), "not supported")])
def test_a_change_that_acts_at_a_depth_at_which_its_size_does_not_lie(
    deep: Pair, tmp_path: Path, strong: range, verdict: str
) -> None:
    settings = layer_settings(tmp_path)
    texts = [answer_tokens(deep, prompt, lambda number, medical: False)[0] for prompt in texts_of(settings)]
    results, found = studied(in_directions(deep, texts, strong, 0.3), settings, tmp_path / "s")
    assert found["3a"].verdict == verdict, found["3a"].sentence
    for depth in depths_of(results, "single"):
        assert strong[0] - 0.5 <= depth <= strong[-1] + 0.5
    # Few layers do it here, which in random adapters of the same sizes takes more.
    assert found["3d"].effect is not None
    assert found["3d"].effect > 0.1, found["3d"].sentence


@pytest.fixture(scope="module")
def words(deep: Pair, tmp_path_factory: pytest.TempPathFactory) -> tuple[StudySettings, Path]:
    root = tmp_path_factory.mktemp("words")
    return settings_of(root, WORDS, 20, measurements=("reference",)), root


@pytest.mark.parametrize(("on_medical", "verdict"), [(True, "supported"), (False, "not supported")])
def test_a_shift_at_medical_words_is_found_and_one_at_other_words_is_not(
    deep: Pair, words: tuple[StudySettings, Path], tmp_path: Path, on_medical: bool, verdict: str
) -> None:
    settings, _ = words
    prompts = [prompt for prompt in texts_of(settings) if prompt.kind == "medical"]

    def chosen(number: int, medical: bool) -> bool:
        return medical if on_medical else not medical and number % 3 == 0

    texts = [answer_tokens(deep, prompt, chosen) for prompt in prompts]
    _, found = studied(at_words(deep, texts), settings, tmp_path / "s")
    assert found["2a"].verdict == verdict, found["2a"].sentence


def test_a_zero_adapter_leaves_nothing_to_explain(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    base = build_base(tmp_path / "base", "llama")
    pair = load_pair(TinyFolders(base, build_adapter(base, tmp_path / "tuned", zero=True)).spec())
    settings = settings_of(tmp_path, SHORT, 5, sweep_prompts=5, sweep_tokens=8, control_prompts=1, random_adapters=2)
    results, found = studied(pair, settings, tmp_path / "s")
    assert {"1a", "1b", "2a", "2e", "3a", "3b", "3c", "3d", "3e", "4a"} <= set(found)
    assert {one.verdict for one in found.values()} == {"no difference to explain"}
    assert len(results.tables["nested_sets"])
    assert not len(results.tables["sets"])
    assert results.tables["tokens"][["gained", "lost"]].isna().all(axis=None)
    assert "words-moved" not in figures_of(results, list(found.values()))


def test_random_fine_tunes_are_not_called_medical_and_rarely_called_high(
    deep: Pair, words: tuple[StudySettings, Path], tmp_path: Path
) -> None:
    of_ranks = ("3a", "3b", "3c", "3d", "3e")
    supported = []
    for seed in (100, 200, 300):
        adapter = random_adapter(deep, seed)
        _, found = studied(adapter, words[0], tmp_path / f"{seed}-words")
        _, ranked = studied(adapter, layer_settings(tmp_path, control_kinds=CURVES), tmp_path / f"{seed}")
        claims = [found["2a"], *(ranked[number] for number in of_ranks)]
        for one in claims:  # nothing is too small for a verdict, so each could have been supported
            assert one.n >= FEWEST_DOCUMENTS, one.number
            assert one.p is not None, one.number
        supported += [one.number for one in claims if one.verdict == "supported"]
    assert "2a" not in supported
    # One in twenty-one such adapters ranks first; that four or more of fifteen do, were they independent, has 0.4 %.
    assert len(supported) <= 3
