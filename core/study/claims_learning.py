"""Question 1, did it learn medicine and did it forget: the loss on reference answers, and multiple choice.

Knows the tables `prompts`, `answers` and `choices`; gives no verdicts.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from core.study.choice import KINDS
from core.study.frames import BOTH_KINDS, NO_OTHER, TIMES_NOISE, Floors, Settings, contrast, corpus_ratio, of_corpus
from core.study.resampling import bootstrap_ratio_interval, sign_flip_p
from core.study.right_answers import accuracy, mcnemar, paired_gain
from core.study.tables import BY_PART
from core.study.verdicts import Measured, number

LEAST_LOSS = 0.01  # nats per token: 1 % of perplexity
LEAST_ACCURACY = 0.02
LEAST_RATIO = 1.1
PART_WORDS = {"reasoning": "reasoning", "answer": "final answer"}


def learning(tables: Mapping[str, pd.DataFrame], floors: Floors, settings: Settings) -> list[Measured]:
    """The claims of question 1 for which there are rows."""
    prompts, answers, choices = (tables[name] for name in ("prompts", "answers", "choices"))
    learnt, forgot = (of_corpus(answers, prompts, corpus, "reference") for corpus in ("medical", "general"))
    found: list[Measured] = []
    if len(learnt):
        claim = "Fine-tuning made medical reference answers likelier"
        found.append(_loss("1a", claim, learnt, -LEAST_LOSS, floors, settings))
    if len(forgot):
        claim = "Fine-tuning made general reference answers less likely (it forgot)"
        found.append(_loss("1b", claim, forgot, LEAST_LOSS, floors, settings))
    for number_, corpus, claim, least, primary in (
        ("1c", "medical", "Fine-tuning made medical multiple choice more often right", LEAST_ACCURACY, True),
        ("1d", "general", "Fine-tuning made general multiple choice less often right", -LEAST_ACCURACY, False),
    ):
        own = choices[choices["corpus"] == corpus].sort_values("document")
        if len(own):
            found.append(_choice(number_, claim, own, least, primary, floors))
    if len(learnt) and len(forgot):
        both = pd.concat([learnt, forgot])
        found += [_specific(both, prompts, floors, settings), _more(both, prompts, floors, settings)]
    return found


def with_both_parts(answers: pd.DataFrame) -> pd.DataFrame:
    """The texts that have reasoning and final answer, with the columns of `BY_PART`."""
    return answers.reindex(columns=[column for columns in BY_PART.values() for column in columns]).dropna()


def _loss(number_: str, claim: str, own: pd.DataFrame, least: float, floors: Floors, settings: Settings) -> Measured:
    tokens = own["tokens"].to_numpy(dtype=np.float64)
    base, tuned = (own[f"nll_{model}_sum"].to_numpy(dtype=np.float64) for model in ("base", "tuned"))
    change = tuned - base
    effect = bootstrap_ratio_interval(change, tokens, settings.seed, settings.n_resamples)
    return Measured(
        number=number_,
        claim=claim,
        primary=True,
        effect=effect,
        unit="nats per token",
        none=0.0,
        least=least,
        p=sign_flip_p(change, settings.seed, settings.n_permutations),
        n=len(own),
        noise_only=float(np.abs(change).sum() / tokens.sum()) <= TIMES_NOISE * floors.logp,
        words=f"the loss went from {number(base.sum() / tokens.sum())} to {number(tuned.sum() / tokens.sum())} nats "
        f"per token{_loss_by_part(own)}",
        threat="reference answers that resemble the fine-tuning data in style alone, or that were part of it",
    )


def _loss_by_part(own: pd.DataFrame) -> str:
    """The loss on reasoning and on final answers apart, as a clause; empty where no text has both."""
    both = with_both_parts(own)
    if not len(both):
        return ""
    said = []
    for part, columns in BY_PART.items():
        base, tuned, tokens = (float(both[column].sum()) for column in columns)
        said.append(f"from {number(base / tokens)} to {number(tuned / tokens)} on the {PART_WORDS[part]}")
    return f"; in the {len(both):,} with a reasoning {' and '.join(said)}"


def _choice(number_: str, claim: str, own: pd.DataFrame, least: float, primary: bool, floors: Floors) -> Measured:
    base, tuned = ((own[model] == own["right"]).to_numpy(dtype=bool) for model in ("base", "tuned"))
    flips = mcnemar(base, tuned)
    before, after = accuracy(base), accuracy(tuned)
    p_right = own[["p_right_base", "p_right_tuned"]].to_numpy(dtype=np.float64).T.clip(np.finfo(np.float64).tiny)
    return Measured(
        number=number_,
        claim=claim,
        primary=primary,
        effect=paired_gain(base, tuned),
        unit="of the questions more right than before",
        none=0.0,
        least=least,
        p=flips.p,
        n=len(own),
        noise_only=float(np.abs(np.log(p_right[0]) - np.log(p_right[1])).mean()) <= TIMES_NOISE * floors.logp,
        words=f"right before {number(before.value)}, after {number(after.value)} of the questions; {flips.gained} "
        f"turned right and {flips.lost} wrong, with chance at {number(float((1 / own['options']).mean()))}",
        threat="a liking for one letter that happens to be right more often",
    )


def _specific(own: pd.DataFrame, prompts: pd.DataFrame, floors: Floors, settings: Settings) -> Measured:
    per_token = (own["kl_sum"] / own["tokens"]).set_axis(own["document"])
    found = corpus_ratio(per_token, prompts, floors.kl, settings)
    return Measured(
        number="1e",
        claim="The models differ more on medical than on general text",
        primary=False,
        effect=found.ratio if found else None,
        unit="ratio of KL(tuned‖base) per token",
        none=1.0,
        least=LEAST_RATIO,
        p=found.contrast.p if found else None,
        n=found.contrast.n if found else 0,
        noise_only=bool(found and found.noise_only),
        words=f"medical over general, {found.contrast.between}" if found else NO_OTHER,
        threat=found.contrast.threat if found else "",
        limit=BOTH_KINDS,
    )


def _more(own: pd.DataFrame, prompts: pd.DataFrame, floors: Floors, settings: Settings) -> Measured:
    """Whether the gain is one in medicine, or as large on text of the same form about anything."""
    change = ((own["nll_tuned_sum"] - own["nll_base_sum"]) / own["tokens"]).set_axis(own["document"])
    found = contrast(change, prompts, settings)
    words = NO_OTHER
    if found:
        means = [change[change.index.isin(of_corpus(own, prompts, corpus)["document"])].mean() for corpus in KINDS]
        each = " and ".join(f"{number(float(mean))} on {corpus}" for corpus, mean in zip(KINDS, means, strict=True))
        words = f"the change of a document's loss was {each} text, compared {found.between}"
    return Measured(
        number="1f",
        claim="Medical reference answers gained more than general ones",
        primary=False,
        effect=found.difference if found else None,
        unit="nats per token, medical less general",
        none=0.0,
        least=-LEAST_LOSS,
        p=found.p if found else None,
        n=found.n if found else 0,
        noise_only=float(change.abs().mean()) <= TIMES_NOISE * floors.logp,
        words=words,
        threat=found.threat if found else "",
        limit=BOTH_KINDS,
    )
