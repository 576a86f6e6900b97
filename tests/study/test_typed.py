"""The line that measures a study again: read back, it gives the same settings."""

import argparse
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from core.commands.common import Parser
from core.commands.study import _settings, add_arguments
from core.study.choice import PRESETS, parse_corpus
from core.study.settings import StudySettings, to_plain
from core.study.typed import corpus_text, study_line
from tests.study.made_up import record_of

CORPORA = [
    "shipped:medical,rows=14",
    "shipped:general",
    "thought.jsonl,kind=medical,reasoning=Why,name=x",
    "preset:medical-o1,reasoning=,rows=9",
    "cases.csv,kind=medical,question=Q,answer=A,rows=200,bad=skip",
    "rows.jsonl,kind=general,name=mine",
    "hub:some/set,kind=medical,split=test,config=en,revision=abc",
    "preset:medqa,rows=300",
    "preset:mmlu-general,at=/data/mmlu,rows=3",
    *(f"preset:{name}" for name in PRESETS),
]


@pytest.mark.parametrize("typed", CORPORA)
def test_a_corpus_is_typed_as_it_was_read(typed: str) -> None:
    choice = parse_corpus(typed)
    assert parse_corpus(corpus_text(choice)) == choice


def test_a_study_that_read_no_reasoning_reads_none_again() -> None:
    """Before form 7 no column held one, whatever the rows have; the preset knew two columns."""
    typed = ["shipped:medical", "preset:medical-o1,rows=5", "rows.jsonl,kind=general"]
    now = tuple(parse_corpus(one) for one in typed)
    then = (now[0], replace(now[1], columns=(("answer", "Response"), ("question", "Question"))), now[2])
    for form, choices, more in ((7, now, ("", "", "")), (6, then, ("", ",reasoning=", ",reasoning="))):
        line = study_line(record_of(settings=to_plain(StudySettings(choices)), schema_version=form))
        read = _settings(parsed(line)).corpora
        assert read == tuple(parse_corpus(one + end) for one, end in zip(typed, more, strict=True))


def parsed(line: str) -> argparse.Namespace:
    parser = Parser()
    add_arguments(parser)
    return parser.parse_args(shlex.split(line)[4:])


def test_the_line_gives_the_same_settings_and_pair() -> None:
    settings = StudySettings(
        (parse_corpus("shipped:medical,rows=14"), parse_corpus("my rows.csv,kind=general")),
        seed=3, measurements=("reference", "layers"), system="Be brief.", max_new_tokens=32, random_adapters=0,
        control_kinds=("single", "prefix"), hybrid="3,7-9",
    )  # fmt: skip
    raw = replace(settings, system=None, raw=True)
    assert _settings(parsed(study_line(record_of(settings=to_plain(raw))))) == raw
    pair = {"pair": None, "base": "a/base", "tuned": "some folder", "device": "cuda", "dtype": "float16"}
    arguments = parsed(study_line(record_of(settings=to_plain(settings), pair=pair)))
    assert _settings(arguments) == settings
    assert (arguments.action, arguments.folder) == ("run", Path("FOLDER"))
    assert (arguments.base, arguments.tuned, arguments.device, arguments.dtype) == (
        "a/base", "some folder", "cuda", "float16",
    )  # fmt: skip
