"""Studies that search every prompt's own sets, patch single positions and let a hybrid write: against other ways to
the same numbers."""

from collections.abc import Collection
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from core import load_pair
from core.errors import ArgumentError
from core.intervene.plans import Plan
from core.intervene.recovery import sweep
from core.pair.gates import format_layers, parse_layers
from core.pair.pair import Pair
from core.pair.parts import MASKS
from core.pair.prompts import Message
from core.present.study_figures import figures_of
from core.study.engines import LocalEngine
from core.study.measure_prompt import reference_ids
from core.study.results import findings_of, read_results
from core.study.runner import run_study
from core.study.search_tables import smallest_rows
from core.study.settings import REACHES, StudySettings
from core.study.written import models_of
from tests import oracle
from tests.conftest import TinyFolders
from tests.study.runs import GENERAL, MEDICAL, read_table, row_of, small_settings
from tests.tiny import N_LAYERS, build_adapter, build_base

MEASURED = ("reference", "answers", "cross", "layers", "smallest", "patches")
HYBRID = (1, 3)
QUESTIONS = {row["id"]: row for row in MEDICAL[:2] + GENERAL}


@pytest.fixture(scope="module")
def study(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudySettings]:
    root = tmp_path_factory.mktemp("searches")
    settings = small_settings(root, measurements=MEASURED, hybrid="1,3")
    assert run_study(LocalEngine(pair), settings, root / "study").state == "finished"
    return root / "study", settings


def swept(pair: Pair, document: str, settings: StudySettings) -> tuple[tuple[int, ...], list[int]]:
    row = QUESTIONS[document]
    prompt = pair.prompts.chat([Message(role="user", content=row["question"])])
    ids = reference_ids(pair, prompt, row_of(row))[: settings.sweep_tokens]
    parts = pair.prompts.answer_parts(ids, prompt).parts
    return (*prompt.ids, *ids), [len(prompt.ids) + k for k, part in enumerate(parts) if part in MASKS["response"]]


def recoveries(pair: Pair, document: str, settings: StudySettings) -> dict[frozenset[int], float]:
    """Of every set of layers there is, each as a plan of one sweep."""
    sets = [frozenset(own) for size in range(N_LAYERS + 1) for own in combinations(range(N_LAYERS), size)]
    plans = [Plan(format_layers(own, N_LAYERS), format_layers(own, N_LAYERS)) for own in sets]
    found = sweep(pair, *swept(pair, document, settings), plans)
    return {own: result.recovery or 0.0 for own, result in zip(sets, found.results, strict=True)}


def greedy(known: dict[frozenset[int], float], start: frozenset[int], reach: float) -> frozenset[int]:
    """The set where a search ends: up from nothing until it reaches, or down from all for as long as it does."""
    own, every = start, frozenset(range(N_LAYERS))
    while not start and known[own] < reach:
        own = max((own | {layer} for layer in sorted(every - own)), key=known.__getitem__)
    while start:
        less = max((own - {layer} for layer in sorted(own)), key=known.__getitem__)
        if known[less] < reach:
            break
        own = less
    return own


def layers_of(units: str) -> frozenset[int]:
    return frozenset(parse_layers(units, N_LAYERS))


@pytest.mark.parametrize("document", list(QUESTIONS))
def test_sets_are_those_of_a_search_by_hand(pair: Pair, study: tuple[Path, StudySettings], document: str) -> None:
    known, table = recoveries(pair, document, study[1]), read_table(study[0], "smallest")
    rows = table[table.document == document]
    assert len(rows) == 2 * len(REACHES)
    for _, row in rows.iterrows():
        start: Collection[int] = () if row.method == "greedy-forward" else range(N_LAYERS)
        assert layers_of(row.units) == greedy(known, frozenset(start), row.reach)
        assert row["size"] == len(layers_of(row.units))
        assert row.recovery == pytest.approx(known[layers_of(row.units)], abs=1e-5)
        assert row.recovery == pytest.approx(1 - row.kl_sum / row.kl_base_sum, abs=1e-9)
        of_its_size = [value for own, value in known.items() if len(own) == row["size"]]
        assert min(of_its_size) - 1e-5 <= row.random_mean <= max(of_its_size) + 1e-5
        assert row.random_sets == study[1].random_sets


def test_no_layer_can_be_spared_where_a_search_from_above_ends(tmp_path: Path) -> None:
    deep = 9  # in four layers the sets for 80 and for 90 % are often the same
    base = build_base(tmp_path / "base", "llama", num_hidden_layers=deep)
    pair = load_pair(TinyFolders(base, build_adapter(base, tmp_path / "tuned")).spec())
    ids, predicted = swept(pair, "m1", small_settings(tmp_path))
    rows = {
        row["reach"]: row for row in smallest_rows(pair, ids, predicted, 0, 0) if row["method"] == "greedy-backward"
    }
    for reach, row in rows.items():
        own = parse_layers(row["units"], deep)
        less = [format_layers([one for one in own if one != layer], deep) for layer in own]
        found = sweep(pair, ids, predicted, [Plan(text, text) for text in less])
        assert row["recovery"] >= reach > max(result.recovery or 0.0 for result in found.results)
    assert rows[0.8]["size"] <= rows[0.9]["size"]


def test_patches_after_the_last_layer_take_away_the_divergence_of_their_own_prediction(
    study: tuple[Path, StudySettings],
) -> None:
    patches, tokens, prompts = (read_table(study[0], name) for name in ("patches", "tokens", "prompts"))
    asked = prompts.set_index("document").prompt_tokens
    top = patches[patches.layer == N_LAYERS - 1]
    assert set(top.document) == set(QUESTIONS)
    for document, own in top.groupby("document"):
        kl = tokens[(tokens.document == document) & (tokens.whose == "reference")].set_index("token")
        for _, row in own.iterrows():
            token = row.position + 1 - asked[document]
            counts = token >= 0 and kl.part[token] in MASKS["response"]
            assert row.kl_base_sum - row.kl_sum == pytest.approx(kl.kl[token] if counts else 0.0, abs=2e-4)
            if token > 0:
                assert row.part == kl.part[token - 1]
        assert {"template", "prompt"} <= set(own.part)
        assert own.recovery.sum() == pytest.approx(1, abs=1e-3)


def test_every_layer_is_patched_at_every_position_that_can_matter(
    pair: Pair, study: tuple[Path, StudySettings]
) -> None:
    patches = read_table(study[0], "patches")
    cells = patches.groupby("document").size()
    for document in QUESTIONS:
        _, predicted = swept(pair, document, study[1])
        assert cells[document] == N_LAYERS * max(predicted)
    assert patches.recovery.abs().max() > 0.05


def plain_models(folders: TinyFolders) -> dict[str, Any]:
    """Base, hybrid and fine-tuned model by plain peft; in the hybrid the other layers' adapters are scaled to 0."""
    hybrid = oracle.plain_tuned(folders.base, folders.tuned)
    for name, module in hybrid.named_modules():
        if (
            isinstance(getattr(module, "scaling", None), dict)
            and int(name.split("layers.")[1].split(".")[0]) not in HYBRID
        ):
            module.scaling["default"] = 0.0
    return {
        "base": oracle.plain_base(folders.base),
        "hybrid": hybrid,
        "tuned": oracle.plain_tuned(folders.base, folders.tuned),
    }


def test_every_text_is_scored_under_every_model(
    pair: Pair, folders: TinyFolders, study: tuple[Path, StudySettings]
) -> None:
    cross, answers = read_table(study[0], "cross"), read_table(study[0], "answers")
    models = plain_models(folders)
    assert len(cross) == len(QUESTIONS) * 12 + 9  # a question without a reference has three texts
    for _, row in cross[cross.document == "m2"].iterrows():
        prompt = pair.prompts.chat([Message(role="user", content=QUESTIONS["m2"]["question"])])
        ids = list(answers[(answers.document == "m2") & (answers.whose == row.whose)].ids.iloc[0])
        logp = torch.log_softmax(
            oracle.logits(models[row.model], (*prompt.ids, *ids))[len(prompt.ids) - 1 : -1], dim=-1
        )
        parts = pair.prompts.answer_parts(ids, prompt).parts
        scored = [k for k, part in enumerate(parts) if part in MASKS["response"]]
        assert row.tokens == len(scored)
        assert row.nll_sum == pytest.approx(-sum(logp[k, ids[k]].item() for k in scored), abs=2e-4)
        assert row.nll_noise < 1e-4


def test_the_hybrid_writes_what_its_plain_model_writes(
    pair: Pair, folders: TinyFolders, study: tuple[Path, StudySettings]
) -> None:
    answers, model = read_table(study[0], "answers"), plain_models(folders)["hybrid"]
    for document, row in QUESTIONS.items():
        prompt = pair.prompts.chat([Message(role="user", content=row["question"])])
        own = answers[(answers.document == document) & (answers.whose == "hybrid")].iloc[0]
        assert list(own.ids) == oracle.generate(model, prompt.ids, study[1].max_new_tokens)[: len(own.ids)]
        assert pd.isna(own.first_divergence)  # that is of base's and the fine-tuned model's answers


def test_a_hybrid_needs_answers_and_layers_of_the_pair(pair: Pair, tmp_path: Path) -> None:
    settings = small_settings(tmp_path, measurements=("answers", "cross"), hybrid="2-9")
    with pytest.raises(ArgumentError, match="Measure answers too"):
        replace(settings, measurements=("reference", "cross"))
    for hybrid, message in (
        ("2-9", "Layer 9 does not exist"),
        ("uper", "not understood"),
        ("none", "is base"),
        ("0-3", "is the fine-tuned model"),
    ):
        with pytest.raises(ArgumentError, match=message):
            run_study(LocalEngine(pair), replace(settings, hybrid=hybrid), tmp_path / "study")
    assert set(models_of(pair, " Upper ")) == {"base", "hybrid", "tuned"}
    assert not (tmp_path / "study" / "study.json").exists()


@pytest.mark.parametrize(
    ("measurements", "figures"),
    [
        (("reference", "smallest"), {"smallest", "smallest-layers"}),
        (("reference", "patches"), {"patches"}),
        (("answers", "cross"), {"cross", "kl-by-text", "parting"}),
    ],
)
def test_each_is_drawn_where_nothing_else_was_measured(
    pair: Pair, tmp_path: Path, measurements: tuple[str, ...], figures: set[str]
) -> None:
    settings = small_settings(tmp_path, measurements=measurements, system="You are brief.", random_sets=0)
    assert run_study(LocalEngine(pair), settings, tmp_path / "study").state == "finished"
    results = read_results(tmp_path / "study")
    drawn = figures_of(results, findings_of(results))
    assert figures <= set(drawn)
    if "smallest" in drawn:
        assert "random ones" not in drawn["smallest"].legend  # none were drawn
    if "patches" in drawn:
        assert "system prompt and question" in {row["place"] for row in drawn["patches"].rows}
    if "cross" in drawn:
        assert all("upper third" in drawn[name].legend for name in figures)
        assert {row["series"] for row in drawn["cross"].rows} == {"Base", "Hybrid", "Fine-tuned"}
