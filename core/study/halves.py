"""The prompts on which layers are measured, in two halves: what is found on one is scored on the other.

Knows prompts and a seed; knows nothing of what was measured.
"""

from collections.abc import Iterable
from random import Random

from core.study.prompts import StudyPrompt


def halves(prompts: Iterable[StudyPrompt], seed: int) -> dict[int, int]:
    """Which half each swept prompt is in, by place: 0 or 1.

    Twins stay together, and each kind is split evenly, give or take one.

    Args:
        prompts: of the study, in order.
        seed: of the split.
    """
    swept = [prompt for prompt in prompts if prompt.swept]
    by_document = {prompt.document: prompt for prompt in swept}
    alike: dict[tuple[str, ...], list[tuple[StudyPrompt, ...]]] = {}
    seen: set[int] = set()
    for prompt in swept:
        if prompt.place in seen:
            continue
        twin = by_document.get(prompt.twin or "")
        group: tuple[StudyPrompt, ...] = (prompt, twin) if twin is not None and twin.place not in seen else (prompt,)
        seen |= {one.place for one in group}
        alike.setdefault(tuple(sorted(one.kind for one in group)), []).append(group)
    found: dict[int, int] = {}
    counts = [0, 0]
    for kinds in sorted(alike):
        groups = alike[kinds]
        Random(f"{seed} halves {kinds}").shuffle(groups)
        first = counts.index(min(counts))
        for number, group in enumerate(groups):
            half = (first + number) % 2
            found |= {one.place: half for one in group}
            counts[half] += len(group)
    return found
