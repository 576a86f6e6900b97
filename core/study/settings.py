"""Everything that decides what a study computes, as values that can be written down and read back.

Knows values only.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from core.errors import ArgumentError
from core.study.choice import CorpusChoice
from core.study.depth import CURVES

MEASUREMENTS: dict[str, str] = {
    "reference": "both models on the reference answer, token by token, summed up and by word",
    "answers": "what both models write themselves, and both models on it",
    "cross": "what a hybrid writes too, and every text under base, hybrid and fine-tuned model",
    "letters": "which option's letter each model would answer with",
    "layers": "layers grafted one by one, left out one by one, from below, from above, and in windows of three and "
    "five, on some prompts",
    "attribution": "what gradients say of every projection of every layer and of every position, on the same prompts",
    "shapley": "Shapley shares of every layer's attention and MLP, on the same prompts",
    "smallest": "the smallest sets of layers that bring back 80 % and 90 % of each prompt's change, sought from below "
    "and from above, beside random sets, on the same prompts",
    "patches": "what the state after each layer brings back at each single position, on the same prompts",
    "controls": "the layers again in random adapters, on a few prompts",
    "sets": "the smallest sets of layers that bring back 80 % and 90 %: found on one half of these prompts, scored on "
    "the other beside random sets and, with `controls`, beside random adapters' own sets",
    "part-sets": "the same of every layer's attention and MLP",
    "representations": "how far fine-tuning moved the states after every layer",
}
ADAPTERS_AT_MOST = 1000
REACHES = (0.8, 0.9)
"""Recoveries for which sets are sought."""
SETS = {"sets": "layer", "part-sets": "part"}
"""Measurement → what its sets are made of."""


@dataclass(frozen=True)
class StudySettings:
    """What a study measures.

    Attributes:
        corpora: which rows.
        seed: of the rows drawn, the prompts chosen for layers, the orders of Shapley shares, the random adapters and
            the noise under which both models draw.
        measurements: names out of `MEASUREMENTS`.
        system: a system prompt before every question; None for none.
        raw: no chat template: the models continue each question and a line break, or for letters a line with `Answer:`.
        max_new_tokens: at most so many tokens a written answer.
        hybrid: the layers grafted in the hybrid that writes too: `lower`, `middle` or `upper` third, or in the layer
            grammar.
        batch: prompts whose answers are decoded together. It decides nothing but rounding.
        sweep_prompts: of each kind, medical and general, so many prompts are drawn for layers.
        sweep_tokens: layers are measured on so many tokens of the text at most, counted from its first: of a
            reasoning, where it has one.
        permutations: orders behind the Shapley shares of each prompt.
        control_prompts: of each kind, so many of the prompts for layers are measured in random adapters too.
        control_kinds: which curves over layers: `single`, `without`, `prefix`. Every further one costs as much again.
        random_adapters: how many.
        random_sets: how many random sets stand beside each set found.
    """

    corpora: tuple[CorpusChoice, ...]
    seed: int = 0
    measurements: tuple[str, ...] = tuple(name for name in MEASUREMENTS if name != "part-sets")
    system: str | None = None
    raw: bool = False
    max_new_tokens: int = 96
    hybrid: str = "upper"
    batch: int = 8
    sweep_prompts: int = 40
    sweep_tokens: int = 96
    permutations: int = 2
    control_prompts: int = 6
    control_kinds: tuple[str, ...] = ("single",)
    random_adapters: int = 20
    random_sets: int = 20

    def __post_init__(self) -> None:
        if not self.corpora:
            raise ArgumentError("A study needs a corpus.", "Name at least one.")
        if self.raw and self.system:
            raise ArgumentError("Raw text takes no system prompt.", "Put everything into the questions.")
        unknown = [name for name in self.measurements if name not in MEASUREMENTS]
        if unknown or not self.measurements:
            raise ArgumentError(
                f"There is no measurement {unknown[0]!r}." if unknown else "Nothing is to be measured.",
                f"Choose from {', '.join(MEASUREMENTS)}.",
            )
        curves = [kind for kind in self.control_kinds if kind not in CURVES]
        if curves or not self.control_kinds:
            raise ArgumentError(
                f"There is no curve {curves[0]!r}." if curves else "Random adapters have no curve to measure.",
                f"Choose from {', '.join(CURVES)}.",
            )
        if self.measures("cross") and not self.measures("answers"):
            raise ArgumentError("A hybrid writes beside the two models.", "Measure answers too.")
        if self.measures("controls") and not self.measures("layers"):
            raise ArgumentError(
                "Controls are layers in random adapters, to be held against the fine-tune's own.",
                "Measure layers too, or leave controls out.",
            )
        if self.measures("attribution") and not self.measures("layers"):
            raise ArgumentError("Attributions are held against what layers bring back.", "Measure layers too.")
        if self.sets_by and not self.measures("layers"):
            raise ArgumentError("Sets are made of what layers bring back.", "Measure layers too.")
        for name in ("max_new_tokens", "batch", "sweep_tokens"):
            if getattr(self, name) < 1:
                raise ArgumentError(f"{name} is {getattr(self, name)}.", "Give at least 1.")
        if self.random_adapters > ADAPTERS_AT_MOST:
            raise ArgumentError(
                f"random_adapters is {self.random_adapters:,}.", f"Ask for at most {ADAPTERS_AT_MOST:,}."
            )
        for name in ("sweep_prompts", "permutations", "control_prompts", "random_adapters", "random_sets", "seed"):
            if getattr(self, name) < 0:
                raise ArgumentError(f"{name} is {getattr(self, name)}.", "Give 0 or more.")

    def adapter_seed(self, number: int) -> int:
        """Seed of a random adapter, numbered from 1; studies with other seeds have other adapters."""
        return ADAPTERS_AT_MOST * self.seed + number - 1

    def measures(self, name: str) -> bool:
        """Whether a measurement is made."""
        return name in self.measurements

    @property
    def sweeps(self) -> bool:
        """Whether anything is measured on the prompts drawn for layers."""
        return any(map(self.measures, ("layers", "attribution", "shapley", "smallest", "patches")))

    @property
    def writes(self) -> str | None:
        """The layers of the hybrid that writes too; None where none does."""
        return self.hybrid if self.measures("cross") else None

    @property
    def sets_by(self) -> tuple[str, ...]:
        """What sets are made of: `layer`, `part`, both or nothing."""
        return tuple(by for name, by in SETS.items() if self.measures(name))

    @property
    def compares_adapters(self) -> bool:
        """Whether sets of layers are sought in random adapters too."""
        return "layer" in self.sets_by and self.measures("controls") and "single" in self.control_kinds

    @property
    def sha256(self) -> str:
        """Of the settings as they are written down; where a file lies is part of them, what it holds is not."""
        return hashlib.sha256(json.dumps(to_plain(self), sort_keys=True).encode()).hexdigest()


def to_plain(settings: StudySettings) -> dict[str, Any]:
    """Settings as JSON values."""
    found: dict[str, Any] = json.loads(json.dumps(asdict(settings), default=str))
    return found


def from_plain(values: Mapping[str, Any]) -> StudySettings:
    """Settings from JSON values.

    Raises:
        ArgumentError: they are not what `to_plain` writes.
    """
    try:
        corpora = tuple(_corpus(one) for one in values["corpora"])
        known = {field.name for field in fields(StudySettings)} - {"corpora"}
        if set(values) - known - {"corpora"}:
            raise KeyError(sorted(set(values) - known - {"corpora"})[0])
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return StudySettings(**(plain | {"corpora": corpora}))
    except (KeyError, TypeError, ValueError) as error:
        raise ArgumentError(f"These are no settings of a study: {error}.", "Start the study anew.") from error


def _corpus(values: Mapping[str, Any]) -> CorpusChoice:
    only = values["only"]
    return CorpusChoice(
        **{
            **values,
            "path": Path(values["path"]),
            "columns": tuple((field, column) for field, column in values["columns"]),
            "only": None if only is None else (only[0], tuple(only[1])),
            "fixed_options": tuple(values["fixed_options"]),
        }
    )
