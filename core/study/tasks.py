"""What an engine is handed: a batch of prompts to measure, or one prompt to go back to for sets of layers.

Both carry everything they need, so a process anywhere can do them. Knows a pair, prompts and sets; keeps nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from core.intervene.random_adapter import random_adapter
from core.intervene.set_function import SetFunction, part_of
from core.intervene.sets import Unit, set_name
from core.pair.pair import Pair
from core.study.measure_prompt import (
    Measured,
    Progress,
    measure_batch,
    prompt_of,
    reference_ids,
    swept_text,
)
from core.study.prompt_rows import complete_rows
from core.study.prompts import StudyPrompt
from core.study.schema import Row
from core.study.settings import StudySettings


@dataclass(frozen=True)
class Task:
    """A batch of prompts, and the places of those that are still to be measured."""

    batch: tuple[StudyPrompt, ...]
    wanted: frozenset[int]

    @property
    def documents(self) -> tuple[str, ...]:
        """What is measured."""
        return tuple(prompt.document for prompt in self.batch if prompt.place in self.wanted)

    def results(self, pair: Pair, settings: StudySettings, progress: Progress | None = None) -> Iterator[Measured]:
        """Measures prompt by prompt."""
        return measure_batch(pair, self.batch, self.wanted, settings, progress)


@dataclass(frozen=True)
class AskedSet:
    """A set of units to graft.

    Attributes:
        found_on: the half on which it was found.
        by: what it is made of: `layer` or `part`.
        reach: the recovery it was found for; None for one of the nested sets among which is searched.
        number: 0 is the set found, 1, 2, … are random ones.
        units: the set.
        adapter: in which to graft it: 0 is the fine-tune, 1, 2, … are random adapters.
    """

    found_on: int
    by: str
    reach: float | None
    number: int
    units: tuple[Unit, ...]
    adapter: int = 0


@dataclass(frozen=True)
class Visited:
    """What going back to a prompt gave.

    Attributes:
        place: which prompt.
        table: whose rows they are.
        rows: one a set, every column filled or None.
    """

    place: int
    table: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Visit:
    """One prompt, and the sets to graft on the text on which its layers were measured.

    Attributes:
        table: which the rows are for: one of `VISITED`.
        prompt: the question.
        half: the prompt's own.
        whose: whose text it is.
        text: its tokens; None for the reference answer.
        sets: what to graft.
    """

    table: str
    prompt: StudyPrompt
    half: int
    whose: str
    text: tuple[int, ...] | None
    sets: tuple[AskedSet, ...]

    @property
    def documents(self) -> tuple[str, ...]:
        """What is measured."""
        return (self.prompt.document,)

    def results(self, pair: Pair, settings: StudySettings, progress: Progress | None = None) -> Iterator[Visited]:
        """Grafts every set; one result."""
        asked = prompt_of(pair, self.prompt, settings)
        text = reference_ids(pair, asked, self.prompt.row) if self.text is None else self.text
        ids, predicted = swept_text(pair, asked, text, settings)
        n = len(predicted)
        tell = partial(progress, "sets of layers") if progress else None
        rows: list[Row] = []
        adapters = sorted({one.adapter for one in self.sets})
        for place, adapter in enumerate(adapters):
            own = [one for one in self.sets if one.adapter == adapter]
            changed = random_adapter(pair, settings.adapter_seed(adapter)) if adapter else pair
            function = SetFunction(changed, ids, predicted)
            rows += self._rows(pair, own, function, n, part_of(tell, place, 1, len(adapters)))
        yield Visited(self.prompt.place, self.table, tuple(complete_rows(self.prompt, self.table, rows)))

    def _rows(
        self, pair: Pair, sets: Sequence[AskedSet], function: SetFunction, n: int, tell: Callable[[float], None] | None
    ) -> list[Row]:
        """One a set, all grafted in one adapter."""
        found = function.k([one.units for one in sets], tell)
        return [
            {
                "whose": self.whose,
                "half": self.half,
                "found_on": one.found_on,
                "by": one.by,
                "reach": one.reach,
                "number": one.number,
                "adapter": one.adapter,
                "size": len(one.units),
                "units": set_name(one.units, pair.n_layers),
                "tokens": n,
                "kl_sum": k * n,
                "kl_base_sum": function.k_base * n,
                "recovery": 1 - k / function.k_base if function.defined else None,
            }
            for one, k in zip(sets, found, strict=True)
        ]
