"""A text whose layers are questioned: token ids, parts, and which predictions count.

Knows texts and masks; computes nothing.
"""

from dataclasses import dataclass

from core.errors import PromptError, TooLongError
from core.pair.pair import Pair
from core.pair.parts import MASKS, Mask, Part
from pages._shared.texts import Text


@dataclass(frozen=True)
class LayerText:
    """A text with the positions that count.

    Attributes:
        label, question: whose text it is, and what was asked.
        ids, parts: prompt and answer.
        n_prompt: tokens of the prompt.
        mask: which parts count.
        predicted: indices of the tokens that do.
    """

    label: str
    question: str
    ids: tuple[int, ...]
    parts: tuple[Part, ...]
    n_prompt: int
    mask: Mask
    predicted: tuple[int, ...]


def layer_text(pair: Pair, text: Text, mask: Mask) -> LayerText:
    """A text under a mask.

    Raises:
        TooLongError: it exceeds the context.
        PromptError: no token of it lies in the mask.
    """
    parts = (*text.prompt.parts, *pair.prompts.answer_parts(text.ids, text.prompt).parts)
    if len(parts) > pair.max_positions:
        raise TooLongError(
            f"Question and answer have {len(parts):,} tokens.", f"The context holds {pair.max_positions:,}."
        )
    predicted = tuple(pos for pos, part in enumerate(parts) if pos and part in MASKS[mask])
    if not predicted:
        raise PromptError("This text has no such part.", "Choose another part of the text.")
    ids = (*text.prompt.ids, *text.ids)
    return LayerText(text.label, text.question, ids, parts, len(text.prompt.ids), mask, predicted)
