"""How few layers each prompt needs, which these are, and where along the text single positions bring the change back.

Knows the tables `smallest` and `patches`; gives no verdicts.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.pair.gates import parse_layers
from core.study.choice import KINDS
from core.study.curves import Curve
from core.study.described import Described
from core.study.described_tokens import PLACES
from core.study.frames import of_corpus
from core.study.resampling import (
    Estimate,
    bootstrap_mean_interval,
    bootstrap_ratio_interval,
)
from core.study.right_answers import accuracy

METHODS = {"greedy-forward": "from below", "greedy-backward": "from above"}
"""Method → what it is called."""
SIZE, RECOVERY, RANDOM = "layers", "recovery", "recovery of random sets"
LAST = "prompt's last token"
_PROMPT = ("prompt", "template")


@dataclass(frozen=True)
class PlacePatch:
    """What patches of one layer bring back at one place, every position alone, added up over the place.

    Attributes:
        corpus: `medical` or `general`.
        place: a part of the text, or the prompt's last token.
        layer: after which the state was replaced.
        estimate: Σ recovery over the positions there, pooled over prompts, with its interval over documents.
    """

    corpus: str
    place: str
    layer: int
    estimate: Estimate


def smallest_sizes(smallest: pd.DataFrame, prompts: pd.DataFrame, seed: int = 0) -> tuple[Described, ...]:
    """Mean over prompts of the size of the set found, of its recovery, and of that of random sets of its size.

    `group` is the method and the reach, as `from below, 80 %`.
    """
    found: list[Described] = []
    for method, called in METHODS.items():
        for reach in sorted(smallest["reach"].unique()):
            for corpus in KINDS:
                own = of_corpus(smallest, prompts, corpus)
                own = own[(own["method"] == method) & (own["reach"] == reach)]
                for column, what in (("size", SIZE), ("recovery", RECOVERY), ("random_mean", RANDOM)):
                    values = own[column].dropna().to_numpy(dtype=np.float64)
                    if len(values):
                        mean = bootstrap_mean_interval(values, seed)
                        found.append(Described(corpus, f"{called}, {100 * reach:.0f} %", what, mean))
    return tuple(found)


def layers_in_sets(smallest: pd.DataFrame, prompts: pd.DataFrame, n_layers: int, reach: float) -> tuple[Curve, ...]:
    """Share of a corpus's prompts whose smallest set holds a layer, with exact intervals; one curve a method.

    `Curve.part` names the method.
    """
    found = []
    for corpus in KINDS:
        for method, called in METHODS.items():
            own = of_corpus(smallest, prompts, corpus)
            own = own[(own["method"] == method) & (own["reach"] == reach)]
            if not len(own):
                continue
            held = np.zeros((len(own), n_layers), dtype=bool)
            for row, units in enumerate(own["units"]):
                held[row, list(parse_layers(str(units), n_layers))] = True
            layers = tuple(accuracy(layer) for layer in held.T.tolist())
            found.append(Curve(corpus, called, layers, None, len(own)))
    return tuple(found)


def patches_by_place(patches: pd.DataFrame, prompts: pd.DataFrame, seed: int = 0) -> tuple[PlacePatch, ...]:
    """What patches bring back by layer and place, pooled over prompts, by corpus.

    Of the last layer all places sum to 1: there a state decides its own prediction alone.
    """
    place = patches["part"].map(PLACES)
    asked = patches["part"].isin(_PROMPT)
    last = patches["position"].where(asked).groupby(patches["document"]).transform("max")
    named = patches.assign(
        place=place.where(patches["position"] != last, LAST), gain=patches["kl_base_sum"] - patches["kl_sum"]
    )
    order = (*map(PLACES.__getitem__, _PROMPT), LAST, *(name for part, name in PLACES.items() if part not in _PROMPT))
    found: list[PlacePatch] = []
    for corpus in KINDS:
        own = of_corpus(named, prompts, corpus)
        change = own.groupby("document")["kl_base_sum"].first()
        gains = own.groupby(["place", "layer", "document"])["gain"].sum()
        present = gains.index.get_level_values("place")
        for name in (one for one in order if one in present):
            for layer in sorted(own["layer"].unique()):
                above = gains.loc[name, layer].reindex(change.index, fill_value=0.0).to_numpy(dtype=np.float64)
                pooled = bootstrap_ratio_interval(above, change.to_numpy(dtype=np.float64), seed)
                found.append(PlacePatch(corpus, name, int(layer), pooled))
    return tuple(found)
