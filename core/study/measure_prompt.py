"""Everything a study measures on one prompt, as plain rows; prompts whose answers decode together come as a batch.

The figures are those of `diff`, `sweep` and their like on the prompt alone. Knows a pair and some prompts; keeps
nothing and writes nothing.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from core.errors import PromptError, TooLongError
from core.generate.sampling import Sampling, coupled_partings
from core.measure.answers import first_divergence
from core.measure.cross import cross_scores
from core.measure.diff import Diff, diff
from core.measure.multiple_choice import LetterChoice, letter_choices, letter_prompt
from core.measure.options import Options
from core.measure.positions import ExtremeTerms, extreme_terms
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.parts import MASKS
from core.pair.prompts import Message, Prompt
from core.study.answer_table import answer_row, where_they_part
from core.study.corpora import CorpusRow
from core.study.layer_tables import attribution_tables, control_rows, shapley_rows, sweep_tables
from core.study.prompt_rows import choice_row, complete, prompt_row
from core.study.prompts import StudyPrompt
from core.study.schema import Tables
from core.study.search_tables import patch_rows, smallest_rows
from core.study.settings import StudySettings
from core.study.state_table import state_rows
from core.study.token_table import token_rows
from core.study.words_table import word_rows
from core.study.written import BOTH, Written, models_of, written_answers

Progress = Callable[[str, float], None]
"""Told what is being done, in words, and the share of it that is done, 0..1; may raise to stop."""


@dataclass(frozen=True, eq=False)
class Measured:
    """What one prompt gave.

    Attributes:
        place: which prompt.
        tables: rows by table, every column filled or None.
        states: mean states after every layer, (n_layers, 2, d_model), base first; None where they were not measured.
    """

    place: int
    tables: Tables
    states: Tensor | None


def measure_batch(
    pair: Pair,
    prompts: Sequence[StudyPrompt],
    wanted: Collection[int],
    settings: StudySettings,
    progress: Progress | None = None,
) -> Iterator[Measured]:
    """Measures prompts of one batch, each when it is asked for.

    Answers and letters of the whole batch are made together whatever is wanted, so that the numbers of a prompt do
    not depend on where a study was stopped.

    Args:
        pair: the models.
        prompts: the batch.
        wanted: places of the prompts to measure.
        settings: what to measure.
        progress: called between pieces of the work.
    """
    tell = progress or _untold
    usable = {p.place: prompt_of(pair, p, settings) for p in prompts if problem_of(pair, p, settings) is None}
    written: dict[int, dict[str, Written]] = {}
    if settings.measures("answers") and usable:
        tells = partial(tell, "writing answers")
        found = written_answers(
            pair, list(usable.values()), models_of(pair, settings.writes), settings.max_new_tokens, tells
        )
        written = dict(zip(usable, found, strict=True))
    letters = _letters(pair, [p for p in prompts if p.place in usable], settings, partial(tell, "options"))
    for prompt in prompts:
        if prompt.place not in wanted:
            continue
        if prompt.place not in usable:
            reason = problem_of(pair, prompt, settings)
            yield Measured(prompt.place, complete(prompt, {"prompts": [prompt_row(prompt, None, reason)]}), None)
            continue
        asked = _Asked(pair, prompt, usable[prompt.place], settings, tell)
        yield asked.measured(written.get(prompt.place, {}), letters.get(prompt.place))


def prompt_of(pair: Pair, prompt: StudyPrompt, settings: StudySettings) -> Prompt:
    """The question as the models see it.

    Raises:
        PromptError: there is no chat template, or the text cannot be encoded.
        TooLongError: it fills the context.
    """
    return _asked(pair, prompt.row.question, settings)


def reference_ids(pair: Pair, prompt: Prompt, row: CorpusRow) -> tuple[int, ...]:
    """A row's reasoning and reference answer as token ids, without the end of turn; none where it has no answer."""
    text = row.reference(prompt.opens_reasoning)
    return pair.prompts.answer_ids(text) if text else ()


def problem_of(pair: Pair, prompt: StudyPrompt, settings: StudySettings) -> str | None:
    """Why a prompt cannot be measured; None where it can."""
    row = prompt.row
    try:
        asked = prompt_of(pair, prompt, settings)
        length = len(asked.ids) + max(len(reference_ids(pair, asked, row)), 1)
        if row.letter is not None:
            length = max(length, len(letter_prompt(pair, row.question, settings.system, settings.raw)[0]))
        if length > pair.max_positions:
            raise TooLongError(f"It has {length:,} tokens; the context holds {pair.max_positions:,}.", "Shorten it.")
    except PromptError as error:
        return f"{prompt.document}: {error.message}"
    return None


def check_pair(pair: Pair, settings: StudySettings) -> None:
    """Refuses a pair that cannot be asked anything.

    Raises:
        PromptError: there is no chat template.
        ArgumentError: the pair has not the layers of the hybrid.
    """
    _asked(pair, "?", settings)
    models_of(pair, settings.writes)


def _asked(pair: Pair, question: str, settings: StudySettings) -> Prompt:
    if settings.raw:
        return pair.prompts.raw(f"{question}\n")
    asked = [Message(role="user", content=question)]
    return pair.prompts.chat([Message(role="system", content=settings.system), *asked] if settings.system else asked)


def _letters(
    pair: Pair, prompts: Sequence[StudyPrompt], settings: StudySettings, progress: Callable[[float], None]
) -> dict[int, tuple[LetterChoice, ...]]:
    """Letters of base and tuned, by place, for the questions whose right option is known."""
    asked: list[tuple[int, tuple[str, Options]]] = []
    doubted: list[int] = []
    for prompt in prompts:
        options = prompt.row.offered()
        if options is not None and prompt.row.letter is not None:
            doubted += [len(asked)] if prompt.doubted else []
            asked.append((prompt.place, (prompt.row.question, options)))
    if not asked or not settings.measures("letters"):
        return {}
    both = Gates.stack([pair.base_gates(), pair.tuned_gates()])
    found = letter_choices(
        pair, [question for _, question in asked], both, settings.system, doubted, progress, settings.raw
    )
    return {place: choices for (place, _), choices in zip(asked, found, strict=True)}


class _Asked:
    """One usable prompt."""

    def __init__(self, pair: Pair, prompt: StudyPrompt, asked: Prompt, settings: StudySettings, tell: Progress) -> None:
        self._pair, self._prompt, self._asked, self._settings, self._tell = pair, prompt, asked, settings, tell
        self._tables: Tables = {}

    def measured(self, written: dict[str, Written], letters: tuple[LetterChoice, ...] | None) -> Measured:
        """Every table of this prompt."""
        settings = self._settings
        self._tables["prompts"] = [prompt_row(self._prompt, self._asked, None)]
        reference = reference_ids(self._pair, self._asked, self._prompt.row)
        if reference and settings.measures("reference"):
            self._add_text("reference", reference, None, None)
        parted = first_divergence(*(written[model].ids for model in BOTH)) if written else None
        for model, own in written.items():
            self._add_text(model, own.ids, own.finished, parted if model in BOTH else None)
        if written and settings.measures("cross"):
            texts = {"reference": reference} if reference else {}
            self._add_cross_scores(texts | {model: own.ids for model, own in written.items()})
        if letters is not None:
            self._tables["choices"] = [choice_row(self._prompt, *letters)]
        states = None
        whose, text = ("reference", reference) if reference else ("tuned", written["tuned"].ids if written else None)
        if text is not None:
            states = self._look_inside(whose, text)
        return Measured(self._prompt.place, complete(self._prompt, self._tables), states)

    def _add_text(self, whose: str, ids: Sequence[int], finished: str | None, parted: int | None) -> None:
        self._tell("comparing the models on a text", 0.0)
        first = len(self._asked.ids)
        looked: list[ExtremeTerms] = []
        parted_at: list[bool] = []
        # Other prompts have other noise: documents are what is resampled.
        sampling = Sampling(temperature=1.0, seed=(self._settings.seed + self._prompt.place) % 2**63, coupled=True)

        def draw(base: Tensor, tuned: Tensor) -> None:
            parted_at.extend(coupled_partings(sampling, base, tuned, len(parted_at)))

        def look(states: Tensor) -> None:
            base, tuned = states[:, first - 1 : -1]
            looked.append(extreme_terms(self._pair.unembed, base, tuned, draw))

        found: Diff = diff(self._pair, self._asked, ids, look=look)
        tokens = found.tokens[first:]
        row = answer_row(self._pair, self._asked, ids, found) | where_they_part(tokens, parted)
        more = {"whose": whose, "finished": finished, "first_divergence": parted}
        self._tables.setdefault("answers", []).append(row | more)
        for table, rows in (
            ("words", word_rows(tokens)),
            ("tokens", token_rows(tokens, looked[0], parted_at, self._pair.prompts)),
        ):
            self._tables.setdefault(table, []).extend({"whose": whose, **one} for one in rows)

    def _add_cross_scores(self, texts: Mapping[str, Sequence[int]]) -> None:
        models = models_of(self._pair, self._settings.writes)
        tell = partial(self._tell, "every text under every model")
        self._tables["cross"] = [
            {
                "whose": row.answer,
                "model": score.model,
                "tokens": row.n,
                "nll_sum": None if score.nats is None else score.nats * row.n,
                "nll_noise": score.noise,
            }
            for row in cross_scores(self._pair, self._asked, texts, models, progress=tell).answers
            for score in row.models
        ]

    def _look_inside(self, whose: str, text: Sequence[int]) -> Tensor | None:
        """Layers and states, on the reference, or where there is none on the fine-tuned model's answer."""
        pair, settings, prompt = self._pair, self._settings, self._prompt
        states: Tensor | None = None
        found: Tables = {}
        if settings.measures("representations"):
            self._tell("states after every layer", 0.0)
            whole = _predicted(pair, self._asked, text)
            found["representations"], states = state_rows(pair, (*self._asked.ids, *text), whole)
        ids, predicted = swept_text(pair, self._asked, text, settings)
        if predicted and prompt.swept and settings.measures("layers"):
            found |= sweep_tables(pair, ids, predicted, partial(self._tell, "grafting layers"))
        if predicted and prompt.swept and settings.measures("attribution"):
            tell, cut = partial(self._tell, "following gradients"), ids[len(self._asked.ids) :]
            found |= attribution_tables(pair, self._asked, cut, predicted, tell)
        if predicted and prompt.swept and settings.measures("shapley"):
            seed = settings.seed + prompt.place
            tell = partial(self._tell, "sharing out among layers")
            found["shapley"] = shapley_rows(pair, ids, predicted, settings.permutations, seed, tell)
        if predicted and prompt.swept and settings.measures("smallest"):
            seed, tell = settings.seed + prompt.place, partial(self._tell, "smallest sets of layers")
            found["smallest"] = smallest_rows(pair, ids, predicted, settings.random_sets, seed, tell)
        if predicted and prompt.swept and settings.measures("patches"):
            cut, tell = ids[len(self._asked.ids) :], partial(self._tell, "patching single positions")
            found["patches"] = patch_rows(pair, self._asked, cut, predicted, tell)
        if predicted and prompt.controlled and settings.measures("controls"):
            tell = partial(self._tell, "random adapters")
            n, seed = settings.random_adapters, settings.adapter_seed(1)
            rows = control_rows(pair, ids, predicted, n, seed, settings.control_kinds, tell)
            found["layers"] = [*found.get("layers", []), *rows]
        for table, rows in found.items():
            self._tables[table] = [{"whose": whose, **row} for row in rows]
        return states


def swept_text(
    pair: Pair, asked: Prompt, text: Sequence[int], settings: StudySettings
) -> tuple[tuple[int, ...], list[int]]:
    """Prompt and as much of a text as layers are measured on, and which of its tokens count."""
    cut = text[: settings.sweep_tokens]
    return (*asked.ids, *cut), _predicted(pair, asked, cut)


def _predicted(pair: Pair, asked: Prompt, text: Sequence[int]) -> list[int]:
    parts = pair.prompts.answer_parts(text, asked).parts
    return [len(asked.ids) + index for index, part in enumerate(parts) if part in MASKS["response"]]


def _untold(words: str, share: float) -> None:
    """Progress that nobody wants to know."""
