"""Question 3 again: whether few layers, found on other prompts, carry more than as many drawn at random.

Knows the tables `nested_sets` and `sets`; gives no verdicts.
"""

from collections.abc import Mapping

import pandas as pd

from core.study.frames import TIMES_NOISE, Floors, Settings
from core.study.held_out import FoundSet, HeldOut, held_out_sets
from core.study.verdicts import Measured, number, p_words

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
    return [_claim(one, noise_only, each["document"].nunique()) for one in found]


def _claim(found: HeldOut, noise_only: bool, n_documents: int) -> Measured:
    names, percent = _NAMES[found.by], f"{100 * found.reach:g} %"
    limit = f"a set that brings back {percent}, and random ones beside it"
    if found.least_p is not None:
        limit = f"more random sets, since these cannot give a p under {p_words(found.least_p)}"
    return Measured(
        number=_NUMBERS[found.by, found.reach],
        claim=f"{names.capitalize()} that bring back {percent} on some prompts carry more on others than random ones",
        primary=False,
        effect=found.above_random,
        unit="of the change, above random sets of the same size",
        none=0.0,
        least=LEAST_ABOVE_RANDOM,
        p=found.p,
        n=found.recovery.n if found.recovery else n_documents,
        noise_only=noise_only,
        words=_words(found, names, percent),
        threat="a depth at which any change would carry as much, or halves that ask much the same",
        limit=limit,
    )


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
