"""Runs as files, as tables and as links."""

import argparse
import csv
import io
import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import parse_qsl

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from core.commands.ask import add_arguments
from core.commands.common import Parser
from core.errors import ArgumentError, DataError, TooLongError
from core.generate.worker import Worker
from core.generate.writing import Job, Writing
from core.pair.pair import Pair
from core.pair.patches import SITES
from core.pair.prompts import Message
from core.present.forks import Fork, fork_from
from core.present.hybrids import MAX_NAME, Hybrid, hybrids_from, lane_names
from core.present.live import start
from core.present.permalink import from_query, to_query
from core.present.report import to_json
from core.present.run_command import command_of
from core.present.runs import MAX_BYTES, RunReport, RunSettings, run_from_json
from core.present.tables import run_rows
from tests.present.lanes import lane

SETTINGS = RunSettings(
    hybrids=(Hybrid(layers="1"), Hybrid("Lower half", "0-1", "mlp", 0.5)),
    max_new_tokens=12,
    reference="A disease of the airways.",
)


@pytest.fixture(scope="module")
def report(pair: Pair) -> Iterator[RunReport]:
    worker = Worker(pair)
    run = start(worker, (Message(role="user", content="What is asthma?"),), SETTINGS, "")
    assert all(request.wait(30) for request in run.requests)
    yield run.report()
    worker.shutdown()


def test_a_run_survives_its_file(report: RunReport) -> None:
    assert run_from_json(to_json(report)) == report


def test_every_token_of_a_run_is_scored(report: RunReport) -> None:
    for own in report.lanes:
        assert [token.id for token in own.tokens] == list(own.answer.ids)
        assert all(token.kl_tuned_base is not None for token in own.tokens)
        assert [token.pos for token in own.tokens] == [len(report.prompt_ids) + k for k in range(len(own.tokens))]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(schema_version=99), "schema version 99"),
        (lambda d: d.pop("lanes"), "not a Graft run"),
        (lambda d: d.pop("settings"), "not a run of the Ask page"),
        (lambda d: d["lanes"][0]["tokens"][0].update(bytes="zz"), "not a Graft run"),
        (lambda d: d["lanes"][0]["tokens"][0].update(surprise=1), "not a Graft run"),
        (lambda d: d.update(messages=[{"role": "user"}]), "not a Graft run"),
        (lambda d: d.update(messages=[]), "no question"),
        (lambda d: d["settings"].update(hybrids=[{"layers": 20}]), "not a Graft run"),
        (lambda d: d["settings"]["hybrids"].pop(), "lanes are not base, hybrid, tuned"),
        (lambda d: d["lanes"].pop(0), "lanes are not"),
        (lambda d: d["reference"]["models"].pop(), "not scored under its lanes"),
    ],
)
def test_a_damaged_file_is_refused(report: RunReport, change, words: str) -> None:  # type: ignore[no-untyped-def]
    fields = json.loads(to_json(report))
    change(fields)
    with pytest.raises(DataError, match=words):
        run_from_json(json.dumps(fields))


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "not json", '"x"'])
def test_other_files_are_refused(text: str) -> None:
    with pytest.raises(DataError):
        run_from_json(text)


def test_a_huge_file_is_refused_unread() -> None:
    with pytest.raises(DataError, match="MB"):
        run_from_json(b" " * (MAX_BYTES + 1))


def test_the_table_has_one_row_a_token(report: RunReport) -> None:
    rows = run_rows(report)
    assert len(rows) == sum(len(lane.tokens) for lane in report.lanes)
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    read = list(csv.DictReader(io.StringIO(file.getvalue())))
    assert [float(row["kl_tuned_base"]) for row in read] == [row["kl_tuned_base"] for row in rows]


_name = st.text(st.characters(exclude_characters=":;/", exclude_categories=["C", "Z"]), min_size=1, max_size=MAX_NAME)
_grafted = st.builds(
    Hybrid,
    name=_name,
    layers=st.sampled_from(["none", "all", "3,7,20-22"]),
    part=st.sampled_from(["attn", "mlp", "both"]),
    strength=st.floats(0, 4),
    direction=st.sampled_from(["tuned-into-base", "base-into-tuned"]),
)
_patched = st.builds(
    Hybrid,
    name=_name,
    layers=st.sampled_from(["all", "3,7,20-22"]),
    direction=st.sampled_from(["tuned-into-base", "base-into-tuned"]),
    site=st.sampled_from(SITES),
)
_amplified = st.builds(Hybrid, name=_name, layers=st.just("all"), alpha=st.floats(-1, 3))
_hybrid = st.one_of(_grafted, _patched, _amplified)
_settings = st.builds(
    RunSettings,
    raw=st.booleans(),
    hybrids=st.lists(_hybrid, min_size=1, max_size=3, unique_by=lambda hybrid: hybrid.name).map(tuple),
    temperature=st.floats(0, 2),
    seed=st.integers(0, 2**31 - 1),
    max_new_tokens=st.integers(1, 2048),
    coupled=st.booleans(),
)


@given(_settings, st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
@settings(deadline=None)
def test_links_bring_back_what_they_took(chosen: RunSettings, question: str) -> None:
    query = to_query(chosen, question)
    assert from_query(dict(parse_qsl(query, keep_blank_values=True))) == (chosen, question)


def test_a_link_never_carries_the_system_prompt_nor_an_unticked_question() -> None:
    assert "secret" not in to_query(RunSettings(system="secret", reference="secret", hybrids=(Hybrid(layers="1"),)))


def test_a_link_says_none_where_no_layer_was_grafted() -> None:
    """The page starts with the upper third; a link must not leave it at that."""
    assert from_query(dict(parse_qsl(to_query(RunSettings()))))[0].hybrids == (Hybrid(layers="none"),)


def test_a_question_too_long_for_a_link() -> None:
    with pytest.raises(ArgumentError, match="2,000"):
        to_query(RunSettings(), "x" * 2001)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", "99"),
        ("top_p", "0"),
        ("seed", "-1"),
        ("max_new_tokens", "0"),
        ("hybrids", "a: 1 / x"),
        ("hybrids", "a: 1 / nan"),
        ("hybrids", "a: 1; b: 1; c: 1; d: 1"),
    ],
)
def test_a_link_cannot_set_what_the_page_could_not(name: str, value: str) -> None:
    with pytest.raises(ArgumentError):
        from_query({name: value})


def test_the_reference_answer_is_scored_under_every_lane(report: RunReport) -> None:
    assert report.reference is not None
    assert [model.name for model in report.reference.models] == [lane.answer.name for lane in report.lanes]
    by_name = {model.name: model.nats for model in report.reference.models}
    for name, field in (("base", "logp_base"), ("tuned", "logp_tuned")):
        own = [-getattr(token, field) for token in report.reference.tokens]
        assert by_name[name] == pytest.approx(sum(own) / len(own), abs=1e-5)
    assert by_name["hybrid"] not in (by_name["base"], by_name["tuned"])


def test_the_command_of_a_run_names_every_hybrid(report: RunReport) -> None:
    words = shlex.split(report.command or "")
    given = [words[k + 1] for k, word in enumerate(words) if word == "--lane"]
    assert hybrids_from("\n".join(given)) == SETTINGS.hybrids


def command(pair: Pair, question: str, settings: RunSettings = SETTINGS, forks: tuple[Fork, ...] = ()) -> str | None:
    """The line of a run with these forks, of which nothing but their place in other answers is looked at."""
    named = ["base", *lane_names(settings.hybrids), "tuned"]
    lanes = [lane(name, ()) for name in named] + [lane(f"fork-{k}", (), fork=fork) for k, fork in enumerate(forks, 1)]
    return command_of((Message(role="user", content=question),), settings, lanes, pair)


def parsed(line: str | None) -> argparse.Namespace:
    words = shlex.split(line or "")
    assert words[:4] == ["python", "-m", "core", "ask"]
    parser = Parser()
    add_arguments(parser.add_subparsers(parser_class=Parser).add_parser("ask"))
    return parser.parse_args(words[3:])


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20), st.booleans())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example("-", True)
@example("--json", True)
@example("-", False)
def test_any_question_and_system_prompt_can_be_typed(pair: Pair, text: str, dashed: bool) -> None:
    typed = f"-{text}" if dashed else text
    line = command(pair, typed, replace(SETTINGS, system=typed))
    if typed == "--":
        assert line is None
        line = command(pair, typed, replace(SETTINGS, system="Be brief."))
    found = parsed(line)
    assert (found.question, found.json) == (typed, False)
    assert found.system == ("Be brief." if typed == "--" else typed)


def test_the_command_of_a_run_takes_its_numbers_exactly(pair: Pair) -> None:
    found = parsed(command(pair, "What?", replace(SETTINGS, temperature=0.123456789, top_p=0.987654321)))
    assert (found.temperature, found.top_p) == (0.123456789, 0.987654321)


def test_forks_are_typed_where_a_text_stands_for_them(pair: Pair) -> None:
    texts = [" lungs", "a = b > c", "\n- "]
    forks = tuple(Fork("tuned", 2, pair.prompts.answer_ids(text), "base") for text in texts)
    found = parsed(command(pair, "What?", forks=forks))
    assert [fork_from(text) for text in found.fork_at] == [("tuned", 2, text, "base") for text in texts]
    assert command(pair, "What?", forks=(Fork("fork-1", 2, forks[0].ids, "base"),)) is None
    part_of_a_character = next(i for i in range(300) if "\ufffd" in pair.prompts.text([i]))
    assert command(pair, "What?", forks=(Fork("base", 2, (part_of_a_character,), "base"),)) is None


def test_no_line_writes_a_follow_up_or_a_stopped_answer_again(pair: Pair, report: RunReport) -> None:
    lanes = report.lanes
    asked = report.messages[0]
    assert command_of((asked,), SETTINGS, lanes, pair) == report.command
    answered = Message(role="assistant", content="A disease.")
    assert command_of((asked, answered, asked), SETTINGS, lanes, pair) is None
    for how in ("stopped", "failed"):
        cut = replace(lanes[0], answer=replace(lanes[0].answer, finished=how))
        assert command_of((asked,), SETTINGS, (cut, *lanes[1:]), pair) is None
    nameless = replace(report, command=None)
    assert run_from_json(to_json(nameless)) == nameless


def test_asking_again_decodes_only_what_changed(pair: Pair) -> None:
    worker = Worker(pair)
    question = (Message(role="user", content="What is asthma?"),)
    first = start(worker, question, SETTINGS, "")
    assert all(request.wait(30) for request in first.requests)
    renamed, new = replace(SETTINGS.hybrids[0], name="Other"), Hybrid("New", "0")
    second = start(worker, question, replace(SETTINGS, hybrids=(new, renamed)), "", previous=first)
    assert all(request.wait(30) for request in second.requests)
    assert [record.lane.name for record in second.request.records] == ["hybrid"]
    assert second.records["hybrid-2"].ids == first.records["hybrid"].ids
    assert list(second.records) == ["base", "hybrid", "hybrid-2", "tuned"]
    third = start(worker, question, replace(second.settings, reference=None), "", previous=second)
    assert third.request is None
    assert not third.running
    assert third.report().lanes == second.report().lanes
    fourth = start(worker, question, third.settings, "", previous=third)
    assert fourth.request is not None
    assert len(fourth.request.records) == 4  # the very same again is written again
    fourth.stop()
    alone = start(worker, question, replace(SETTINGS, hybrids=(new,)), "")
    assert alone.request.wait(30)
    assert alone.records["hybrid"].ids == second.records["hybrid"].ids
    worker.shutdown()


def test_a_question_whose_reference_may_not_wait_leaves_nothing_behind(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(pair)
    submitted: list[Writing] = []

    def submit(job: Job, owner: str) -> Writing:
        submitted.append(Worker.submit(worker, job, owner))
        return submitted[-1]

    def full(*_: object) -> None:
        raise ArgumentError("Too many questions are waiting already.", "Wait for one.")

    monkeypatch.setattr(worker, "submit", submit)
    monkeypatch.setattr(worker, "call", full)
    with pytest.raises(ArgumentError, match="waiting"):
        start(worker, (Message(role="user", content="What?"),), replace(SETTINGS, max_new_tokens=400), "")
    assert len(submitted) == 1
    assert submitted[0].wait(10)
    assert submitted[0].status == "stopped"
    worker.shutdown()


def test_a_reference_answer_beyond_the_context_is_refused_before_anything_runs(pair: Pair) -> None:
    worker = Worker(pair)
    with pytest.raises(TooLongError, match="reference"):
        start(worker, (Message(role="user", content="What?"),), RunSettings(reference="word " * 3000), "")
    assert worker.n_rows() == 0
    worker.shutdown()
