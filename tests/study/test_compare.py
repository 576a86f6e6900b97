"""Two studies against each other: pairs by document, what differs, and what cannot be compared."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap

from core.errors import StudyError
from core.study.compare import compare, differing, shared_documents
from core.study.differences import differences
from core.study.findings import Settings
from core.study.results import Results, findings_of
from tests.study.made_up import full_tables, made_up, record_of, write_study

QUICK = Settings(n_permutations=99, n_resamples=99)


def study(folder: Path, tables: dict[str, pd.DataFrame]) -> Results:
    from core.study.results import read_results

    return read_results(write_study(folder, tables))


def only(name: str, seed: int = 0, **planted: float) -> dict[str, pd.DataFrame]:
    tables = full_tables(seed, **planted)
    return {"prompts": tables["prompts"], name: tables[name]}


def test_shared_documents_are_paired(tmp_path: Path) -> None:
    tables = only("answers", loss=-0.1)
    shifted = tables["answers"].copy()
    shifted["nll_tuned_sum"] -= 0.3 * shifted["tokens"]  # every text likelier by 0.3 nats a token
    a = study(tmp_path / "a", tables)
    kept = tables["prompts"][tables["prompts"]["document"] != "m00"]
    b = study(tmp_path / "b", {"prompts": kept, "answers": shifted[shifted["document"] != "m00"]})
    found = compare(a, b, findings_of(a, QUICK), findings_of(b, QUICK), n_resamples=99)
    assert found.shared == {"medical": 39, "general": 40}
    (loss,) = [one for one in found.paired if one.corpus == "medical" and one.what.startswith("change of the loss")]
    change = loss.difference
    # Unpaired, the documents' own spread would make an interval; paired, nothing is left of it.
    assert (change.value, change.low, change.high, change.n) == pytest.approx((-0.3, -0.3, -0.3, 39))
    assert loss.b - loss.a == pytest.approx(-0.3)
    assert not found.unpaired


def test_the_same_answer_after_another_reasoning_is_another_text(tmp_path: Path) -> None:
    tables = only("answers")
    prompts = tables["prompts"].assign(reasoning=None)
    thought = prompts.assign(reasoning=prompts["document"].map({"m00": "So.", "m01": "Oh."}))
    other = thought.assign(reasoning=thought["reasoning"].replace("Oh.", "Well."))
    earlier, a, b = (
        study(tmp_path / str(k), {**tables, "prompts": own})
        for k, own in enumerate((tables["prompts"], thought, other))
    )
    everyone = set(prompts["document"])
    assert set(shared_documents(a, b)["document"]) == everyone - {"m01"}
    assert set(shared_documents(earlier, a)["document"]) == everyone - {"m00", "m01"}
    assert set(shared_documents(earlier, earlier)["document"]) == everyone


def test_the_centre_of_layers_is_paired(tmp_path: Path) -> None:
    a, b = (study(tmp_path / str(k), only("layers", shift=shift)) for k, shift in enumerate((0.0, 0.3)))
    found = compare(a, b, findings_of(a, QUICK), findings_of(b, QUICK), n_resamples=99)
    (centre,) = [one for one in found.paired if one.what.startswith("centre")]
    assert centre.difference.n == 15
    assert centre.difference.value == pytest.approx(0.3, abs=0.05)
    assert {pair.number for pair in found.claims} == {"3a"}


def test_other_questions_are_said_to_be_unpaired(tmp_path: Path) -> None:
    a, other = study(tmp_path / "a", only("answers")), only("answers", seed=1)
    other["prompts"] = other["prompts"].assign(question="Something else?")
    b = study(tmp_path / "b", other)
    found = compare(a, b, findings_of(a, QUICK), findings_of(b, QUICK))
    assert found.paired == ()
    assert "fewer than 10 documents are the same" in found.unpaired
    assert all(pair.a and pair.b for pair in found.claims)
    assert {one.corpus for one in found.apart} == {"medical", "general"}


def test_documents_of_two_corpora_are_drawn_apart(tmp_path: Path) -> None:
    draw, kept = np.random.default_rng(0), ("m", "x")
    drifts = [draw.normal(1.0, 0.2, 40), draw.normal(1.5, 0.4, 25)]
    studies = []
    for prefix, drift in zip(kept, drifts, strict=True):
        ids = [f"{prefix}{k}" for k in range(len(drift))]
        prompts = pd.DataFrame({"document": ids, "corpus": "medical", "question": ids, "reference": "", "letter": None})
        prompts["left_out"] = None
        states = pd.DataFrame({"document": ids, "whose": "reference", "layer": 0, "drift_norm": drift})
        studies.append(study(tmp_path / prefix, {"prompts": prompts, "representations": states}))
    paired, apart = differences(*studies, shared_documents(*studies), seed=0, n_resamples=20_000)
    (one,) = apart
    theirs = bootstrap(
        drifts[::-1], lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis), method="percentile", vectorized=True,
        n_resamples=20_000, rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert paired == ()
    assert (one.n_a, one.n_b, one.difference.n) == (40, 25, 25)
    assert one.difference.value == pytest.approx(drifts[1].mean() - drifts[0].mean())
    ends = (one.difference.low, one.difference.high)
    assert ends == pytest.approx((theirs.low, theirs.high), abs=0.005)  # of 0.17 on either side


def test_questions_more_right_than_before_are_paired(tmp_path: Path) -> None:
    ids = [f"m{k}" for k in range(20)]
    prompts = pd.DataFrame({"document": ids, "corpus": "medical", "question": ids, "reference": "", "letter": None})
    prompts["left_out"] = None
    studies = []
    for name, n_right in (("a", 10), ("b", 16)):
        tuned = ["A" if k < n_right else "B" for k in range(20)]
        choices = pd.DataFrame({"document": ids, "corpus": "medical", "right": "A", "base": ["A", "B"] * 10})
        studies.append(study(tmp_path / name, {"prompts": prompts, "choices": choices.assign(tuned=tuned)}))
    ((gain,), apart) = differences(*studies, shared_documents(*studies), seed=0, n_resamples=99)
    assert apart == ()
    assert gain.what.startswith("questions more right")
    assert (gain.a, gain.b, gain.difference.value) == pytest.approx((0.0, 0.3, 0.3))
    # Six of twenty turned right and none wrong: a paired interval holds no loss.
    assert gain.difference.low is not None
    assert gain.difference.low > 0


def test_few_shared_documents_among_many_are_not_paired(tmp_path: Path) -> None:
    a, other = study(tmp_path / "a", only("answers")), only("answers", seed=1)
    asked = other["prompts"]["question"].where(other["prompts"]["document"].isin(["m00", "m01"]), "Something else?")
    other["prompts"] = other["prompts"].assign(question=asked)
    b = study(tmp_path / "b", other)
    found = compare(a, b, findings_of(a, QUICK), findings_of(b, QUICK), n_resamples=99)
    assert found.paired == ()
    assert {one.n_a for one in found.apart} == {40}


def test_curves_of_models_alike_on_the_shared_documents_are_not_compared(tmp_path: Path) -> None:
    tables = only("layers")
    documents = sorted(set(tables["layers"]["document"]))
    alike = tables["layers"]["document"].isin(documents[:10])
    layers = tables["layers"].copy()
    layers.loc[alike, ["kl_sum", "kl_base_sum"]] *= 1e-9
    a = study(tmp_path / "a", {**tables, "layers": layers})
    b = study(tmp_path / "b", {**tables, "layers": tables["layers"][alike]})
    shared = shared_documents(a, b)
    paired, apart = differences(a, b, shared, seed=0, n_resamples=99)
    assert not [one for one in (*paired, *apart) if one.what.startswith("centre")]
    with_all = differences(study(tmp_path / "c", tables), b, shared, seed=0, n_resamples=99)[0]
    assert [one.difference.n for one in with_all if one.what.startswith("centre")] == [10]


def test_settings_that_an_earlier_form_had_not_are_what_they_were() -> None:
    earlier = record_of()
    del earlier["settings"]["raw"]
    assert differing(earlier, record_of()) == ()


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    a = study(tmp_path / "a", only("answers"))
    found = findings_of(a, QUICK)
    with pytest.raises(StudyError, match="given twice"):
        compare(a, a, found, found)
    other = only("layers")
    other["prompts"] = other["prompts"].assign(question="Something else?")
    b = study(tmp_path / "b", other)
    with pytest.raises(StudyError, match="no claim and no document in common"):
        compare(a, b, found, findings_of(b, QUICK))


def test_settings_models_and_corpora_that_differ_are_named() -> None:
    record, changed = record_of(), record_of(prompts=1)
    changed["facts"] = {**changed["facts"], "tuned_sha256": "e" * 64}
    changed["settings"] = {**changed["settings"], "max_new_tokens": 7}
    changed["corpora"] = [{**changed["corpora"][0], "sha256": "c" * 64}, changed["corpora"][1]]
    assert {one.what for one in differing(record, changed)} == {
        "fine-tune sha256", "max new tokens", "medical corpus 1",
    }  # fmt: skip
    assert differing(record, record_of()) == ()


def test_everything_made_up_compares(tmp_path: Path) -> None:
    a, b = made_up(tmp_path / "a", 0, loss=-0.1), made_up(tmp_path / "b", 1, medical=np.log(1.6))
    found = compare(a, b, findings_of(a, QUICK), findings_of(b, QUICK), n_resamples=99)
    assert {one.corpus for one in found.paired} == {"medical", "general"}
    assert {one.what for one in found.paired if one.corpus == "medical"} >= {
        "KL(tuned‖base) on reference answers", "centre of recovery by single layers",
    }  # fmt: skip
