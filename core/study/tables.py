"""The tables of a study: every column once, with its unit and its meaning.

One row is one observation; documents tie the tables together. Knows names and kinds; computes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from core.errors import ArgumentError, DataError


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        kind: `text`, `integer`, `number` or `flag`.
        unit: of numbers; empty where there is none.
        meaning: what stands in it.
    """

    kind: str
    unit: str
    meaning: str


_DOCUMENT = Column("text", "", "id of the prompt; what is resampled")
_SCORED = "over the reasoning and answer tokens of the text, without format and end-of-turn tokens"

TABLES: dict[str, dict[str, Column]] = {
    "prompts": {
        "document": _DOCUMENT,
        "corpus": Column("text", "", "`medical` or `general`"),
        "twin": Column("text", "", "id of the prompt of the other corpus that pairs with it in form; empty if none"),
        "field": Column("text", "", "specialty or subject"),
        "style": Column("text", "", "`fact` or `explanation`, as the prompt asks"),
    },
    "answers": {
        "document": _DOCUMENT,
        "whose": Column(
            "text", "", "whose text it is: `reference`, `base`, `hybrid` or `tuned`; one row a document and text"
        ),
        "tokens": Column("integer", "tokens", f"how many are scored: {_SCORED}"),
        "kl_sum": Column("number", "nats", f"ΣKL(tuned‖base) {_SCORED}"),
        "kl_reverse_sum": Column("number", "nats", f"ΣKL(base‖tuned) {_SCORED}"),
        "nll_base_sum": Column("number", "nats", f"−Σ ln p of the text under base {_SCORED}"),
        "nll_tuned_sum": Column("number", "nats", f"−Σ ln p of the text under the fine-tuned model {_SCORED}"),
        "connectives": Column("number", "per 100 words", "causal and contrastive connectives (core/study/explanation)"),
        "reasoning_share": Column("number", "0..1", "share of its words that are reasoning"),
    },
    "words": {
        "document": _DOCUMENT,
        "whose": Column("text", "", "as in `answers`"),
        "word": Column("integer", "", "number of the word in its text, from 0"),
        "score": Column("number", "nats", "ΣKL(tuned‖base) over its tokens"),
        "medical": Column("flag", "", "whether the tagger calls it a medical term or part of one"),
        "format": Column("flag", "", "whether it belongs to a fixed heading; such words are left out of tests"),
        "base_entropy": Column("number", "nats", "entropy of base's prediction of its first token"),
        "frequency": Column("number", "ln", "logarithm of its form's relative frequency in everyday English"),
        "position": Column("number", "0..1", "its place in the text, 0 the first word, 1 the last"),
        "tokens": Column("integer", "tokens", "how many tokens it is made of"),
    },
    "layers": {
        "document": _DOCUMENT,
        "whose": Column("text", "", "whose text it is: `reference`, or `tuned` where there is none"),
        "adapter": Column("integer", "", "0 is the fine-tune, 1, 2, … are random adapters with its singular values"),
        "kind": Column(
            "text", "", "how layers were grafted: `single`, `without`, `prefix`, `suffix`, `window-3` or `window-5`"
        ),
        "layer": Column("integer", "", "which layer, from 0"),
        "kl_sum": Column("number", "nats", "ΣKL(tuned‖hybrid) over the scored tokens; tuned is base with that adapter"),
        "kl_base_sum": Column("number", "nats", "ΣKL(tuned‖base) over the same tokens, with the same adapter"),
        "tokens": Column("integer", "tokens", "how many are scored"),
    },
    "nested_sets": {
        "document": _DOCUMENT,
        "half": Column("integer", "", "of the swept prompts: 0 or 1; the sets were ranked on this half"),
        "by": Column("text", "", "what the set is made of: `layer`, or `part` (attention or MLP of a layer)"),
        "size": Column("integer", "", "how many of them; each set holds the smaller ones"),
        "kl_sum": Column("number", "nats", "ΣKL(tuned‖hybrid) over the scored tokens"),
        "kl_base_sum": Column("number", "nats", "ΣKL(tuned‖base) over the same tokens"),
        "tokens": Column("integer", "tokens", "how many are scored"),
    },
    "sets": {
        "document": _DOCUMENT,
        "found_on": Column("integer", "", "half on which the set was found; the document is in the other one"),
        "by": Column("text", "", "as in `nested_sets`"),
        "reach": Column("number", "0..1", "recovery for which it was found"),
        "number": Column("integer", "", "0 is the set found, 1, 2, … are random sets of its size"),
        "size": Column("integer", "", "how many layers or parts it has"),
        "units": Column("text", "", "which"),
        "kl_sum": Column("number", "nats", "ΣKL(tuned‖hybrid) over the scored tokens"),
        "kl_base_sum": Column("number", "nats", "ΣKL(tuned‖base) over the same tokens"),
        "tokens": Column("integer", "tokens", "how many are scored"),
    },
    "adapter_sets": {
        "document": _DOCUMENT,
        "found_on": Column("integer", "", "half on which the set was found; the document is in the other one"),
        "by": Column("text", "", "as in `nested_sets`; always `layer`"),
        "reach": Column("number", "0..1", "recovery for which the study's set of this size was found"),
        "adapter": Column("integer", "", "0 is the fine-tune, 1, 2, … are random adapters; each has its own set"),
        "size": Column("integer", "", "how many layers it has"),
        "kl_sum": Column("number", "nats", "ΣKL(tuned‖hybrid) over the scored tokens; tuned is base with the adapter"),
        "kl_base_sum": Column("number", "nats", "ΣKL(tuned‖base) over the same tokens, with the same adapter"),
        "tokens": Column("integer", "tokens", "how many are scored"),
    },
    "representations": {
        "document": _DOCUMENT,
        "whose": Column("text", "", "whose text it is: `reference`, or `tuned` where there is none"),
        "layer": Column("integer", "", "after which layer the states are taken, from 0"),
        "drift_norm": Column("number", "ratio", "mean over tokens of ‖h_t − h_b‖/‖h_b‖, position 0 left out"),
        "drift_cosine": Column("number", "0..2", "mean over tokens of 1 − cos(h_t, h_b), position 0 left out"),
        "tokens": Column("integer", "tokens", "over how many tokens"),
    },
    "similarity": {
        "corpus": Column("text", "", "`medical` or `general`; compare equal numbers of tokens"),
        "layer": Column("integer", "", "after which layer the states are taken, from 0"),
        "cka_unbiased": Column("number", "up to 1", "unbiased linear CKA of both models' mean states, one a prompt"),
        "documents": Column("integer", "", "over how many prompts"),
    },
    "choices": {
        "document": Column("text", "", "id of the question"),
        "corpus": Column("text", "", "`medical` or `general`"),
        "right": Column("text", "", "letter of the right option"),
        "base": Column("text", "", "letter that base gives the highest probability"),
        "tuned": Column("text", "", "letter that the fine-tuned model gives the highest probability"),
        "p_right_base": Column("number", "0..1", "probability base gives the right letter"),
        "p_right_tuned": Column("number", "0..1", "probability the fine-tuned model gives the right letter"),
        "options": Column("integer", "", "how many options there are"),
    },
}

WITH_HEADINGS = ("kl_sum_with_format", "tokens_with_format")
"""Columns of `answers` that are kept where there are such: ΣKL(tuned‖base) and tokens with headings counted in."""
BY_PART = {
    part: (f"nll_base_{part}_sum", f"nll_tuned_{part}_sum", f"{part}_tokens") for part in ("reasoning", "answer")
}
"""Part → columns of `answers` that are kept too: −Σ ln p under either model and tokens of it alone; with gaps where a
text has none of it."""
_KEPT = (*WITH_HEADINGS, *(column for columns in BY_PART.values() for column in columns))
KEYS = {
    "prompts": ("document",),
    "answers": ("document", "whose"),
    "words": ("document", "whose", "word"),
    "layers": ("document", "adapter", "kind", "layer"),
    "nested_sets": ("document", "by", "size"),
    "sets": ("document", "by", "reach", "number"),
    "adapter_sets": ("document", "by", "reach", "adapter"),
    "representations": ("document", "layer"),
    "similarity": ("corpus", "layer"),
    "choices": ("document",),
}
_DTYPES = {"text": "object", "integer": "int64", "number": "float64", "flag": "bool"}
_IS_KIND = {
    "text": lambda values: pd.api.types.is_object_dtype(values) or pd.api.types.is_string_dtype(values),
    "integer": pd.api.types.is_integer_dtype,
    "number": pd.api.types.is_numeric_dtype,
    "flag": pd.api.types.is_bool_dtype,
}


def empty_table(name: str) -> pd.DataFrame:
    """A table with its columns and no rows.

    Raises:
        ArgumentError: there is no such table.
    """
    return pd.DataFrame({column: pd.Series(dtype=_DTYPES[c.kind]) for column, c in _columns(name).items()})


def checked(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """The columns of a table, in order, after a look at them; of others `WITH_HEADINGS` and `BY_PART` alone are kept.

    Raises:
        ArgumentError: there is no such table.
        DataError: a column is missing, of another kind or has gaps, or two rows have the same key.
    """
    columns = _columns(name)
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise DataError(f"The table {name} lacks {', '.join(missing)}.", "Run the study again.")
    more = [column for column in _KEPT if name == "answers" and column in frame.columns]
    found = frame[[*columns, *more]]
    for column, of in columns.items():
        if len(found) and not _IS_KIND[of.kind](found[column]):
            raise DataError(f"{name}.{column} holds {found[column].dtype}, not {of.kind}.", "Run the study again.")
        if found[column].isna().any():
            raise DataError(f"{name}.{column} has {int(found[column].isna().sum())} gaps.", "Leave such rows out.")
    twice = found[found.duplicated(list(KEYS[name]))]
    if len(twice):
        key = ", ".join(f"{column} {twice.iloc[0][column]}" for column in KEYS[name])
        raise DataError(f"The table {name} has two rows for {key}.", "One row is one observation.")
    return found


def checked_tables(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """All tables checked, those that are not given empty.

    Raises:
        ArgumentError: a name is none of the tables'.
        DataError: see `checked`.
    """
    for name in tables:
        _columns(name)
    return {name: checked(tables[name], name) if name in tables else empty_table(name) for name in TABLES}


def _columns(name: str) -> dict[str, Column]:
    if name not in TABLES:
        raise ArgumentError(f"There is no table {name!r}.", f"The tables are {', '.join(TABLES)}.")
    return TABLES[name]
