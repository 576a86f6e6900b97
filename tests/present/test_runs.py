"""Runs as files, as tables and as links."""

import csv
import io
import json
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ArgumentError, DataError
from core.generate.worker import Worker
from core.pair.pair import Pair
from core.pair.prompts import Message
from core.present.live import start
from core.present.permalink import from_query, to_query
from core.present.reports import to_json
from core.present.runs import MAX_BYTES, RunReport, RunSettings, run_from_json
from core.present.tables import run_rows


@pytest.fixture(scope="module")
def report(pair: Pair) -> Iterator[RunReport]:
    worker = Worker(pair)
    run = start(
        worker, (Message(role="user", content="What is asthma?"),), RunSettings(layers="1", max_new_tokens=12), ""
    )
    assert run.request.wait(30)
    yield run.report()
    worker.shutdown()


def test_a_run_survives_its_file(report: RunReport) -> None:
    assert run_from_json(to_json(report)) == report


def test_every_token_of_a_run_is_scored(report: RunReport) -> None:
    for lane in report.lanes:
        assert [token.id for token in lane.tokens] == list(lane.answer.ids)
        assert all(token.kl_tuned_base is not None for token in lane.tokens)
        assert [token.pos for token in lane.tokens] == [len(report.prompt_ids) + k for k in range(len(lane.tokens))]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(schema_version=99), "schema version 99"),
        (lambda d: d.pop("lanes"), "not a Graft run"),
        (lambda d: d["lanes"][0]["tokens"][0].update(bytes="zz"), "not a Graft run"),
        (lambda d: d["lanes"][0]["tokens"][0].update(surprise=1), "not a Graft run"),
        (lambda d: d.update(messages=[{"role": "user"}]), "not a Graft run"),
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


_settings = st.builds(
    RunSettings,
    raw=st.booleans(),
    layers=st.sampled_from(["none", "all", "3,7,20-22"]),
    part=st.sampled_from(["attn", "mlp", "both"]),
    strength=st.floats(0, 4),
    direction=st.sampled_from(["tuned-into-base", "base-into-tuned"]),
    temperature=st.floats(0, 2),
    seed=st.integers(0, 2**31 - 1),
    max_new_tokens=st.integers(1, 2048),
)


@given(_settings, st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
@settings(deadline=None)
def test_links_bring_back_what_they_took(chosen: RunSettings, question: str) -> None:
    from urllib.parse import parse_qsl

    query = to_query(chosen, question)
    assert from_query(dict(parse_qsl(query, keep_blank_values=True))) == (chosen, question)


def test_a_link_never_carries_the_system_prompt_nor_an_unticked_question() -> None:
    assert "secret" not in to_query(RunSettings(system="secret", layers="1"))
    assert to_query(RunSettings()) == ""


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
        ("part", "x"),
        ("strength", "nan"),
    ],
)
def test_a_link_cannot_set_what_the_page_could_not(name: str, value: str) -> None:
    with pytest.raises(ArgumentError):
        from_query({name: value})
