"""Questions 3 and 4: whether higher layers carry the change, and whether states move more on medical text.

Knows the tables `prompts`, `layers`, `representations` and `similarity`; gives no verdicts.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from core.errors import DataError
from core.study.depth import Depth, depth_against_random
from core.study.frames import BOTH_KINDS, NO_OTHER, TIMES_NOISE, Floors, Settings, corpus_ratio
from core.study.resampling import Floats
from core.study.verdicts import FEWEST_ADAPTERS, Measured, number, p_words

LEAST_DEPTH = 0.05  # of the way from the first layer to the last
LEAST_RATIO = 1.1
_CURVES = {
    "single": "by what each layer brings back alone",
    "without": "by what is lost without each layer",
    "prefix": "by what each layer adds to those below",
}


def carrying(tables: Mapping[str, pd.DataFrame], floors: Floors, settings: Settings) -> list[Measured]:
    """The claims of question 3 for which there are rows."""
    layers = tables["layers"]
    return [
        _depth(
            f"3{letter}", kind, in_every_adapter(layers[layers["kind"] == kind]), tables["prompts"], floors, settings
        )
        for letter, kind in zip("abc", _CURVES, strict=True)
        if (layers["kind"] == kind).any()
    ]  # fmt: skip


def in_every_adapter(layers: pd.DataFrame) -> pd.DataFrame:
    """The documents that were measured in every adapter: only on these can adapters be compared."""
    n_adapters = layers.groupby("document")["adapter"].transform("nunique")
    return layers[n_adapters == layers["adapter"].nunique()]


def texts_in_words(rows: pd.DataFrame, prompts: pd.DataFrame) -> str:
    """On whose texts something was measured, and how many of each corpus, as in `5 medical and 5 general references`.

    Args:
        rows: with `document` and `whose`.
        prompts: the table.
    """
    each = rows.drop_duplicates("document")[["document", "whose"]].merge(prompts[["document", "corpus"]], on="document")
    names = {"reference": "reference answers", "tuned": "answers of the fine-tuned model"}
    groups = []
    for whose, words in names.items():
        counts = each.loc[each["whose"] == whose, "corpus"].value_counts()
        own = [f"{counts[corpus]} {corpus}" for corpus in ("medical", "general") if corpus in counts]
        groups += [f"{' and '.join(own)} {words}"] if own else []
    return " and ".join(groups)


def moving(tables: Mapping[str, pd.DataFrame], floors: Floors, settings: Settings) -> list[Measured]:
    """The claims of question 4 for which there are rows."""
    states, found = tables["representations"], []
    for number_, measure, formula, words, floor in (
        ("4a", "drift_norm", "‖h_t − h_b‖/‖h_b‖", "States move further", floors.drift_norm),
        ("4b", "drift_cosine", "1 − cos(h_t, h_b)", "States turn further", floors.drift_cosine),
    ):
        if not len(states):
            continue
        ratio = corpus_ratio(states.groupby("document")[measure].mean(), tables["prompts"], floor, settings)
        clause = f"medical over general, {ratio.contrast.between}, over all layers" if ratio else NO_OTHER
        found.append(
            Measured(
                number=number_,
                claim=f"{words} on medical than on general text",
                primary=number_ == "4a",
                effect=ratio.ratio if ratio else None,
                unit=f"ratio of {formula}",
                none=1.0,
                least=LEAST_RATIO,
                p=ratio.contrast.p if ratio else None,
                n=ratio.contrast.n if ratio else 0,
                noise_only=bool(ratio and ratio.noise_only),
                words=f"{clause}, on {texts_in_words(states, tables['prompts'])}"
                + (_cka_words(tables["similarity"]) if number_ == "4a" else ""),
                threat=ratio.contrast.threat if ratio else "",
                limit=BOTH_KINDS,
            )
        )
    return found


def _depth(
    number_: str, kind: str, layers: pd.DataFrame, prompts: pd.DataFrame, floors: Floors, settings: Settings
) -> Measured:
    kl, kl_base, tokens = layer_arrays(layers)
    # An adapter that hardly changes the text has no recovery.
    defined = kl_base.sum(axis=1) > TIMES_NOISE * floors.kl * tokens.sum(axis=1)
    n_random = int(defined[1:].sum())
    noise_only = not defined[0]
    found = None
    if not noise_only and n_random:
        found = depth_against_random(kl[defined], kl_base[defined], kind, settings.seed, settings.n_resamples)
    return Measured(
        number=number_,
        claim=f"Higher layers carry the change, {_CURVES[kind]}",
        primary=number_ == "3a",
        effect=found.above_random if found else None,
        unit="of the way from the first layer to the last, above random adapters",
        none=0.0,
        least=LEAST_DEPTH,
        p=found.p_higher if found else None,
        n=kl.shape[1],
        noise_only=noise_only,
        words=f"{_depth_words(found, n_random)}, on {texts_in_words(layers, prompts)}",
        threat="random adapters that differ from the fine-tune in more than direction",
        limit=f"{_adapters(n_random)}, since {n_random} cannot give a p under {p_words(1 / (n_random + 1))}",
        adapters=n_random,
    )


def _adapters(n: int) -> str:
    return f"at least {FEWEST_ADAPTERS} random adapters" if n < FEWEST_ADAPTERS else "more random adapters"


def _depth_words(found: Depth | None, n_random: int) -> str:
    if found is None:
        return f"there is no centre to compare with {n_random} random adapters"
    random = np.array(found.random)
    higher = int((random >= found.centre.value).sum())
    return (
        f"the centre lies at {number(found.centre.value)} of the depth (0 first layer, 1 last) and that of {n_random} "
        f"random adapters at {number(float(random.mean()))} on average, {higher} of them at least as high"
        f"{_placed_by_size(found)}"
    )


def _placed_by_size(found: Depth) -> str:
    """That a centre lies high without lying higher than others of its sizes: no reason to look for one in training."""
    if found.centre.value <= 0.5 or abs(found.above_random.value) >= LEAST_DEPTH:
        return ""
    return "; it lies in the upper half, and the sizes of the fine-tune's weights alone would place it there"


def layer_arrays(layers: pd.DataFrame) -> tuple[Floats, Floats, Floats]:
    """ΣKL as (adapters, documents, layers), ΣKL of the base and tokens as (adapters, documents); 0 is the fine-tune."""
    keys = [sorted(layers[name].unique()) for name in ("adapter", "document", "layer")]
    shape = tuple(map(len, keys))
    if len(layers) != shape[0] * shape[1] * shape[2] or keys[0][0] != 0 or shape[2] < 2:
        raise DataError(
            f"The table layers has {len(layers)} rows for adapters, documents and layers {shape}.",
            "Every adapter, the fine-tune as number 0, needs every layer of every document, and two layers or more.",
        )
    ordered = layers.sort_values(["adapter", "document", "layer"])
    kl, kl_base, tokens = (
        ordered[name].to_numpy(dtype=np.float64).reshape(shape) for name in ("kl_sum", "kl_base_sum", "tokens")
    )
    return kl, kl_base[..., 0], tokens[..., 0]


def _cka_words(similarity: pd.DataFrame) -> str:
    """Where each corpus's states resemble base's least."""
    clauses = []
    for corpus in ("medical", "general"):
        own = similarity[similarity["corpus"] == corpus]
        if len(own):
            row = own.loc[own["cka_unbiased"].idxmin()]
            clauses.append(f"{number(float(row['cka_unbiased']))} after layer {int(row['layer'])} on {corpus} text")
    return f"; the lowest CKA is {' and '.join(clauses)}" if clauses else ""
