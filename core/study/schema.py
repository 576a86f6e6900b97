"""The columns of the tables a study leaves, and their types in parquet.

Knows names and types; what is in the columns says docs/study.md, and whoever fills them.
"""

from typing import Any

SCHEMA = 7
"""Form of `study.json`, the journal and the tables; a study of another form does not go on."""
READABLE = (2, 3, 4, 5, 6, 7)
"""Forms whose reports are written: earlier ones have less in them."""

Row = dict[str, Any]
Tables = dict[str, list[Row]]

_METRICS = ("js", "js_distance", "tv", "entropy_base", "entropy_tuned")
_KEY = {"document": "text", "corpus": "text", "source": "text"}

TABLES: dict[str, dict[str, str]] = {
    "prompts": {
        **_KEY, "id": "text", "twin": "text", "field": "text", "style": "text", "question": "text", "reference": "text",
        "reasoning": "text", "options": "integer", "letter": "text", "prompt_tokens": "integer", "swept": "flag",
        "controlled": "flag", "left_out": "text",
    },
    "answers": {
        **_KEY, "whose": "text", "text": "text", "ids": "integers", "finished": "text", "tokens": "integer",
        "kl_sum": "number", "kl_reverse_sum": "number", "nll_base_sum": "number", "nll_tuned_sum": "number",
        "kl_reverse_noise": "number", "kl_question_sum": "number", "question_tokens": "integer",
        "kl_median": "number", "kl_p95": "number", "kl_p99": "number", "kl_max": "number",
        "kl_noise": "number", "kl_sum_with_format": "number", "tokens_with_format": "integer",
        **{f"{name}_{figure}": "number" for name in _METRICS for figure in ("mean", "noise")},
        "top_1pct": "number", "top_5pct": "number", "top_10pct": "number", "tokens_for_50pct": "number",
        "tokens_for_80pct": "number", "agreement": "number", "unshifted": "number", "marginal": "number",
        "shifted": "number", "reasoning_text": "text", "answer_text": "text", "reasoning_tokens": "integer",
        "answer_tokens": "integer", "reasoning_finished": "flag",
        "words": "integer", "reasoning_share": "number", "connectives": "number", "medical_terms": "integer",
        "repetition": "number", "first_divergence": "integer", "kl_first_divergence": "number",
        "first_base": "text", "first_tuned": "text", "end_base_mean": "number", "end_tuned_mean": "number",
        "nll_base_reasoning_sum": "number", "nll_tuned_reasoning_sum": "number", "nll_base_answer_sum": "number",
        "nll_tuned_answer_sum": "number",
    },
    "cross": {
        **_KEY, "whose": "text", "model": "text", "tokens": "integer", "nll_sum": "number", "nll_noise": "number",
    },
    "tokens": {
        **_KEY, "whose": "text", "token": "integer", "id": "integer", "text": "text", "part": "text", "kl": "number",
        "kl_reverse": "number", "js": "number", "tv": "number", "entropy_base": "number", "entropy_tuned": "number",
        "logp_base": "number", "logp_tuned": "number", "rank_base": "integer", "rank_tuned": "integer",
        "end_base": "number", "end_tuned": "number", "first_base": "text", "first_base_id": "integer",
        "first_tuned": "text", "first_tuned_id": "integer", "parted": "flag", "gained": "text",
        "gained_term": "number", "lost": "text", "lost_term": "number",
    },
    "words": {
        **_KEY, "whose": "text", "word": "integer", "text": "text", "form": "text", "part": "text", "medical": "flag",
        "category": "text", "format": "flag", "first_token": "integer", "tokens": "integer", "position": "number",
        "frequency": "number",
        "score": "number", "kl_reverse": "number", "js": "number", "delta_logp": "number", "base_entropy": "number",
        "tuned_entropy": "number", "rank_class": "number",
    },
    "layers": {
        **_KEY, "whose": "text", "adapter": "integer", "kind": "text", "layer": "integer", "tokens": "integer",
        "kl_sum": "number", "kl_base_sum": "number", "recovery": "number", "recovery_noise": "number",
        "logit_difference_recovery": "number", "logp_recovery": "number",
    },
    "parts": {
        **_KEY, "whose": "text", "kind": "text", "layer": "integer", "part": "text", "tokens": "integer",
        "kl_sum": "number", "kl_base_sum": "number", "recovery": "number", "recovery_noise": "number",
        "logit_difference_recovery": "number", "logp_recovery": "number",
    },
    "attribution": {
        **_KEY, "whose": "text", "layer": "integer", "projection": "text", "tokens": "integer", "slope": "number",
        "attribution": "number", "completeness_error": "number", "kl_base_sum": "number",
    },
    "positions": {
        **_KEY, "whose": "text", "position": "integer", "id": "integer", "text": "text", "part": "text",
        "attn": "number", "mlp": "number",
    },
    "shapley": {
        **_KEY, "whose": "text", "layer": "integer", "part": "text", "share": "number", "se": "number",
        "permutations": "integer",
    },
    "smallest": {
        **_KEY, "whose": "text", "method": "text", "reach": "number", "size": "integer", "units": "text",
        "tokens": "integer", "kl_sum": "number", "kl_base_sum": "number", "recovery": "number",
        "recovery_noise": "number", "random_mean": "number", "random_sd": "number", "random_sets": "integer",
    },
    "patches": {
        **_KEY, "whose": "text", "layer": "integer", "position": "integer", "part": "text", "tokens": "integer",
        "kl_sum": "number", "kl_base_sum": "number", "recovery": "number", "logit_difference_recovery": "number",
    },
    "nested_sets": {
        **_KEY, "whose": "text", "half": "integer", "found_on": "integer", "by": "text", "size": "integer",
        "units": "text", "tokens": "integer", "kl_sum": "number", "kl_base_sum": "number", "recovery": "number",
    },
    "sets": {
        **_KEY, "whose": "text", "half": "integer", "found_on": "integer", "by": "text", "reach": "number",
        "number": "integer", "size": "integer", "units": "text", "tokens": "integer", "kl_sum": "number",
        "kl_base_sum": "number", "recovery": "number",
    },
    "adapter_sets": {
        **_KEY, "whose": "text", "half": "integer", "found_on": "integer", "by": "text", "reach": "number",
        "adapter": "integer", "size": "integer", "units": "text", "tokens": "integer", "kl_sum": "number",
        "kl_base_sum": "number", "recovery": "number",
    },
    "representations": {
        **_KEY, "whose": "text", "layer": "integer", "tokens": "integer", "drift_norm": "number",
        "drift_cosine": "number",
    },
    "similarity": {
        "corpus": "text", "layer": "integer", "documents": "integer", "tokens": "integer", "cka": "number",
        "cka_unbiased": "number",
    },
    "choices": {
        **_KEY, "options": "integer", "right": "text", "base": "text", "tuned": "text", "p_right_base": "number",
        "p_right_tuned": "number", "mass_base": "number", "mass_tuned": "number", "noise_base": "number",
        "noise_tuned": "number",
    },
}  # fmt: skip
SUMMED_UP = ("similarity",)
"""Tables made of the whole study; all others grow prompt by prompt."""
VISITED = ("nested_sets", "sets", "adapter_sets")
"""Tables for which prompts are visited again, in this order, when all of them have been measured."""


def parquet_schema(table: str) -> Any:
    """The table's columns as a pyarrow schema."""
    import pyarrow as pa

    types = {
        "text": pa.string(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "flag": pa.bool_(),
        "integers": pa.list_(pa.int32()),
    }
    return pa.schema([(name, types[kind]) for name, kind in TABLES[table].items()])
