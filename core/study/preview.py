"""A study before it is run: how many rows, what they look like to the models, and how long it would take.

Knows corpora and a pair's prompts; measures only what is timed, and keeps none of it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random

from core.intervene.sets import units_of
from core.pair.pair import Pair
from core.study.choice import Kind
from core.study.corpora import Corpus, read_corpora
from core.study.measure_prompt import Progress, check_pair, measure_batch, problem_of, prompt_of, reference_ids
from core.study.passes import visits_expected
from core.study.prompts import StudyPrompt, batches, study_prompts
from core.study.settings import REACHES, StudySettings
from core.study.tasks import AskedSet, Visit

SHOWN = 3
TIMED_ADAPTERS = 2
_PHASES = {
    "rows": (0.0, 0.2),
    "plain": (0.2, 0.3),
    "one": (0.5, 0.1),
    "swept": (0.6, 0.2),
    "controlled": (0.8, 0.1),
    "visit": (0.9, 0.1),
}
"""What is looked at, in order → where its share of the whole begins, and how long it is."""


@dataclass(frozen=True)
class ShownRow:
    """A row as the models will read it.

    Attributes:
        id: of the row.
        prompt: the question through the chat template, or as raw text.
        reference: the reference answer, its reasoning before it where it has one; null where there is none.
        n_prompt, n_reference: tokens of each.
        options: how many options it has.
        letter: of the right one; null where none is known.
    """

    id: str
    prompt: str
    reference: str | None
    n_prompt: int
    n_reference: int
    options: int
    letter: str | None


@dataclass(frozen=True)
class CorpusPreview:
    """What a corpus holds.

    Attributes:
        name: what tables call it.
        kind: whether it counts as medical or as general.
        found: usable rows there are.
        rows: how many of them were drawn.
        bad: rows that were skipped, and why.
        too_long: drawn rows the models cannot take, and why.
        shown: the first three rows.
        prompt_tokens, reference_tokens: over the rows drawn.
    """

    name: str
    kind: Kind
    found: int
    rows: int
    bad: tuple[str, ...]
    too_long: tuple[str, ...]
    shown: tuple[ShownRow, ...]
    prompt_tokens: int
    reference_tokens: int


@dataclass(frozen=True)
class StudyPreview:
    """What a study would do.

    Attributes:
        corpora: what each holds.
        prompts: how many prompts there are.
        swept: on how many of them layers are measured.
        controlled: on how many of these in random adapters too.
        seconds_plain, seconds_swept, seconds_controlled: measured for one prompt of each sort, each with what it has
            beyond the sort before; null where none was timed.
        visits: how often swept prompts are visited again for sets of layers.
        seconds_visit: measured for such visits, the mean of all sorts; null where none was timed.
        seconds: estimate for all prompts at this rate; null where nothing was timed.
    """

    corpora: tuple[CorpusPreview, ...]
    prompts: int
    swept: int
    controlled: int
    seconds_plain: float | None
    seconds_swept: float | None
    seconds_controlled: float | None
    visits: int
    seconds_visit: float | None
    seconds: float | None


def preview_study(
    pair: Pair,
    settings: StudySettings,
    timed: bool = True,
    corpora: Sequence[Corpus] | None = None,
    progress: Progress | None = None,
) -> StudyPreview:
    """Reads the corpora, and measures one batch and the layers of one prompt for the time it takes.

    Args:
        pair: the models.
        settings: of the study.
        timed: whether to measure at all.
        corpora: of the settings, where they have been read already.
        progress: as for `measure_batch`, with the share of the whole; within a phase it may fall back.

    Raises:
        DataError: a corpus cannot be used.
        PromptError: there is no chat template.
    """
    check_pair(pair, settings)
    corpora = corpora if corpora is not None else read_corpora(settings.corpora, settings.seed)
    prompts = study_prompts(corpora, settings)
    problems: dict[int, str | None] = {}
    for prompt in prompts:
        _tell(progress, "rows", "reading rows", len(problems) / len(prompts))
        problems[prompt.place] = problem_of(pair, prompt, settings)
    usable = [prompt for prompt in prompts if problems[prompt.place] is None]
    plain, swept, controlled = _seconds(pair, usable, settings, progress) if timed else (None, None, None)
    expected = visits_expected(prompts, settings)
    visits = sum(expected.values())
    visit = _seconds_visit(pair, usable, settings, expected, progress) if timed and visits else None
    n_swept, n_controlled = (sum(getattr(p, name) for p in usable) for name in ("swept", "controlled"))
    counts = ((plain, len(usable)), (swept, n_swept), (controlled, n_controlled), (visit, visits))
    return StudyPreview(
        corpora=tuple(_corpus(pair, corpus, prompts, problems, settings) for corpus in corpora),
        prompts=len(prompts),
        swept=n_swept,
        controlled=n_controlled,
        seconds_plain=plain,
        seconds_swept=swept,
        seconds_controlled=controlled,
        visits=visits,
        seconds_visit=visit,
        seconds=None if plain is None else sum((seconds or 0.0) * n for seconds, n in counts),
    )


def _seconds(
    pair: Pair, usable: Sequence[StudyPrompt], settings: StudySettings, progress: Progress | None
) -> tuple[float | None, float | None, float | None]:
    """Seconds a prompt: without layers, what layers add, and what random adapters add to that."""
    if not usable:
        return None, None, None
    batch = batches(usable, settings.batch)[0]
    plain = _timed(
        pair, [_as(prompt, False, False) for prompt in batch], settings, partial(_tell, progress, "plain")
    ) / len(batch)
    found: list[float | None] = []
    so_far = _timed(pair, [_as(batch[0], False, False)], settings, partial(_tell, progress, "one"))
    for name, flags in (("swept", (True, False)), ("controlled", (True, True))):
        if not any(getattr(prompt, name) for prompt in usable):
            found.append(None)
            continue
        few = replace(settings, random_adapters=min(TIMED_ADAPTERS, settings.random_adapters))
        seconds = _timed(pair, [_as(batch[0], *flags)], few, partial(_tell, progress, name))
        scale = settings.random_adapters / TIMED_ADAPTERS if name == "controlled" else 1.0
        found.append(max(0.0, seconds - so_far) * max(1.0, scale))
        so_far = seconds
    return plain, found[0], found[1]


def _seconds_visit(
    pair: Pair,
    usable: Sequence[StudyPrompt],
    settings: StudySettings,
    expected: Mapping[str, int],
    progress: Progress | None,
) -> float | None:
    """Seconds a visit for sets of layers, of as many as there will be; which layers they hold does not matter."""
    if not usable:
        return None
    prompt = next((one for one in usable if one.row.answer), None) or _answered(usable[0], settings)
    tell = partial(_tell, progress, "visit")
    # All sets of one half and of the other, which come in two visits.
    seconds = _timed_visit(pair, prompt, _some_sets(pair, settings), settings, tell) / 2
    seconds *= expected["nested_sets"] + expected["sets"]
    if expected["adapter_sets"]:
        few = min(TIMED_ADAPTERS, settings.random_adapters)
        third = tuple(units_of(pair.n_layers, "layer")[::3])
        sets = [AskedSet(0, "layer", reach, 0, third, adapter) for reach in REACHES for adapter in range(1 + few)]
        scale = (1 + settings.random_adapters) / (1 + few)
        seconds += expected["adapter_sets"] * scale * _timed_visit(pair, prompt, sets, settings, tell)
    return seconds / sum(expected.values())


def _answered(prompt: StudyPrompt, settings: StudySettings) -> StudyPrompt:
    """The prompt with an answer of some length, where the fine-tuned model's own will be measured."""
    n_tokens = min(settings.sweep_tokens, settings.max_new_tokens)
    return replace(prompt, row=replace(prompt.row, answer=" ".join(["the"] * n_tokens)))


def _some_sets(pair: Pair, settings: StudySettings) -> list[AskedSet]:
    sets = []
    for by in settings.sets_by:
        units = units_of(pair.n_layers, by)
        order = Random(0).sample(units, len(units))
        chosen = [order[:size] for size in range(1, len(units) + 1)]
        chosen += [
            Random(number).sample(units, len(units) // 3) for number in range(len(REACHES) * (1 + settings.random_sets))
        ]
        sets += [AskedSet(0, by, None, number, tuple(sorted(own))) for number, own in enumerate(chosen)]
    return sets


def _timed_visit(
    pair: Pair, prompt: StudyPrompt, sets: Sequence[AskedSet], settings: StudySettings, tell: Progress
) -> float:
    started = time.perf_counter()
    for _ in Visit("sets", prompt, 0, "reference", None, tuple(sets)).results(pair, settings, tell):
        pass
    return time.perf_counter() - started


def _as(prompt: StudyPrompt, swept: bool, controlled: bool) -> StudyPrompt:
    return StudyPrompt(
        prompt.place, prompt.document, prompt.twin, prompt.corpus, prompt.kind, prompt.row, swept, controlled
    )


def _tell(progress: Progress | None, phase: str, words: str, share: float) -> None:
    if progress:
        start, length = _PHASES[phase]
        progress(words, start + length * share)


def _timed(pair: Pair, batch: Sequence[StudyPrompt], settings: StudySettings, progress: Progress) -> float:
    started = time.perf_counter()
    for _ in measure_batch(pair, batch, {prompt.place for prompt in batch}, settings, progress):
        pass
    return time.perf_counter() - started


def _corpus(
    pair: Pair,
    corpus: Corpus,
    prompts: Sequence[StudyPrompt],
    problems: dict[int, str | None],
    settings: StudySettings,
) -> CorpusPreview:
    own = [prompt for prompt in prompts if prompt.corpus == corpus.name]
    rows = [_shown(pair, prompt, settings) for prompt in own if problems[prompt.place] is None]
    return CorpusPreview(
        name=corpus.name,
        kind=corpus.kind,
        found=corpus.n_found,
        rows=len(own),
        bad=corpus.bad,
        too_long=tuple(problem for prompt in own if (problem := problems[prompt.place]) is not None),
        shown=tuple(rows[:SHOWN]),
        prompt_tokens=sum(row.n_prompt for row in rows),
        reference_tokens=sum(row.n_reference for row in rows),
    )


def _shown(pair: Pair, prompt: StudyPrompt, settings: StudySettings) -> ShownRow:
    asked = prompt_of(pair, prompt, settings)
    row, reference = prompt.row, reference_ids(pair, asked, prompt.row)
    return ShownRow(
        id=row.id,
        prompt="".join(piece.text for piece in pair.prompts.pieces(asked.ids)),
        reference=row.reference(asked.opens_reasoning) if row.reasoning else row.answer,
        n_prompt=len(asked.ids),
        n_reference=len(reference),
        options=len(row.options),
        letter=row.letter,
    )
