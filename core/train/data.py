"""The rows of a run as examples: what is trained on, what is set aside, what is only scored.

Knows settings and encoding; trains nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

import torch

from core.errors import DataError, TooLongError
from core.pair.prompts import PromptBuilder
from core.train.choice import FileChoice
from core.train.encode import Example, encode
from core.train.rows import choose_rows
from core.train.settings import FinetuneSettings

VALIDATION = "validation"


@dataclass(frozen=True)
class Examples:
    """The examples of a run.

    Attributes:
        train: one epoch, passes counted, in file order.
        heldout: name → examples that are scored and never trained on.
    """

    train: list[Example]
    heldout: dict[str, list[Example]]

    @property
    def n_tokens(self) -> int:
        """Tokens of an epoch, prompts included."""
        return sum(len(example.ids) for example in self.train)


def gather(settings: FinetuneSettings, prompts: PromptBuilder, say: Callable[[str], None]) -> Examples:
    """Reads, draws, splits and encodes every row of a run.

    Raises:
        DataError: a source or a row cannot be used.
        TooLongError: a row exceeds the context.
    """
    train: list[Example] = []
    validation: list[Example] = []
    for choice in settings.data:
        kept, aside = _split(_encoded(choice, settings.seed, prompts, say), choice, settings)
        train += kept * choice.passes
        validation += aside
    for choice in settings.replay:
        train += _encoded(choice, settings.seed, prompts, say) * choice.passes
    heldout = {VALIDATION: validation} if validation else {}
    for choice in settings.heldout:
        fewer = replace(choice, rows=choice.rows or settings.heldout_rows or None)
        heldout[_free(choice.name, heldout)] = _encoded(fewer, settings.seed, prompts, say)
    if not train:
        raise DataError("No rows are left to train on.", "Set fewer aside with --validation.")
    return Examples(train, heldout)


def in_order(examples: list[Example], settings: FinetuneSettings) -> list[Example]:
    """The rows of all epochs one after another, near ones of like length; the same order however often resumed."""
    from transformers.trainer_pt_utils import get_length_grouped_indices

    random = torch.Generator().manual_seed(settings.seed)
    lengths = [len(example.ids) for example in examples]
    order: list[int] = []
    for _ in range(settings.epochs):
        order += get_length_grouped_indices(lengths, settings.batch_size, generator=random)
    return [examples[index] for index in order]


def _encoded(choice: FileChoice, seed: int, prompts: PromptBuilder, say: Callable[[str], None]) -> list[Example]:
    found: list[Example] = []
    too_long: list[TooLongError] = []
    for row in choose_rows(choice, seed, say):
        try:
            found.append(encode(row, prompts))
        except TooLongError as error:
            if not choice.skip_bad:
                raise
            too_long.append(error)
    if too_long:
        say(f"{choice.name}: {len(too_long)} rows skipped that exceed the context, as: {too_long[0].message}")
    if not found:
        raise DataError(f"Every row of {choice.name} exceeds the context.", "Give shorter rows.")
    return found


def _split(
    examples: list[Example], choice: FileChoice, settings: FinetuneSettings
) -> tuple[list[Example], list[Example]]:
    """What is trained on, and what is set aside: a seeded draw, at least one row of each file where any is asked."""
    if not settings.validation:
        return examples, []
    n_aside = max(1, round(settings.validation * len(examples)))
    aside = set(Random(f"{settings.seed} validation {choice.name}").sample(range(len(examples)), n_aside))
    return (
        [example for k, example in enumerate(examples) if k not in aside],
        [example for k, example in enumerate(examples) if k in aside],
    )


def _free(name: str, taken: dict[str, list[Example]]) -> str:
    """A name not yet taken: two choices of one file are told apart by a number."""
    return name if name not in taken else next(f"{name} ({k})" for k in range(2, 99) if f"{name} ({k})" not in taken)
