"""The text the Layers page is timed on: a chat prompt of so many tokens and as many of the fine-tuned model's own.

Knows prompts and greedy decoding; takes no times.
"""

from dataclasses import dataclass

from core.generate.lanes import Decoding
from core.generate.sampling import Sampling
from core.pair.pair import Pair
from core.pair.prompts import Message

QUESTION = (
    "A 67-year-old man with type 2 diabetes and high blood pressure comes to the emergency department because of "
    "chest tightness that began two hours ago while he was climbing stairs. He is short of breath and sweating. His "
    "pulse is 104 per minute, his blood pressure 158 over 94, and he takes metformin, lisinopril and a small dose of "
    "aspirin every day. He stopped smoking six years ago, and his father died of a heart attack at the age of 59. "
    "The first electrocardiogram shows depression of the ST segment in three leads. Explain step by step which "
    "conditions have to be considered, which tests are needed, and what should be done first."
)
_KEPT_AT_END = 24


@dataclass(frozen=True)
class LayerText:
    """Prompt and answer.

    Attributes:
        ids: of both.
        n_prompt: how many are the prompt's.
    """

    ids: tuple[int, ...]
    n_prompt: int

    @property
    def predicted(self) -> range:
        """Indices of the answer's tokens."""
        return range(self.n_prompt, len(self.ids))

    @property
    def where(self) -> list[int]:
        """Positions whose predictions these are, each one before its token."""
        return [index - 1 for index in self.predicted]


def layer_text(pair: Pair, n_prompt: int = 64, n_answer: int = 64) -> LayerText:
    """A chat prompt, cut in its middle to so many tokens, and the fine-tuned model's greedy answer to it.

    Raises:
        ValueError: the prompt is too short, or the answer ends too early.
    """
    whole = pair.prompts.chat([Message(role="user", content=QUESTION)]).ids
    prompt = (*whole[: n_prompt - _KEPT_AT_END], *whole[-_KEPT_AT_END:])
    decoding = Decoding(pair, prompt, pair.tuned_gates(), Sampling(), n_answer)
    for _ in decoding:
        pass
    answer = tuple(decoding.tokens[0])
    if len(whole) < n_prompt or len(answer) < n_answer:
        raise ValueError(f"The prompt has {len(whole)} tokens, the answer {len(answer)}; a longer question is needed.")
    return LayerText((*prompt, *answer), n_prompt)
