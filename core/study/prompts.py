"""The prompts of a study in the order in which they are measured, and in which batches.

Corpora take turns, so that a study that is stopped early holds about as much of each, and rows of two corpora that are
twins of each other stand together. Knows corpora and settings; knows no model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from random import Random

from core.study.choice import KINDS, Kind
from core.study.corpora import Corpus, CorpusRow
from core.study.settings import StudySettings

NOISE_EVERY = 8
"""Letters are asked for once more, for their noise, on every so manieth multiple choice: it costs as much as asking."""


@dataclass(frozen=True)
class StudyPrompt:
    """One question of a study.

    Attributes:
        place: in the order of the study, from 0.
        document: what tables call it: the row's id, with its corpus before it where two corpora share an id.
        twin: the document that is its counterpart; None where there is none in this study.
        corpus, kind: whose row it is.
        row: the question.
        swept: whether its layers are measured.
        controlled: whether they are measured in random adapters too.
        doubted: whether the noise of its letters is measured.
    """

    place: int
    document: str
    twin: str | None
    corpus: str
    kind: Kind
    row: CorpusRow
    swept: bool
    controlled: bool
    doubted: bool = False


def study_prompts(corpora: Sequence[Corpus], settings: StudySettings) -> tuple[StudyPrompt, ...]:
    """Every prompt, in order; which are swept and controlled is drawn with the settings' seed."""
    turns = zip_longest(*([(corpus, row) for row in corpus.rows] for corpus in corpora))
    ordered = [own for turn in turns for own in turn if own is not None]
    swept: set[int] = set()
    controlled: set[int] = set()
    for kind in KINDS:
        own = [place for place, (corpus, _) in enumerate(ordered) if corpus.kind == kind]
        # By number within the kind, so that of two files of twins the same lines are drawn.
        order = Random(f"{settings.seed} layers").sample(range(len(own)), len(own))
        n_swept = settings.sweep_prompts if settings.sweeps else 0
        swept |= {own[k] for k in order[:n_swept]}
        n_controlled = min(settings.control_prompts, n_swept) if settings.measures("controls") else 0
        controlled |= {own[k] for k in order[:n_controlled]}
    lettered = [place for place, (_, row) in enumerate(ordered) if row.letter is not None and row.offered() is not None]
    doubted = set(lettered[::NOISE_EVERY])
    names = _documents(ordered)
    return tuple(
        StudyPrompt(
            place,
            names[corpus.name, row.id],
            _twin(corpus, row, corpora, names),
            corpus.name,
            corpus.kind,
            row,
            place in swept,
            place in controlled,
            place in doubted,
        )
        for place, (corpus, row) in enumerate(ordered)
    )


def _documents(ordered: Sequence[tuple[Corpus, CorpusRow]]) -> dict[tuple[str, str], str]:
    """(corpus, row's id) → document."""
    bare = len({row.id for _, row in ordered}) == len(ordered)
    return {(corpus.name, row.id): row.id if bare else f"{corpus.name}:{row.id}" for corpus, row in ordered}


def _twin(
    corpus: Corpus, row: CorpusRow, corpora: Sequence[Corpus], names: Mapping[tuple[str, str], str]
) -> str | None:
    found = [names.get((other.name, row.twin or "")) for other in corpora if other.kind != corpus.kind]
    return next((name for name in found if name is not None), None)


def batches(prompts: Sequence[StudyPrompt], size: int) -> tuple[tuple[StudyPrompt, ...], ...]:
    """The prompts in batches; a prompt's batch is the same however often a study is stopped and resumed."""
    return tuple(tuple(prompts[start : start + size]) for start in range(0, len(prompts), size))
