"""How much work each piece of a study is, so that the time left counts what is left and not how many.

The unit is one forward pass of a prompt with some layers grafted. The weights are what the demo pair took on two cores;
they decide an estimate and no figure. Knows settings and prompts; runs nothing.
"""

from core.study.prompts import StudyPrompt
from core.study.settings import REACHES, StudySettings

_TEXT = 11.0
"""Comparing both models on one text, every token over the whole vocabulary, once more for the noise; its words."""
_LETTERS = 6.0
_STATES = 2.0
_WRITTEN_TOKEN = 0.06
"""One token of both models' answers, of a prompt in a batch of eight."""
_GRAFTED = 0.5
"""Layers below the one grafted are read once for all grafts, so a sweep costs about half of its grafts."""
_SET = 0.75
_CURVES_AND_PARTS = 10
"""Grafts a layer in one sweep: alone, left out, from below, from above, in two windows; its attention and MLP alone and
left out."""
_CROSS = 10.0
"""Four texts under three models by two routes, and the hybrid's own text."""
_SMALLEST = 0.7
"""Of a set for each pair of layers, from below and from above together."""
_PATCH = 0.2
"""One layer at one position; what lies before it and below is not run."""
_QUESTION = 70
"""Tokens of a question with its template, where nobody has counted."""
_GRADIENTS = 31.0
"""Seven forward and backward passes; seventeen where six nodes miss."""
_ADAPTER = 5.0
"""Beginning with one more adapter: both of its ends, and their noise."""


def prompt_work(prompt: StudyPrompt, settings: StudySettings, n_layers: int) -> float:
    """Work of measuring a prompt."""
    row, asks = prompt.row, settings.measures
    work = 1.0
    work += _TEXT * bool(row.answer and asks("reference"))
    work += (2 * _TEXT + _WRITTEN_TOKEN * settings.max_new_tokens) * asks("answers")
    work += (_CROSS + _TEXT + _WRITTEN_TOKEN / 2 * settings.max_new_tokens) * asks("cross")
    work += _LETTERS * (1 + prompt.doubted) * bool(row.letter and asks("letters"))
    work += _STATES * asks("representations")
    if prompt.swept:
        work += _GRAFTED * n_layers * _CURVES_AND_PARTS * asks("layers")
        work += _SET * (_SMALLEST * n_layers**2 + 4 * settings.random_sets) * asks("smallest")
        work += _PATCH * n_layers * (_QUESTION + settings.sweep_tokens) * asks("patches")
        work += _GRADIENTS * asks("attribution")
        work += _GRAFTED * n_layers * 2 * settings.permutations * asks("shapley")
    if prompt.controlled and asks("controls"):
        work += settings.random_adapters * (_ADAPTER + _GRAFTED * n_layers * len(settings.control_kinds))
    return work


def visit_work(table: str, settings: StudySettings, n_layers: int) -> float:
    """Work of one visit for sets of layers.

    Args:
        table: one of `VISITED`.
        settings: of the study.
        n_layers: of the pair.
    """
    layers = n_layers * sum({"layer": 1, "part": 2}[by] for by in settings.sets_by)
    reached = len(REACHES) * len(settings.sets_by)
    return {
        "nested_sets": _SET * layers,
        "sets": _SET * reached * (1 + settings.random_sets),
        "adapter_sets": (settings.random_adapters + 1) * (_ADAPTER + _SET * len(REACHES)),
    }[table]
