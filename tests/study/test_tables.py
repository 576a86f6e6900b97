"""What the tables hold beyond sums: single tokens, sets of layers side by side, what gradients say."""

from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import DeviceMemoryError
from core.generate.sampling import RowSampler, Sampling
from core.intervene.integrated import slope_of_k
from core.intervene.plans import Plan
from core.intervene.recovery import sweep
from core.pair.gates import PROJECTIONS, Gates
from core.pair.pair import Pair
from core.pair.prompts import Message, Prompt
from core.study.corpora import read_corpora
from core.study.engines import LocalEngine
from core.study.measure_prompt import reference_ids, swept_text
from core.study.prompts import study_prompts
from core.study.runner import run_study
from core.study.settings import StudySettings
from tests import oracle
from tests.conftest import TinyFolders
from tests.study.runs import MEDICAL, read_table, row_of, small_settings
from tests.tiny import N_LAYERS


@pytest.fixture(scope="module")
def study(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudySettings]:
    root = tmp_path_factory.mktemp("tables")
    settings = small_settings(root)
    run_study(LocalEngine(pair), settings, root / "study")
    return root / "study", settings


def asked(pair: Pair) -> tuple[Prompt, tuple[int, ...]]:
    prompt = pair.prompts.chat([Message(role="user", content=MEDICAL[0]["question"])])
    return prompt, tuple(reference_ids(pair, prompt, row_of(MEDICAL[0])))


def test_tokens_are_those_of_plain_models(pair: Pair, study: tuple[Path, StudySettings], folders: TinyFolders) -> None:
    prompt, answer = asked(pair)
    tokens = read_table(study[0], "tokens").query("document == 'm1' and whose == 'reference'")
    assert list(tokens.token) == list(range(len(answer)))
    assert list(tokens.id) == list(answer)
    base, tuned = (
        oracle.logits(model, (*prompt.ids, *answer))[len(prompt.ids) - 1 : -1].double().log_softmax(-1)
        for model in (oracle.plain_base(folders.base), oracle.plain_tuned(folders.base, folders.tuned))
    )
    terms = tuned.exp() * (tuned - base)
    assert tokens.kl.to_numpy() == pytest.approx(terms.sum(-1).numpy(), abs=1e-4)
    for column, extreme in (("gained", terms.max(-1)), ("lost", terms.min(-1))):
        assert tokens[f"{column}_term"].to_numpy() == pytest.approx(extreme.values.numpy(), abs=1e-4)
        words = [piece.text for piece in pair.prompts.pieces(extreme.indices.tolist())]
        gaps = (terms.sort(-1).values.diff(dim=-1)[:, -1 if column == "gained" else 0]).numpy()
        clear = gaps > 1e-4
        assert clear.any()
        assert np.array_equal(tokens[column].to_numpy()[clear], np.array(words, dtype=object)[clear])
    ends = torch.tensor(pair.prompts.end_ids)
    assert tokens.end_tuned.to_numpy() == pytest.approx(tuned[:, ends].exp().sum(-1).numpy(), abs=1e-4)


def test_tokens_part_where_both_models_draw_differently_under_one_noise(
    study: tuple[Path, StudySettings], pair: Pair, folders: TinyFolders
) -> None:
    tokens = read_table(study[0], "tokens")
    prompts = study_prompts(read_corpora(study[1].corpora, study[1].seed), study[1])
    (place,) = [one.place for one in prompts if one.document == "m2"]
    own = tokens.query("document == 'm2' and whose == 'reference'")
    prompt = pair.prompts.chat([Message(role="user", content=MEDICAL[1]["question"])])
    sampling = Sampling(temperature=1.0, seed=study[1].seed + place, coupled=True)
    drawn = []
    for model in (oracle.plain_base(folders.base), oracle.plain_tuned(folders.base, folders.tuned)):
        logits = oracle.logits(model, (*prompt.ids, *own.id))[len(prompt.ids) - 1 : -1]
        sampler = RowSampler(sampling)
        drawn.append([sampler.choose(row) for row in logits])
    assert list(own.parted) == [a != b for a, b in zip(*drawn, strict=True)]
    # Over all texts: no less than the total variation but for chance, and no more than twice that.
    assert tokens.parted.any()
    assert not tokens.parted.all()
    assert 0.5 * tokens.tv.mean() < tokens.parted.mean() < 3 * tokens.tv.mean()


def test_a_device_too_small_for_gradients_measures_all_else(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise DeviceMemoryError("The device ran out of memory.", "Free some.")

    monkeypatch.setattr("core.study.layer_tables.integrate_k", full)
    settings = small_settings(tmp_path, measurements=("layers", "attribution"))
    outcome = run_study(LocalEngine(pair), settings, tmp_path / "s")
    assert outcome.state == "finished"
    assert outcome.tables["layers"] > 0
    assert outcome.tables["attribution"] == outcome.tables["positions"] == 0


def test_tokens_add_up_to_their_text(study: tuple[Path, StudySettings]) -> None:
    answers, tokens = read_table(study[0], "answers"), read_table(study[0], "tokens")
    own = tokens[tokens.part.isin(["reasoning", "answer"])].groupby(["document", "whose"])
    whole = answers.set_index(["document", "whose"])
    assert len(own) == len(whole)
    assert own.kl.sum().to_numpy() == pytest.approx(whole.kl_sum.loc[own.kl.sum().index].to_numpy())
    means = own.end_base.mean()
    assert means.to_numpy() == pytest.approx(whole.end_base_mean.loc[means.index].to_numpy())


def test_where_two_answers_part(study: tuple[Path, StudySettings]) -> None:
    answers, tokens = read_table(study[0], "answers"), read_table(study[0], "tokens")
    parted = answers[answers.first_divergence.notna()]
    assert len(parted)
    assert parted.kl_first_divergence.notna().any()
    for row in parted[parted.kl_first_divergence.notna()].itertuples():
        there = tokens.query("document == @row.document and whose == @row.whose and token == @row.first_divergence")
        assert row.kl_first_divergence == there.kl.item()
        assert there.text.item() == (row.first_base if row.whose == "base" else row.first_tuned)
        both = tokens.query("document == @row.document and token == @row.first_divergence")
        both = both[both.whose.isin(["base", "tuned"])]
        assert both.id.nunique() == len(both)
    assert answers[answers.whose.isin(["reference", "hybrid"])].kl_first_divergence.isna().all()


def test_sets_side_by_side_are_those_of_sweeps(pair: Pair, study: tuple[Path, StudySettings]) -> None:
    prompt, answer = asked(pair)
    ids, predicted = swept_text(pair, prompt, answer, study[1])
    layers = read_table(study[0], "layers").query("document == 'm1' and adapter == 0").set_index(["kind", "layer"])
    for kind, layer, grafted in (("suffix", 2, f"2-{N_LAYERS - 1}"), ("window-3", 1, "1-3"), ("suffix", 0, "all")):
        expected = sweep(pair, ids, predicted, [Plan("one", grafted)]).results[0]
        assert layers.recovery[kind, layer] == pytest.approx(expected.recovery, abs=1e-4)
    assert layers.recovery["suffix", 0] == pytest.approx(1)
    assert layers.recovery["suffix", N_LAYERS - 1] == pytest.approx(layers.recovery["single", N_LAYERS - 1], abs=1e-4)
    assert len(layers.loc["window-3"]) == N_LAYERS - 2
    assert ("window-5" in layers.index) == (N_LAYERS >= 5)


def test_attributions_add_up_to_the_whole(pair: Pair, study: tuple[Path, StudySettings]) -> None:
    prompt, answer = asked(pair)
    ids, predicted = swept_text(pair, prompt, answer, study[1])
    found = read_table(study[0], "attribution").query("document == 'm1'")
    assert len(found) == N_LAYERS * len(PROJECTIONS)
    assert abs(found.attribution.sum() - 1) <= found.completeness_error.iloc[0] + 1e-6
    slopes = slope_of_k(pair, ids, predicted).sum(-1)
    assert found.slope.to_numpy() == pytest.approx(slopes.flatten().numpy(), rel=1e-4, abs=1e-9)


def test_attributions_by_position_are_slopes_of_their_gates(pair: Pair, study: tuple[Path, StudySettings]) -> None:
    """Against the same integral taken by finite differences of K, all gates of one position and part moved at once."""
    prompt, answer = asked(pair)
    ids, predicted = swept_text(pair, prompt, answer, study[1])
    found = read_table(study[0], "positions").query("document == 'm1'")
    assert found.position.tolist() == list(range(max(predicted)))
    assert found.id.tolist() == list(ids[: max(predicted)])
    assert found.part.tolist()[: len(prompt.ids)] == list(prompt.parts)
    whole = read_table(study[0], "attribution").query("document == 'm1'")
    assert found.attn.sum() + found.mlp.sum() == pytest.approx(whole.attribution.sum())
    attn = whole[whole.projection.isin(["q_proj", "k_proj", "v_proj", "o_proj"])]
    assert found.attn.sum() == pytest.approx(attn.attribution.sum())
    where = [index - 1 for index in predicted]
    text = pair.ids([ids[: max(predicted)]])

    def k_of(gates: torch.Tensor) -> float:
        with torch.no_grad():
            logits = pair.unembed(pair.hidden(text, Gates(gates))[0, where]).double()
            donor = pair.unembed(pair.hidden(text, pair.tuned_gates())[0, where]).double()
        donor = donor.log_softmax(-1)
        return float((donor.exp() * (donor - logits.log_softmax(-1))).sum(-1).mean())

    step, columns = 0.02, {"attn": slice(0, 4), "mlp": slice(4, 7)}
    nothing = torch.zeros(1, N_LAYERS, 7, max(predicted))
    for position in (len(prompt.ids) - 1, max(predicted) - 1):
        for name, own in columns.items():
            total = 0.0
            for point, weight in zip(*np.polynomial.legendre.leggauss(6), strict=True):
                at = torch.full_like(nothing, (float(point) + 1) / 2)
                move = nothing.clone()
                move[:, :, own, position] = step
                total += float(weight) / 2 * (k_of(at + move) - k_of(at - move)) / (2 * step)
            expected = -total / k_of(nothing)
            assert found[name].iloc[position] == pytest.approx(expected, rel=0.02, abs=2e-3)
