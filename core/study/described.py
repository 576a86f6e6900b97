"""What stands beside the claims: losses, divergences and words by group, with intervals over documents.

Knows the tables `prompts`, `answers`, `words` and `choices`; gives no verdicts.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.measure.summary import concentration
from core.pair.parts import MASKS
from core.study.choice import KINDS
from core.study.claims_learning import with_both_parts
from core.study.claims_words import TEXTS, terms_test
from core.study.frames import Floors, Settings, of_corpus
from core.study.resampling import Estimate, bootstrap_mean_interval, bootstrap_ratio_interval
from core.study.right_answers import Flips, accuracy, mcnemar
from core.study.tables import BY_PART

FEWEST_OF_A_FIELD = 3
FEWEST_OF_A_WORD = 3
WITHOUT_HEADINGS, WITH_HEADINGS = "without headings", "with headings"
PARTS = MASKS["response"]
_WHOLE = ("nll_base_sum", "nll_tuned_sum", "tokens")
TOPS = {f"top_{share}pct": f"top {share} % of tokens" for share in (1, 5, 10)}


@dataclass(frozen=True)
class Described:
    """One number of a group of texts.

    Attributes:
        corpus: `medical` or `general`.
        group: whose text, which field, or what else sets the group apart.
        what: which of several numbers of the group; empty where there is one.
        estimate: with its interval over documents.
    """

    corpus: str
    group: str
    what: str
    estimate: Estimate


@dataclass(frozen=True)
class Choices:
    """Multiple choice of one corpus: before, after, what flipped, and chance."""

    corpus: str
    base: Estimate
    tuned: Estimate
    flips: Flips
    chance: float


def loss_changes(answers: pd.DataFrame, prompts: pd.DataFrame, by_field: bool, seed: int = 0) -> tuple[Described, ...]:
    """Change of −ln p of reference answers, fine-tuned less base, nats per token; below 0 they became likelier.

    Args:
        answers, prompts: the tables.
        by_field: by specialty or subject, those with at least 3 documents; else a corpus at once.
        seed: of the bootstrap.
    """
    found = []
    for corpus in KINDS:
        own = of_corpus(answers, prompts, corpus, "reference")
        if by_field:
            own = own.drop(columns="field", errors="ignore").merge(prompts[["document", "field"]], on="document")
            groups = {
                str(name): group for name, group in own.groupby("field") if name and len(group) >= FEWEST_OF_A_FIELD
            }
        else:
            groups = {"all": own} if len(own) else {}
        for name, group in groups.items():
            found.append(_loss_change(corpus, name, "", group, _WHOLE, seed))
    return tuple(found)


def loss_changes_by_part(answers: pd.DataFrame, prompts: pd.DataFrame, seed: int = 0) -> tuple[Described, ...]:
    """The same on the reasoning and on the final answer (`what`) of the reference texts that have both, by corpus."""
    found = []
    for corpus in KINDS:
        own = with_both_parts(of_corpus(answers, prompts, corpus, "reference"))
        if len(own):
            found += [_loss_change(corpus, "all", part, own, columns, seed) for part, columns in BY_PART.items()]
    return tuple(found)


def _loss_change(
    corpus: str, group: str, what: str, own: pd.DataFrame, columns: tuple[str, str, str], seed: int
) -> Described:
    base, tuned, tokens = (own[column].to_numpy(dtype=np.float64) for column in columns)
    return Described(corpus, group, what, bootstrap_ratio_interval(tuned - base, tokens, seed))


def accuracies(choices: pd.DataFrame) -> tuple[Choices, ...]:
    """Right answers under both models, by corpus."""
    found = []
    for corpus in KINDS:
        own = choices[choices["corpus"] == corpus]
        if len(own):
            base, tuned = ((own[model] == own["right"]).to_numpy(dtype=bool) for model in ("base", "tuned"))
            chance = float((1 / own["options"]).mean())
            found.append(Choices(corpus, accuracy(base), accuracy(tuned), mcnemar(base, tuned), chance))
    return tuple(found)


def kl_by_text(answers: pd.DataFrame, prompts: pd.DataFrame, seed: int = 0) -> tuple[Described, ...]:
    """KL(tuned‖base) per token by corpus and whose text, without and, where the table has it, with headings."""
    columns = {WITHOUT_HEADINGS: ("kl_sum", "tokens"), WITH_HEADINGS: ("kl_sum_with_format", "tokens_with_format")}
    found = []
    for corpus, whose in _texts(answers, prompts):
        own = of_corpus(answers, prompts, corpus, whose)
        for what, (above, below) in columns.items():
            if above in own and own[above].notna().all() and (what == WITHOUT_HEADINGS or _differ(own)):
                kl, tokens = (own[name].to_numpy(dtype=np.float64) for name in (above, below))
                found.append(Described(corpus, whose, what, bootstrap_ratio_interval(kl, tokens, seed)))
    return tuple(found)


def _differ(own: pd.DataFrame) -> bool:
    return bool((own["tokens_with_format"] != own["tokens"]).any())


def shares_in_top(
    answers: pd.DataFrame,
    prompts: pd.DataFrame,
    seed: int = 0,
    tokens: pd.DataFrame | None = None,
    floor: float = 0.0,
) -> tuple[Described, ...]:
    """Mean share of a text's ΣKL in its tokens with the largest KL; texts whose ΣKL is noise are left out.

    Args:
        answers, prompts: the tables.
        seed: of the bootstrap.
        tokens: the table; where it holds headings, shares with them are given too.
        floor: a text whose mean KL is at most this is left out of the latter.
    """
    found = []
    if not set(TOPS) <= set(answers):
        return ()
    for corpus, whose in _texts(answers, prompts):
        kinds = {"": of_corpus(answers, prompts, corpus, whose)}
        if tokens is not None:
            own = of_corpus(tokens, prompts, corpus, whose)
            scored = own[own["document"].isin(kinds[""]["document"])]
            kinds[f", {WITH_HEADINGS}"] = _shares_with_headings(scored, floor)
        for headings, own in kinds.items():
            for column, what in TOPS.items():
                shares = own[column].dropna().to_numpy(dtype=np.float64)
                if len(shares):
                    found.append(Described(corpus, whose, what + headings, bootstrap_mean_interval(shares, seed)))
    return tuple(found)


def _shares_with_headings(tokens: pd.DataFrame, floor: float) -> pd.DataFrame:
    """Shares by document, headings counted in; empty where there are none."""
    if not (tokens["part"] == "format").any():
        return pd.DataFrame(columns=list(TOPS))
    own = tokens[tokens["part"].isin([*PARTS, "format"])]
    shares = [concentration(kl.tolist(), floor) for _, kl in own.groupby("document")["kl"]]
    return pd.DataFrame([{name: getattr(one, name) for name in TOPS} for one in shares], columns=list(TOPS))


def kl_by_part(words: pd.DataFrame, prompts: pd.DataFrame, seed: int = 0) -> tuple[Described, ...]:
    """KL(tuned‖base) per token of reasoning and of answer, in texts that have both.

    Headings are left out; where there are any, it is given with them too, each counted to the part it stands before.
    """
    if "part" not in words:
        return ()
    found = []
    for corpus, whose in _texts(words, prompts):
        every = of_corpus(words, prompts, corpus, whose)
        headings = every["format"].to_numpy(dtype=bool)
        found += _by_part(every[~headings], corpus, whose, "", seed)
        if headings.any():
            every = every.sort_values(["document", "word"], kind="stable")
            parts = every["part"].where(every["part"].isin(PARTS) & ~every["format"].astype(bool))
            parts = parts.groupby(every["document"]).transform(lambda own: own.bfill().ffill())
            found += _by_part(every.assign(part=parts), corpus, whose, f", {WITH_HEADINGS}", seed)
    return tuple(found)


def _by_part(own: pd.DataFrame, corpus: str, whose: str, headings: str, seed: int) -> list[Described]:
    own = own[own["part"].isin(PARTS)]
    sums = own.groupby(["document", "part"])[["score", "tokens"]].sum().unstack("part").dropna()
    if not len(sums) or not set(PARTS) <= set(sums["score"]):
        return []
    found = []
    for part in PARTS:
        above, below = (sums[name][part].to_numpy(dtype=np.float64) for name in ("score", "tokens"))
        found.append(Described(corpus, whose, part + headings, bootstrap_ratio_interval(above, below, seed)))
    return found


def term_ratios(words: pd.DataFrame, prompts: pd.DataFrame, floors: Floors, seed: int = 0) -> tuple[Described, ...]:
    """Medical over other words by text: unmatched, matched, matched and adjusted, and adjusted with headings.

    Those without headings are the ratios of the claims on medical terms; here no labels are permuted.
    """
    found: list[Described] = []
    for corpus, whose in TEXTS:
        every = of_corpus(words, prompts, corpus, whose)
        plain = every[~every["format"].to_numpy(dtype=bool)]
        if not len(plain):
            continue
        own = _ratios(plain, floors, seed)
        if len(every) > len(plain) and own:
            adjusted = _ratios(every, floors, seed).get("matched and adjusted")
            own = {**own, **({f"adjusted, {WITH_HEADINGS}": adjusted} if adjusted else {})}
        found += [Described(corpus, whose, what, ratio) for what, ratio in own.items()]
    return tuple(found)


def _ratios(words: pd.DataFrame, floors: Floors, seed: int) -> dict[str, Estimate]:
    test = terms_test(words, floors, Settings(seed, n_permutations=1))
    if test is None:
        return {}
    raw = Estimate(test.raw_ratio, None, None, test.ratio.n)
    return {"unmatched": raw, "matched": test.ratio, "matched and adjusted": test.ratio_adjusted}


def frequent_words(words: pd.DataFrame, prompts: pd.DataFrame) -> pd.DataFrame:
    """Medical words of medical texts by mean score, of those seen at least 3 times outside headings.

    Returns:
        Columns `whose`, `form`, `category`, `count`, `mean_score` (ΣKL over its tokens, nats), highest first, and the
        last two `_with_headings`.
    """
    names = ["count", "mean_score"]
    columns = ["whose", "form", "category", *names, *(f"{name}_with_headings" for name in names)]
    if not {"form", "category"} <= set(words):
        return pd.DataFrame(columns=columns)
    own = of_corpus(words, prompts, "medical")
    own = own[own["medical"].to_numpy(dtype=bool)].fillna({"category": ""})
    plain, counted = (
        kind.groupby(["whose", "form", "category"])["score"].agg(["size", "mean"])
        for kind in (own[~own["format"].to_numpy(dtype=bool)], own)
    )
    grouped = plain[plain["size"] >= FEWEST_OF_A_WORD].join(counted.add_suffix("_counted")).reset_index()
    found = grouped.set_axis(columns, axis=1).sort_values(["mean_score", "form"], ascending=[False, True])
    return found.reset_index(drop=True)


def per_answer(answers: pd.DataFrame, prompts: pd.DataFrame) -> Mapping[tuple[str, str], pd.DataFrame]:
    """Connectives and KL per token of each text that the claims on explanations are about, by corpus and whose."""
    found = {}
    for corpus, whose in TEXTS:
        own = of_corpus(answers, prompts, corpus, whose)
        if len(own):
            found[corpus, whose] = own.assign(kl=own["kl_sum"] / own["tokens"])[["document", "connectives", "kl"]]
    return found


def _texts(frame: pd.DataFrame, prompts: pd.DataFrame) -> list[tuple[str, str]]:
    """Corpora and texts of which there are rows."""
    wanted = [(corpus, whose) for corpus in KINDS for whose in ("reference", "base", "hybrid", "tuned")]
    return [text for text in wanted if len(of_corpus(frame, prompts, *text))]
