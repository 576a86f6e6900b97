"""Forks: their titles, what may be put in, and their way through files."""

import json
from collections.abc import Iterator

import pytest

from core.errors import ArgumentError, DataError
from core.generate.worker import Worker
from core.measure.tokens import TokenScore
from core.pair.pair import Pair
from core.pair.prompts import Message
from core.present.colour import SPEAKERS, mark_of, speaker_of
from core.present.forks import Fork, coloured_lane, fork_title, fork_words, quoted, token_text
from core.present.hybrids import Hybrid, lane_title, lane_word
from core.present.live import LiveRun, start
from core.present.report import to_json
from core.present.runs import RunSettings, run_from_json
from core.present.strip import PUT_IN, strip
from core.present.tables import run_rows

HYBRIDS = (Hybrid("Upper", "20-29"), Hybrid("Odd", "1,3"))


def tokens(*texts: str, end: bool = False) -> list[TokenScore]:
    found = [TokenScore(k, k, text, text.encode().hex(), "answer") for k, text in enumerate(texts)]
    return [*found, TokenScore(len(texts), 99, "<end>", b"<end>".hex(), "end")] if end else found


@pytest.mark.parametrize(
    ("fork", "title"),
    [
        (Fork("base", 1, (1,), "base"), "Fork 2: Base from token 1 with “ aspirin”"),
        (
            Fork("base", 1, (1, 2), "tuned"),
            "Fork 2: Base's answer from token 1 with “ aspirin,↵”, Fine-tuned writes on",
        ),
        (Fork("fork-1", 0, (0,), "hybrid-2"), "Fork 2: Fork 1's answer from token 0 with “Take”, Odd writes on"),
    ],
)
def test_a_title_says_where_a_fork_leaves_which_answer_and_who_writes_on(fork: Fork, title: str) -> None:
    assert fork_title("fork-2", fork, tokens("Take", " aspirin", ",\n", "then"), HYBRIDS) == title


def test_a_character_of_two_tokens_is_put_in_whole() -> None:
    split = [TokenScore(0, 0, "", "c3", "answer"), TokenScore(1, 1, "", "a9", "answer")]
    assert "with “é”" in fork_title("fork-1", Fork("base", 0, (0, 1), "base"), split, HYBRIDS)


def test_a_fork_says_how_far_it_is_its_parents_answer() -> None:
    assert fork_words(Fork("hybrid", 1, (1,), "base"), HYBRIDS) == "1 token as in Upper's answer."
    assert fork_words(Fork("base", 12, (1,), "base"), HYBRIDS) == "12 tokens as in Base's answer."
    assert "first token" in fork_words(Fork("base", 0, (1,), "base"), HYBRIDS)


def test_every_page_can_name_a_fork() -> None:
    assert lane_word("fork-3", HYBRIDS) == lane_title("fork-3", HYBRIDS) == "Fork 3"


@pytest.mark.parametrize(("model", "speaker"), [("base", "base"), ("tuned", "tuned"), ("hybrid-2", "hybrid")])
def test_a_fork_has_the_colours_of_the_model_that_writes_it(model: str, speaker: str) -> None:
    lane = coloured_lane("fork-1", Fork("base", 0, (1,), model))
    assert speaker_of(lane) == speaker
    drawn = strip(lane, "", tokens("Take", " aspirin"), 0.0, parted=1, shared="1 token as in Base's answer.", picked=0)
    assert drawn["colour"]["light"] == SPEAKERS[speaker].light
    assert (drawn["parted"], drawn["parted_words"], drawn["picked"]) == (1, PUT_IN, 0)
    assert drawn["shared"] == "1 token as in Base's answer."
    assert drawn["mark"] not in {mark_of(name) for name in ("base", "hybrid", "hybrid-2", "hybrid-3", "tuned")}


def test_other_lanes_keep_their_name_and_mark() -> None:
    assert [coloured_lane(name, None) for name in ("base", "hybrid-2")] == ["base", "hybrid-2"]


def test_a_token_is_named_by_what_it_shows() -> None:
    answer = tokens(" a", "\n", end=True)
    assert [token_text(answer, k) for k in range(3)] == ["“ a”", "“↵”", "its end"]
    assert quoted("\t") == "“⇥”"


@pytest.fixture(scope="module")
def forked(pair: Pair) -> Iterator[LiveRun]:
    worker = Worker(pair)
    run = start(worker, (Message(role="user", content="What is asthma?"),), RunSettings(max_new_tokens=24), "")
    assert run.requests[0].wait(30)
    put_in = pair.prompts.answer_ids(" aspirin", end=False)
    for fork in (Fork("base", 4, put_in, "tuned"), Fork("fork-1", 2, put_in, "base")):
        assert run.fork(fork, "").wait(30)
    yield run
    worker.shutdown()


def test_forks_survive_the_file_and_stand_in_the_table(forked: LiveRun) -> None:
    report = forked.report()
    again = run_from_json(to_json(report))
    assert again == report
    assert [lane.fork for lane in again.lanes[-2:]] == list(forked.forks.values())
    rows = [row for row in run_rows(again) if row["lane"] == "fork-2"]
    assert [row["id"] for row in rows] == list(again.lanes[-1].answer.ids)


@pytest.mark.parametrize(
    "change",
    [
        lambda fork: fork.update(parent="nobody"),
        lambda fork: fork.update(model="nobody"),
        lambda fork: fork.update(model="fork-2"),
        lambda fork: fork.update(parent="fork-1"),
        lambda fork: fork.update(at=99),
        lambda fork: fork.update(at=-1),
        lambda fork: fork.update(ids=[]),
        lambda fork: fork.update(ids=[1]),
        lambda fork: fork.update(at="4"),
    ],
)
def test_a_file_whose_fork_cannot_be_is_refused(forked: LiveRun, change) -> None:  # type: ignore[no-untyped-def]
    fields = json.loads(to_json(forked.report()))
    change(fields["lanes"][3]["fork"])
    with pytest.raises(DataError):
        run_from_json(json.dumps(fields))


def test_the_speed_of_a_fork_counts_what_it_wrote(forked: LiveRun) -> None:
    record = forked.records["fork-1"]
    seconds = record._last_at - record._first_at
    written = len(record.ids) - record.n_begun
    assert written > 1
    assert record.tokens_per_second == pytest.approx((written - 1) / seconds)


def test_the_same_again_is_no_fork(forked: LiveRun) -> None:
    ids = forked.records["base"].ids
    with pytest.raises(ArgumentError, match="just that"):
        forked.fork(Fork("base", 2, (ids[2],), "base"), "")
