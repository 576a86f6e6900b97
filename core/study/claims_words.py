"""Question 2, is the divergence on medical terms and in explanations: words against their like, answers by a slope.

Knows the tables `prompts`, `answers` and `words`; gives no verdicts.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from core.study.frames import TIMES_NOISE, Floors, Settings, of_corpus
from core.study.matched_test import MatchedTest, matched_test
from core.study.matching import BINS
from core.study.resampling import Estimate, Floats
from core.study.slopes import Slope, slope_with_controls
from core.study.tables import WITH_HEADINGS
from core.study.verdicts import Measured, number

LEAST_RATIO = 1.1
LEAST_PER_CONNECTIVE = 0.02  # of the mean KL per token, for one connective more per 100 words
LEAST_OF_REASONING = 0.1  # of the mean KL per token, from no reasoning to nothing but reasoning
TEXTS = {
    ("medical", "reference"): "medical reference answers",
    ("medical", "tuned"): "the fine-tuned model's medical answers",
    ("medical", "base"): "base's medical answers",
    ("general", "reference"): "general reference answers",
    ("general", "tuned"): "the fine-tuned model's general answers",
    ("general", "base"): "base's general answers",
}
TERMS = dict(zip(TEXTS, ("2a", "2b", "2c", "2d", "2j", "2k"), strict=True))
EXPLANATIONS = dict(zip(TEXTS, ("2e", "2f", "2g", "2h", "2l", "2m"), strict=True))
REASONING = {("medical", "reference"): "2n", ("medical", "tuned"): "2i"}
SLOPES = (*EXPLANATIONS.values(), *REASONING.values())
"""Claims whose smallest effect is a share of the mean KL per token."""
_UNMATCHED = 0.1  # standard deviations that matching may leave


def wording(tables: Mapping[str, pd.DataFrame], floors: Floors, settings: Settings) -> list[Measured]:
    """The claims of question 2 for which there are rows; those on medical reference answers are primary."""
    prompts, found = tables["prompts"], []
    for text, number_ in TERMS.items():
        words = of_corpus(tables["words"], prompts, *text)
        if not words["format"].all():
            found.append(_terms(number_, TEXTS[text], words, floors, settings))
    for text, number_ in EXPLANATIONS.items():
        answers = of_corpus(tables["answers"], prompts, *text)
        if len(answers):
            found.append(_explanations(number_, TEXTS[text], answers, floors, settings))
    for text, number_ in REASONING.items():
        answers = of_corpus(tables["answers"], prompts, *text)
        if answers["reasoning_share"].nunique() > 1:
            found.append(_reasoning(number_, TEXTS[text], answers, floors, settings))
    return sorted(found, key=lambda one: one.number)


def _terms(number_: str, texts: str, every: pd.DataFrame, floors: Floors, settings: Settings) -> Measured:
    words = every[~every["format"].to_numpy(dtype=bool)]
    test = terms_test(words, floors, settings)
    headings = ""
    if len(every) > len(words) and (counted := terms_test(every, floors, settings)):
        headings = f"; with headings counted in, adjusted {_with_interval(counted.ratio_adjusted)}"
    return Measured(
        number=number_,
        claim=f"Divergence is higher on medical terms, in {texts}",
        primary=number_ == "2a",
        effect=test.ratio_adjusted if test else None,
        unit="ratio of geometric means",
        none=1.0,
        least=LEAST_RATIO,
        p=test.p_ratio_adjusted if test else None,
        n=test.ratio.n if test else 0,
        noise_only=float(words["score"].sum() / words["tokens"].sum()) <= TIMES_NOISE * floors.kl,
        words=_terms_words(test) + headings,
        threat="a property of words that was not matched, such as part of speech, or words the tagger gets wrong",
    )


def terms_test(words: pd.DataFrame, floors: Floors, settings: Settings) -> MatchedTest | None:
    """Medical words of one kind of text against other words like them.

    Args:
        words: rows of the table.
        floors: of noise.
        settings: of the draws.
    """
    return matched_test(
        words["score"].to_numpy(dtype=np.float64),
        words["medical"].to_numpy(dtype=bool),
        pd.factorize(words["document"])[0].astype(np.int64),
        {name: words[name].to_numpy(dtype=np.float64) for name in BINS},
        floors.kl,
        seed=settings.seed,
        n_permutations=settings.n_permutations,
        n_resamples=settings.n_resamples,
    )


def _terms_words(test: MatchedTest | None) -> str:
    if test is None:
        return "no medical word stands beside another word like it"
    off = [name.replace("_", " ") for name, left in test.balance.items() if abs(left) > _UNMATCHED]
    coarse = f"; matching left a difference in {' and '.join(off)}, which the adjusted ratio takes out" if off else ""
    return (
        f"medical words over other words is {number(test.raw_ratio)} unmatched, {number(test.ratio.value)} matched and "
        f"{number(test.ratio_adjusted.value)} matched and adjusted; the adjusted AUROC is "
        f"{_with_interval(test.auroc_adjusted)} ({test.n_medical} medical words, {test.dropped_medical} without their "
        f"like{coarse})"
    )


def _with_interval(found: Estimate) -> str:
    ends = "" if found.low is None or found.high is None else f", {number(found.low)} to {number(found.high)}"
    return f"{number(found.value)}{ends}"


def _explanations(number_: str, texts: str, answers: pd.DataFrame, floors: Floors, settings: Settings) -> Measured:
    held = ["reasoning_share"] if answers["reasoning_share"].nunique() > 1 else []
    return _slope(
        answers, "connectives", held, LEAST_PER_CONNECTIVE, floors, settings,
        number_=number_, claim=f"Divergence is higher in answers that explain more, in {texts}",
        unit="nats per token, per connective in 100 words", step="for one connective more per 100 words",
    )  # fmt: skip


def _reasoning(number_: str, texts: str, answers: pd.DataFrame, floors: Floors, settings: Settings) -> Measured:
    return _slope(
        answers, "reasoning_share", ["connectives"], LEAST_OF_REASONING, floors, settings,
        number_=number_, claim=f"Divergence is higher in answers with more reasoning, in {texts}",
        unit="nats per token, from no reasoning to nothing else", step="from no reasoning to nothing else",
    )  # fmt: skip


def _slope(
    answers: pd.DataFrame, of: str, held: list[str], least: float, floors: Floors, settings: Settings, *,
    number_: str, claim: str, unit: str, step: str,
) -> Measured:  # fmt: skip
    kl, found = _slope_of(answers, of, held, ("kl_sum", "tokens"), settings)
    mean = float(kl.mean())
    words = "the answers do not differ in it beyond their length" if found is None else "the models do not differ"
    if found and mean > 0:
        words = f"{number(100 * found.slope.value / mean)} % of the mean KL per token {step}, length held"
        if set(WITH_HEADINGS) <= set(answers) and (answers[WITH_HEADINGS[1]] != answers["tokens"]).any():
            counted = _slope_of(answers, of, held, WITH_HEADINGS, settings)[1]
            words += f"; with headings counted in, {_with_interval(counted.slope)} nats per token" if counted else ""
    return Measured(
        number=number_,
        claim=claim,
        primary=number_ == "2e",
        effect=found.slope if found else None,
        unit=unit,
        none=0.0,
        least=least * mean,
        p=found.p if found else None,
        n=len(answers),
        noise_only=mean <= TIMES_NOISE * floors.kl,
        words=words,
        threat="whatever else sets explaining answers apart, such as their subject",
    )


def _slope_of(
    answers: pd.DataFrame, of: str, held: list[str], columns: tuple[str, str], settings: Settings
) -> tuple[Floats, Slope | None]:
    """KL per token of each answer, from columns of ΣKL and tokens, and its slope with length held."""
    kl, tokens = (answers[name].to_numpy(dtype=np.float64) for name in columns)
    controls = np.column_stack([np.log(tokens), *(answers[name].to_numpy(dtype=np.float64) for name in held)])
    per_token: Floats = kl / tokens
    predictor = answers[of].to_numpy(dtype=np.float64)
    draws = (settings.seed, settings.n_permutations, settings.n_resamples)
    return per_token, slope_with_controls(per_token, predictor, controls, *draws)
