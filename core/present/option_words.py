"""The letters models would choose of a question's options, in plain sentences and rows.

Knows letters and their probabilities; knows no right answer.
"""

from collections.abc import Mapping

from core.measure.multiple_choice import LetterChoice, flips
from core.measure.options import Options
from core.present.texts import percent, two_digits

LITTLE = 0.5  # of a model's probability on all letters together: below it, it would rather begin with something else
LIMITS = (
    "The question is put once more, on its own, with the request to answer with a letter only; nothing is written. "
    "Shares are of the letters' probability alone. Which letter is right is not known here."
)
SKIPPED = "The chat template opens a reasoning; it was closed empty, so these are letters without thinking first."


def option_words(choices: Mapping[str, LetterChoice], called: Mapping[str, str]) -> str:
    """Which letter base and fine-tuned model choose, whether it flipped, and which hybrids flip it.

    Args:
        choices: by lane, base first.
        called: lane → its name.
    """
    flipped = [name for name, _ in _flipped(choices)]
    base, tuned = choices["base"], choices["tuned"]
    of_base, of_tuned = (percent(max(choice.probabilities)) for choice in (base, tuned))
    if "tuned" in flipped:
        first = (
            f"Asked once more for a letter only, Base puts {base.chosen} first ({of_base}), Fine-tuned {tuned.chosen} "
            f"({of_tuned}): the letter flipped."
        )
    else:
        first = (
            f"Asked once more for a letter only, Base and Fine-tuned both put {base.chosen} first ({of_base} and "
            f"{of_tuned})."
        )
    hybrids = [name for name in choices if name not in ("base", "tuned")]
    said = [
        f"{called[name]} "
        + (f"flips it to {choices[name].chosen}." if name in flipped else f"stays with {base.chosen}.")
        for name in hybrids
    ]
    ties = [called[name] for name, choice in choices.items() if _tied(choice)]
    if ties:
        said.append(f"For {' and '.join(ties)} two letters are as good as tied: which comes first is numerical noise.")
    return " ".join([first, *said])


def mass_warnings(choices: Mapping[str, LetterChoice], called: Mapping[str, str]) -> tuple[str, ...]:
    """One sentence for each model that would rather not answer with a letter."""
    return tuple(
        f"{called[name]} would rather not answer with a letter: {_at_most(choice.mass)} of its probability falls "
        "on letters, so its choice among them says little."
        for name, choice in choices.items()
        if choice.mass < LITTLE
    )


def option_rows(choices: Mapping[str, LetterChoice], called: Mapping[str, str]) -> list[dict[str, str]]:
    """One row a lane: each letter's share, the letter chosen, whether that is base's, and the letters' whole share."""
    flipped = dict(_flipped(choices))
    return [
        {"model": called[name]}
        | {letter: percent(p) for letter, p in zip(choice.letters, choice.probabilities, strict=True)}
        | {
            "chooses": choice.chosen,
            "against Base": "–" if name == "base" else "flipped" if name in flipped else "the same",
            "on letters at all": percent(choice.mass),
            "± noise": two_digits(choice.noise),
        }
        for name, choice in choices.items()
    ]


def option_texts(options: Options) -> str:
    """What each letter stands for, in a line."""
    return " · ".join(
        f"{letter}: {' '.join(text.split())}" for letter, text in zip(options.letters, options.texts, strict=True)
    )


def _at_most(share: float) -> str:
    shown = percent(share)
    return f"less than {shown[2:]}" if shown.startswith("<") else f"only {shown}"


def _flipped(choices: Mapping[str, LetterChoice]) -> list[tuple[str, LetterChoice]]:
    lanes = list(choices.items())
    return [lanes[row] for row in flips(list(choices.values()))]


def _tied(choice: LetterChoice) -> bool:
    first, second = sorted(choice.probabilities, reverse=True)[:2]
    return first - second <= (choice.noise or 0.0)
