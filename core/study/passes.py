"""What is left to do in a study: prompts to measure, then prompts to go back to for sets of layers.

Each pass follows from what the passes before it left in the journal, and from nothing else, so it is the same however
often a study was stopped. Layers are ranked on one half of the swept prompts, nested sets are grafted there, and the
smallest that reaches 80 % and 90 % is grafted on the other half, beside random sets; and so are as many layers of
every random adapter's own ranking. Knows prompts and rows; runs nothing.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from random import Random

from core.intervene.sets import Unit, units_of
from core.study.frames import TIMES_NOISE
from core.study.halves import halves
from core.study.prompts import StudyPrompt, batches
from core.study.ranking import Ranking, rank_units
from core.study.schema import VISITED
from core.study.settings import REACHES, StudySettings
from core.study.store import StudyStore
from core.study.tasks import AskedSet, Task, Visit


@dataclass(frozen=True)
class _Text:
    """One swept prompt with the text on which its layers were measured."""

    prompt: StudyPrompt
    half: int
    whose: str
    ids: tuple[int, ...] | None


def unmeasured(prompts: Sequence[StudyPrompt], settings: StudySettings, done: Collection[int]) -> list[Task]:
    """The batches of the first pass that are not done."""
    return [
        Task(batch, wanted)
        for batch in batches(prompts, settings.batch)
        if (wanted := frozenset(prompt.place for prompt in batch) - frozenset(done))
    ]


def visits_expected(prompts: Sequence[StudyPrompt], settings: StudySettings) -> dict[str, int]:
    """How many visits each table of sets will take, as far as it can be told before prompts are measured."""
    found = halves(prompts, settings.seed) if settings.sets_by else {}
    if len(set(found.values())) < 2:
        return dict.fromkeys(VISITED, 0)
    controlled = {found[prompt.place] for prompt in prompts if prompt.place in found and prompt.controlled}
    n_controlled = sum(prompt.controlled and prompt.place in found for prompt in prompts)
    adapters = n_controlled if settings.compares_adapters and len(controlled) == 2 else 0
    return {"nested_sets": len(found), "sets": len(found), "adapter_sets": adapters}


def nested_visits(store: StudyStore, prompts: Sequence[StudyPrompt], settings: StudySettings) -> list[Visit]:
    """The second pass: the nested sets of every half's ranking, on that half."""
    texts, rankings = _ranked(store, prompts, settings)
    return [
        Visit(
            "nested_sets", text.prompt, text.half, text.whose, text.ids,
            tuple(
                AskedSet(text.half, by, None, 0, units)
                for by in settings.sets_by
                for units in rankings[text.half].nested(by)
            ),
        )
        for text in texts
    ]  # fmt: skip


def scoring_visits(
    store: StudyStore, prompts: Sequence[StudyPrompt], settings: StudySettings, floor: float
) -> list[Visit]:
    """The third pass: on each half, the sets found on the other one and random sets of their sizes.

    Args:
        store: with the second pass in it.
        prompts, settings: of the study.
        floor: noise of one token's KL, nats.
    """
    texts, rankings = _ranked(store, prompts, settings)
    sizes = smallest_sizes(store, floor)
    asked: dict[int, list[AskedSet]] = {0: [], 1: []}
    for (half, by, reach), size in sorted(sizes.items()):
        if size is not None and half in rankings and by in settings.sets_by:
            units = units_of(rankings[half].n_layers, by)
            sets = [rankings[half].nested(by)[size - 1], *_random_sets(units, size, settings, (half, by, reach))]
            asked[1 - half] += [AskedSet(half, by, reach, number, own) for number, own in enumerate(sets)]
    return [
        Visit("sets", text.prompt, text.half, text.whose, text.ids, tuple(asked[text.half]))
        for text in texts
        if asked[text.half]
    ]


def adapter_visits(
    store: StudyStore, prompts: Sequence[StudyPrompt], settings: StudySettings, floor: float
) -> list[Visit]:
    """The last pass: on each half, as many layers as the set found on the other has, best there in each adapter.

    Args:
        store, prompts, settings, floor: as for `scoring_visits`.
    """
    if not settings.compares_adapters:
        return []
    texts, rankings = _ranked(store, prompts, settings)
    controlled = [text for text in texts if text.prompt.controlled]
    half_of = {text.prompt.place: text.half for text in controlled}
    own: dict[int, dict[int, Ranking]] = {0: {}, 1: {}}
    for place, tables in store.tables(half_of):
        adapters = own[half_of[place]]
        alone = [row for row in tables.get("layers", []) if row["kind"] == "single"]
        for adapter in sorted({row["adapter"] for row in alone}):
            rows = [row for row in alone if row["adapter"] == adapter]
            adapters[adapter] = rank_units(adapters.get(adapter), rows, {})
    sizes = {(half, reach): size for (half, by, reach), size in smallest_sizes(store, floor).items() if by == "layer"}
    visits = []
    for text in controlled:
        other = 1 - text.half
        asked = tuple(
            AskedSet(other, "layer", reach, 0, ranking.nested("layer")[size - 1], adapter)
            for (half, reach), size in sorted(sizes.items())
            if half == other and size is not None and other in rankings
            for adapter, ranking in sorted(own[other].items())
        )
        if asked:
            visits.append(Visit("adapter_sets", text.prompt, text.half, text.whose, text.ids, asked))
    return visits


def smallest_sizes(store: StudyStore, floor: float) -> dict[tuple[int, str, float], int | None]:
    """(half, by, reach) → the smallest nested set that brings back so much there, pooled over its prompts.

    None where none does, or where the models do not differ.
    """
    sums: dict[tuple[int, str], dict[int, list[float]]] = {}
    for row in store.rows("nested_sets"):
        own = sums.setdefault((row["half"], row["by"]), {}).setdefault(row["size"], [0.0, 0.0, 0.0])
        for place, name in enumerate(("kl_sum", "kl_base_sum", "tokens")):
            own[place] += row[name]
    found: dict[tuple[int, str, float], int | None] = {}
    for (half, by), sizes in sums.items():
        for reach in REACHES:
            reaching = [
                size
                for size, (kl, kl_base, tokens) in sizes.items()
                if kl_base > TIMES_NOISE * floor * tokens and 1 - kl / kl_base >= reach
            ]
            found[half, by, reach] = min(reaching, default=None)
    return found


def _random_sets(
    units: Sequence[Unit], size: int, settings: StudySettings, key: tuple[int, str, float]
) -> list[tuple[Unit, ...]]:
    draw = Random(f"{settings.seed} sets {key}")
    return [tuple(sorted(draw.sample(units, size))) for _ in range(settings.random_sets)]


def _ranked(
    store: StudyStore, prompts: Sequence[StudyPrompt], settings: StudySettings
) -> tuple[list[_Text], dict[int, Ranking]]:
    """Swept prompts whose layers were measured, and the ranking of each half; none unless both halves have some."""
    half_of = halves(prompts, settings.seed) if settings.sets_by else {}
    if len(set(half_of.values())) < 2:
        return [], {}
    by_place = {prompt.place: prompt for prompt in prompts}
    texts: list[_Text] = []
    rankings: dict[int, Ranking] = {}
    for place, tables in store.tables(half_of):
        layers = [row for row in tables.get("layers", []) if row["adapter"] == 0 and row["kind"] == "single"]
        if not layers:
            continue
        whose, half = layers[0]["whose"], half_of[place]
        ids = next((tuple(row["ids"]) for row in tables.get("answers", []) if row["whose"] == whose), None)
        texts.append(_Text(by_place[place], half, whose, None if whose == "reference" else ids))
        rankings[half] = rank_units(rankings.get(half), layers, tables)
    return (texts, rankings) if len(rankings) == 2 else ([], {})
