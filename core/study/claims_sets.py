"""Question 3 again: whether few layers, found on other prompts, carry more of this change than of random ones.

Knows the tables `nested_sets`, `sets` and `adapter_sets`; gives no verdicts.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from core.study.adapter_sets import AdapterSets, against_adapters
from core.study.frames import TIMES_NOISE, Floors, Settings
from core.study.held_out import FoundSet, HeldOut, held_out_sets
from core.study.verdicts import FEWEST_ADAPTERS, Measured, number, p_words

LEAST_ABOVE_RANDOM = 0.1  # of the whole change
_NAMES = {"layer": "layers", "part": "parts (attention or MLP)"}
_NUMBERS = {("layer", 0.8): "3d", ("layer", 0.9): "3e", ("part", 0.8): "3f", ("part", 0.9): "3g"}


def holding(tables: Mapping[str, pd.DataFrame], floors: Floors, settings: Settings) -> list[Measured]:
    """The claims about sets for which there are rows."""
    nested = tables["nested_sets"]
    if not len(nested):
        return []
    each = nested.drop_duplicates("document")
    noise_only = bool(each["kl_base_sum"].sum() <= TIMES_NOISE * floors.kl * each["tokens"].sum())
    found = held_out_sets(nested, tables["sets"], seed=settings.seed, n_resamples=settings.n_resamples)
    rows = tables["adapter_sets"]
    return [
        _claim(
            one,
            against_adapters(
                rows[(rows["by"] == one.by) & (rows["reach"] == one.reach)], floors.kl, settings.seed,
                settings.n_resamples,
            ),
            noise_only,
            each["document"].nunique(),
        )
        for one in found
    ]  # fmt: skip


def _claim(found: HeldOut, others: AdapterSets | None, noise_only: bool, n_documents: int) -> Measured:
    names, percent = _NAMES[found.by], f"{100 * found.reach:g} %"
    return Measured(
        number=_NUMBERS[found.by, found.reach],
        claim=f"Few {names} carry more of this change than of random ones: as many as bring back {percent}, on prompts "
        "they were not found on",
        primary=False,
        effect=others.above if others else None,
        unit="of the change, above random adapters with sets of their own",
        none=0.0,
        least=LEAST_ABOVE_RANDOM,
        # Both must be ruled out: that any set does as well, and that any change has such a set.
        p=max(others.p, found.p) if others and found.p is not None else None,
        n=others.above.n if others else n_documents,
        noise_only=noise_only,
        words="; ".join([_words(found, names, percent), *_adapter_words(others)]),
        threat="random adapters that differ from the fine-tune in more than direction, or halves that ask much the "
        "same",
        limit=_limit(found, others, percent),
        adapters=len(others.random) if others else None,
    )


def _limit(found: HeldOut, others: AdapterSets | None, percent: str) -> str:
    if found.recovery is None:
        return f"a set that brings back {percent}"
    if others is None and found.by == "part":
        return "sets of parts in random adapters, which no study seeks"
    if others is None:
        return f"sets in at least {FEWEST_ADAPTERS} random adapters"
    if found.p is None or found.least_p is None:
        return "random sets"
    least = max(found.least_p, 1 / (len(others.random) + 1))
    return f"more random sets and adapters, since these cannot give a p under {p_words(least)}"


def _adapter_words(others: AdapterSets | None) -> list[str]:
    if others is None:
        return []
    random = np.array(others.random)
    return [
        f"ranked by single layers, on {others.above.n} prompts, as many bring back {number(100 * others.own)} % of "
        f"this change and {number(100 * float(random.mean()))} % of {len(random)} random ones on average, "
        f"{int((random >= others.own).sum())} of these at least as much"
    ]


def _words(found: HeldOut, names: str, percent: str) -> str:
    there = [one for one in found.sets if one.size is not None]
    if not there or found.recovery is None:
        return f"no set of {names} brings back {percent}"
    sizes = " and ".join(str(one.size) for one in there)
    recovery = f"{number(100 * found.recovery.value)} %"
    random = " and ".join(_random_words(one) for one in there)
    return (
        f"{sizes} of {there[0].of} {names}, found on one half of the prompts each, bring back {recovery} on the other; "
        f"as many drawn at random bring back {random}"
    )


def _random_words(one: FoundSet) -> str:
    if one.random_mean is None:
        return "an unknown share"
    spread = "" if one.random_sd is None else f" ± {number(100 * one.random_sd)}"
    return f"{number(100 * one.random_mean)}{spread} %"
