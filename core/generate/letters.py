"""Which option's letter each lane would begin its answer with, whatever kind of lane it is.

Knows which rows a lane is made of; the letters themselves are `core.measure.multiple_choice`'s business.
"""

from collections.abc import Callable, Sequence
from functools import partial

from core.generate.lane import Lane, gates_of, own_states, patches_of
from core.measure.multiple_choice import LetterChoice, letter_probabilities
from core.measure.options import Options
from core.pair.pair import Pair


def lane_letters(
    pair: Pair,
    question: str,
    options: Options,
    lanes: Sequence[Lane],
    system: str | None = None,
    progress: Callable[[float], None] | None = None,
) -> tuple[LetterChoice, ...]:
    """The letters of one question in each lane: patched lanes with their patches, amplified ones with their sum.

    Args:
        pair: the models.
        question: with its options, as a person wrote it.
        options: found in it.
        lanes: asked side by side.
        system: a system prompt.
        progress: told the share done, 0..1; may raise to stop.

    Returns:
        One result a lane.

    Raises:
        PromptError: there is no chat template, or the tokenizer cuts letters into pieces.
        TooLongError: the question does not fit the context.
    """
    own = partial(own_states, lanes)
    return letter_probabilities(pair, question, options, gates_of(lanes), system, progress, patches_of(lanes), own)
