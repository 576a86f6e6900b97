"""Which option's letter each row of gates would begin its answer with, and how sure it is.

The question goes through the chat template with a request for a letter, or as raw text before `Answer:`. Nothing is
written: the probabilities of the letters as the first token of the answer are the result. Knows pairs and options;
knows no right answers.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from typing import Literal, get_args

import torch
from torch import Tensor

from core.errors import PromptError, TooLongError
from core.measure.divergence import log_softmax
from core.measure.options import LETTERS, Options
from core.pair.gates import Gates
from core.pair.pair import Pair
from core.pair.parts import answer_text
from core.pair.patches import RowPatch
from core.pair.prompts import Message
from core.pair.routes import PADDING, padded_prefill, prefill

LETTER_PROMPT = "\n\nAnswer with the letter of the right option only."
RAW_LETTER_PROMPT = "\nAnswer:"
NO_REASONING = answer_text("", "", opened=True)
TOKENS_AT_ONCE = 8192  # of all rows of a batch together, padding included

LetterForm = Literal["A", " A"]


@dataclass(frozen=True)
class LetterChoice:
    """One row's letter for one question.

    Attributes:
        letters: the options'.
        probabilities: of each letter as the first token of the answer, normalised over the letters.
        chosen: the likeliest letter; the first of them in a tie.
        mass: probability of all these letters together, 0..1. Where it is small, the row would rather not answer with
            a letter, and what it chose says little.
        form: whether the letters were counted bare or with a space before them, where the tokenizer has both: the form
            that has more probability in this row.
        reasoning_skipped: whether an empty reasoning was put before the answer, because the chat template opens one.
        noise: the largest change of one of `probabilities` by another numerical route; null where it was not measured.
    """

    letters: tuple[str, ...]
    probabilities: tuple[float, ...]
    chosen: str
    mass: float
    form: LetterForm
    reasoning_skipped: bool
    noise: float | None


def letter_probabilities(
    pair: Pair,
    question: str,
    options: Options,
    gates: Gates,
    system: str | None = None,
    progress: Callable[[float], None] | None = None,
    patches: Sequence[RowPatch] = (),
    own: Callable[[Tensor], Tensor] | None = None,
) -> tuple[LetterChoice, ...]:
    """The letters of one question under each row of gates, or in what is made of such rows. Two forward passes.

    Args:
        pair: the models.
        question: with its options, as a person wrote it.
        options: found in it.
        gates: one row each.
        system: a system prompt.
        progress: told the share done, 0..1, between them; may raise to stop.
        patches: activations copied from row to row at every position.
        own: makes the (rows, d_model) last states those of whatever is asked; without it each row is asked itself.

    Returns:
        One result a row, or for each state that `own` makes.

    Raises:
        PromptError: there is no chat template, or the tokenizer cuts letters into pieces.
        TooLongError: the question does not fit the context.
    """
    ids, skipped = letter_prompt(pair, question, system)
    forms = _letter_ids(pair)
    found: list[Tensor] = []
    for route in (prefill, padded_prefill):
        states = route(pair, ids, gates, patches)[:, -1]
        found.append(_letter_log_p(pair, states if own is None else own(states), list(forms.values())))
        if progress:
            progress(len(found) / 2)
    first, second = found
    return tuple(_choice(options, tuple(forms), a, b, skipped) for a, b in zip(first, second, strict=True))


def letter_choices(
    pair: Pair,
    questions: Sequence[tuple[str, Options]],
    gates: Gates,
    system: str | None = None,
    noise: Collection[int] = (),
    progress: Callable[[float], None] | None = None,
    raw: bool = False,
) -> tuple[tuple[LetterChoice, ...], ...]:
    """The letters of many questions under each row of gates, in left-padded batches of about equal length.

    Args:
        pair: the models.
        questions: each with its options.
        gates: one row each.
        system: a system prompt.
        noise: numbers of the questions that are run once more, with more padding and a row more, for the noise of each
            figure.
        progress: told the share of questions done, 0..1; may raise to stop.
        raw: the models continue each question, followed by `Answer:`, without a chat template.

    Returns:
        questions × rows, in the order asked.

    Raises:
        PromptError: there is no chat template, or the tokenizer cuts letters into pieces.
        TooLongError: a question does not fit the context.
    """
    prompts = [letter_prompt(pair, question, system, raw) for question, _ in questions]
    forms = _letter_ids(pair)
    letters = list(forms.values())
    found: dict[int, tuple[LetterChoice, ...]] = {}
    for batch in _batches([len(ids) for ids, _ in prompts], gates.n_rows):
        rows = [prompts[number][0] for number in batch]
        first = iter(_letter_log_p(pair, _batch_states(pair, rows, gates, 0), letters))
        doubted = [number for number in batch if number in noise]
        states = _batch_states(pair, [prompts[number][0] for number in doubted], gates, PADDING) if doubted else None
        second = iter(() if states is None else _letter_log_p(pair, states, letters))
        for number in batch:
            again = islice(second, gates.n_rows) if number in noise else repeat(None, gates.n_rows)
            found[number] = tuple(
                _choice(questions[number][1], tuple(forms), a, b, prompts[number][1])
                for a, b in zip(islice(first, gates.n_rows), again, strict=True)
            )
        if progress:
            progress(len(found) / len(questions))
    return tuple(found[number] for number in range(len(questions)))


def flips(choices: Sequence[LetterChoice], base: int = 0) -> tuple[int, ...]:
    """Rows that choose another letter than base does.

    Args:
        choices: one result a row, of one question.
        base: which row is base.
    """
    return tuple(row for row, choice in enumerate(choices) if choice.chosen != choices[base].chosen)


def letter_prompt(
    pair: Pair, question: str, system: str | None = None, raw: bool = False
) -> tuple[tuple[int, ...], bool]:
    """Everything before the first token of the answer, and whether that includes an empty reasoning.

    Raises:
        PromptError: there is no chat template, and the text is not raw.
        TooLongError: the question does not fit the context.
    """
    if raw:
        prompt = pair.prompts.raw(question + RAW_LETTER_PROMPT)
    else:
        messages = [Message(role="user", content=question + LETTER_PROMPT)]
        if system:
            messages.insert(0, Message(role="system", content=system))
        prompt = pair.prompts.chat(messages)
    skipped = prompt.opens_reasoning
    ids = (*prompt.ids, *pair.prompts.answer_ids(NO_REASONING)) if skipped else prompt.ids
    if len(ids) > pair.max_positions:
        raise TooLongError(
            f"The question has {len(ids):,} tokens; this model's context holds {pair.max_positions:,}.", "Shorten it."
        )
    return ids, skipped


def _letter_ids(pair: Pair) -> dict[LetterForm, list[int]]:
    """The token of each letter A to E, in each form in which all of them are one token."""
    found: dict[LetterForm, list[int]] = {}
    for form in get_args(LetterForm):
        ids = [pair.prompts.answer_ids(form.replace("A", letter)) for letter in LETTERS]
        if all(len(own) == 1 for own in ids):
            found[form] = [own[0] for own in ids]
    if not found:
        raise PromptError("This tokenizer has no single tokens for the letters A to E.", "Use another pair.")
    return found


def _batches(lengths: Sequence[int], n_rows: int) -> Iterator[list[int]]:
    """Questions in batches of about equal length, the longest first: if they do not fit, that shows at once."""
    order = sorted(range(len(lengths)), key=lambda number: -lengths[number])
    while order:
        size = max(1, TOKENS_AT_ONCE // (lengths[order[0]] * n_rows))
        yield order[:size]
        order = order[size:]


@torch.no_grad()
def _batch_states(pair: Pair, prompts: Sequence[Sequence[int]], gates: Gates, padding: int) -> Tensor:
    """Last hidden states of left-padded prompts: (prompts × rows, d_model), all rows of a prompt together.

    Args:
        pair: the models.
        prompts: of any lengths.
        gates: one row each.
        padding: so many positions more than the longest needs; where there are any, the batch has a row more too.
    """
    pad = pair.prompts.end_ids[0]
    width = max(map(len, prompts)) + padding
    rows = [[pad] * (width - len(ids)) + list(ids) for ids in prompts for _ in range(gates.n_rows)]
    blank = [width - len(ids) for ids in prompts for _ in range(gates.n_rows)]
    batch = Gates.stack([gates] * len(prompts))
    if padding:
        rows, blank, batch = [*rows, rows[0]], [*blank, blank[0]], Gates.stack([batch, pair.base_gates()])
    input_ids = pair.ids(rows)
    places = torch.arange(width, device=input_ids.device)
    mask = (places >= torch.tensor(blank, device=input_ids.device)[:, None]).long()
    return pair.hidden(input_ids, batch, attention_mask=mask)[: len(prompts) * gates.n_rows, -1]


@torch.no_grad()
def _letter_log_p(pair: Pair, states: Tensor, ids: Sequence[Sequence[int]]) -> Tensor:
    """Log-probabilities of the letters after (n, d_model) states: (n, forms, letters) float64 on the CPU."""
    tokens = torch.tensor(ids, device=states.device)
    step = pair.unembed.positions_at_once(24)
    found = [log_softmax(pair.unembed(chunk))[:, tokens].cpu() for chunk in torch.split(states, step)]
    return torch.cat(found)


def _choice(
    options: Options, forms: Sequence[LetterForm], log_p: Tensor, again: Tensor | None, skipped: bool
) -> LetterChoice:
    """One row's result from (forms, letters) log-probabilities, and from the same by another route."""
    log_p = log_p[:, : len(options.letters)]
    form = int(log_p.logsumexp(dim=1).argmax())
    probabilities = log_p[form].softmax(0).tolist()
    noise = None
    if again is not None:
        others = again[form, : len(options.letters)].softmax(0).tolist()
        noise = max(abs(a - b) for a, b in zip(probabilities, others, strict=True))
    return LetterChoice(
        letters=options.letters,
        probabilities=tuple(probabilities),
        chosen=options.letters[probabilities.index(max(probabilities))],
        mass=float(log_p[form].exp().sum()),
        form=forms[form],
        reasoning_skipped=skipped,
        noise=noise,
    )
