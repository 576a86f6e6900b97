"""Every text under every model, over a study's prompts, with intervals over documents.

Knows the tables `prompts` and `cross`; gives no verdicts.
"""

import numpy as np
import pandas as pd

from core.study.choice import KINDS
from core.study.described import Described
from core.study.frames import of_corpus
from core.study.resampling import bootstrap_ratio_interval

TEXTS = ("reference", "base", "hybrid", "tuned")
MODELS = TEXTS[1:]


def cross_means(cross: pd.DataFrame, prompts: pd.DataFrame, seed: int = 0) -> tuple[Described, ...]:
    """−ln p a token of each kind of text (`group`) under each model (`what`), nats, pooled over a corpus."""
    found: list[Described] = []
    scored = cross[cross["nll_sum"].notna()]
    for corpus in KINDS:
        for whose in TEXTS:
            own = of_corpus(scored, prompts, corpus, whose)
            for model in MODELS:
                rows = own[own["model"] == model]
                if len(rows):
                    nats, tokens = (rows[name].to_numpy(dtype=np.float64) for name in ("nll_sum", "tokens"))
                    found.append(Described(corpus, whose, model, bootstrap_ratio_interval(nats, tokens, seed)))
    return tuple(found)
