"""Studies made up for tests: words, adapters and whole tables with known truths."""

from typing import Any

import numpy as np
import pandas as pd

from core.study.frames import Floors

FLOORS = Floors(kl=1e-4, logp=1e-4, drift_norm=1e-4, drift_cosine=1e-6)


def words_of(seed: int, documents: int = 40, words: int = 80, effect: float = 0.0) -> dict[str, Any]:
    """Words whose scores depend on entropy, frequency and length; so do the chances to be medical.

    `effect` is the planted log ratio.
    """
    draw, n = np.random.default_rng(seed), documents * words
    document = np.repeat(np.arange(documents), words)
    entropy, frequency = draw.gamma(2, 1, n), draw.normal(-9, 2, n)
    medical = draw.random(n) < 1 / (1 + np.exp(2 - 0.7 * (entropy - 2) + 0.35 * (frequency + 9)))
    tokens = 1.0 + draw.poisson(0.4 + 0.6 * medical)
    own = draw.normal(0, 0.5, documents)[document] + draw.normal(0, 1, n)
    log_score = -3 + np.log(entropy + 0.05) - 0.2 * (frequency + 9) + 0.3 * tokens + effect * medical + own
    return {
        "scores": np.exp(log_score),
        "medical": medical,
        "document": document,
        "covariates": {
            "base_entropy": entropy,
            "frequency": frequency,
            "position": np.tile(np.linspace(0, 1, words), documents),
            "tokens": tokens,
        },
        "noise_floor": FLOORS.kl,
    }


def layers_of(
    seed: int, shift: float = 0.0, documents: int = 15, n_layers: int = 12, n_random: int = 39
) -> tuple[np.ndarray, np.ndarray]:
    """Single-layer ΣKL of one fine-tune and random adapters, (adapters, documents, layers), and ΣKL of the base.

    Each adapter's recovery is a hump at a depth of its own, the fine-tune's higher by `shift`.
    """
    draw = np.random.default_rng(seed)
    middles = draw.normal(0.45, 0.05, 1 + n_random)
    middles[0] += shift
    humps = np.exp(-(((np.linspace(0, 1, n_layers) - middles[:, None]) / 0.15) ** 2))
    recovery = 0.5 * humps[:, None, :] * draw.uniform(0.7, 1.3, (1, documents, n_layers))
    kl_base = draw.uniform(5, 20, (1 + n_random, documents))
    return (1 - recovery) * kl_base[..., None], kl_base


def tables_of(
    seed: int = 0, change: float = 1.0, medical: float = 0.0, n: int = 40, words: int = 80, **planted: float
) -> dict[str, pd.DataFrame]:
    """All tables of a study of pairs of twin prompts.

    Args:
        seed: of the draws.
        change: size of everything the fine-tune changes; 0 is no fine-tune.
        medical: planted log ratio of medical over other words.
        n, words: pairs, and words of each text.
        planted: `loss` (change on medical answers, nats per token), `forgot` (on general ones), `right` (share of
            wrong choices that turn right), `slope` (relative, per connective), `shift` (of depth), `drift` (log
            ratio), `few` (what sets bring back above random ones).
    """
    draw = np.random.default_rng(seed)
    ids = [f"{corpus}{k:02}" for corpus in "mg" for k in range(n)]
    prompts = pd.DataFrame(
        {
            "document": ids,
            "corpus": ["medical"] * n + ["general"] * n,
            "twin": ids[n:] + ids[:n],
            "field": "field",
            "style": (["fact", "explanation"] * n)[: 2 * n],
        }
    )
    return {
        "prompts": prompts,
        "answers": _answers(draw, ids, change, planted),
        "words": _words(seed, ids[:n], change, medical, words),
        "layers": _layers(seed, ids[:15], change, planted.get("shift", 0.0)),
        **sets_of(seed, ids[:16], change, planted.get("few", 0.0)),
        "representations": _states(draw, ids, change, planted.get("drift", 0.0)),
        "choices": _choices(draw, change, planted.get("right", 0.0)),
    }


def _answers(draw: np.random.Generator, ids: list[str], change: float, planted: dict[str, float]) -> pd.DataFrame:
    n = len(ids)
    tokens, connectives = draw.integers(80, 160, n), draw.uniform(0, 8, n)
    kl = 0.1 * (1 + planted.get("slope", 0.0) * connectives) * np.exp(draw.normal(0, 0.1, n))
    base = draw.normal(2, 0.2, n)
    gains = np.where(np.arange(n) < n / 2, planted.get("loss", 0.0), planted.get("forgot", 0.0))
    tuned = base + change * (gains + draw.normal(0, 0.02, n))
    return pd.DataFrame(
        {
            "document": ids,
            "whose": "reference",
            "tokens": tokens,
            "kl_sum": change * kl * tokens,
            "kl_reverse_sum": change * kl * tokens,
            "nll_base_sum": base * tokens,
            "nll_tuned_sum": tuned * tokens,
            "connectives": connectives,
            "reasoning_share": 0.0,
        }
    )


def _words(seed: int, ids: list[str], change: float, medical: float, words: int) -> pd.DataFrame:
    found = words_of(seed, len(ids), words, effect=medical)
    frame = pd.DataFrame(found["covariates"])
    return frame.assign(
        document=np.array(ids)[found["document"]],
        whose="reference",
        word=np.tile(np.arange(words), len(ids)),
        score=change * found["scores"],
        medical=found["medical"],
        format=False,
        tokens=frame["tokens"].astype(int),
    )


def _layers(seed: int, ids: list[str], change: float, shift: float) -> pd.DataFrame:
    kl, kl_base = layers_of(seed, shift, len(ids))
    adapter, document, layer = (axis.reshape(-1) for axis in np.indices(kl.shape))
    return pd.DataFrame(
        {
            "document": np.array(ids)[document],
            "whose": "reference",
            "adapter": adapter,
            "kind": "single",
            "layer": layer,
            "kl_sum": change * kl.reshape(-1),
            "kl_base_sum": change * np.repeat(kl_base.reshape(-1), kl.shape[2]),
            "tokens": 100,
        }
    ).sample(frac=1, random_state=seed)


def sets_of(
    seed: int, ids: list[str], change: float = 1.0, few: float = 0.0, n_random: int = 20, n_adapters: int = 199
) -> dict[str, pd.DataFrame]:
    """Nested sets of twelve layers, and sets of 3 and 5 on the half they were not found on.

    A set has a recovery of its own, a document moves it a little; the set found is one more random set, and that of
    the fine-tune one more random adapter's, each better by `few`.
    """
    draw = np.random.default_rng(seed)
    base = dict(zip(ids, draw.uniform(5, 20, len(ids)), strict=True))
    common = {"by": "layer", "tokens": 100}
    nested, sets, adapters = [], [], []
    for k, document in enumerate(ids):
        row = {"document": document, "kl_base_sum": change * base[document], **common}
        for size in range(1, 13):
            left = max(0.0, 1 - size / 3.6)
            nested.append({**row, "half": k % 2, "size": size, "kl_sum": left * row["kl_base_sum"]})
    for half in (0, 1):
        for reach, size in ((0.8, 3), (0.9, 4)):
            recoveries = draw.normal(0.4, 0.1, 1 + n_random)
            recoveries[0] += few
            for number, recovery in enumerate(recoveries):
                for document in ids[1 - half :: 2]:
                    kl_base = change * base[document]
                    kl = max(0.0, 1 - recovery - draw.normal(0, 0.03)) * kl_base
                    key = {"document": document, "found_on": half, "reach": reach, "number": number, "size": size}
                    sets.append({**key, "units": "0-3", "kl_sum": kl, "kl_base_sum": kl_base, **common})
            of_adapters = draw.normal(0.45, 0.1, 1 + n_adapters)
            of_adapters[0] += few
            for adapter, recovery in enumerate(of_adapters):
                for document in ids[1 - half :: 2]:
                    kl_base = change * base[document]
                    kl = (1 - recovery - draw.normal(0, 0.03)) * kl_base
                    key = {"document": document, "found_on": half, "reach": reach, "adapter": adapter, "size": size}
                    adapters.append({**key, "kl_sum": max(0.0, kl), "kl_base_sum": kl_base, **common})
    tables = {"nested_sets": nested, "sets": sets, "adapter_sets": adapters}
    return {name: pd.DataFrame(rows) for name, rows in tables.items()}


def _states(draw: np.random.Generator, ids: list[str], change: float, drift: float) -> pd.DataFrame:
    rows = []
    for k, document in enumerate(ids):
        size = np.exp(draw.normal(-2, 0.15) + (drift if k < len(ids) / 2 else 0.0))
        for layer in range(4):
            moved = change * size * (1 + layer)
            rows.append((document, "reference", layer, moved, moved**2 / 2, 100))
    return pd.DataFrame(rows, columns=["document", "whose", "layer", "drift_norm", "drift_cosine", "tokens"])


def _choices(draw: np.random.Generator, change: float, turned: float, n: int = 300) -> pd.DataFrame:
    right = draw.choice(list("ABCD"), n)
    base = np.where(draw.random(n) < 0.3, right, draw.choice(list("ABCD"), n))
    other = np.where(draw.random(n) < 0.1, draw.choice(list("ABCD"), n), base) if change else base
    tuned = np.where(draw.random(n) < turned * change, right, other)
    return pd.DataFrame(
        {
            "document": [f"q{k}" for k in range(n)],
            "corpus": "medical",
            "right": right,
            "base": base,
            "tuned": tuned,
            "p_right_base": np.where(base == right, 0.4, 0.2),
            "p_right_tuned": np.where(tuned == right, 0.4, 0.2),
            "options": 4,
        }
    )
