"""Turns questions and answers into token ids, and token ids back into lossless pieces of text.

Knows tokenizers and chat templates; runs no model. The same ids serve base and tuned model alike.
"""

import hashlib
import threading
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypedDict

from core.errors import PromptError, TooLongError
from core.pair.parts import THINK_CLOSE, THINK_OPEN, AnswerParts, Part, answer_parts
from core.pair.pieces import Piece, TokenBytes

_SENTINEL = "GRAFT·CONTENT·{}·"


class Message(TypedDict):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Prompt:
    """A question as the models see it.

    Attributes:
        ids: token ids, one beginning-of-text token at most.
        parts: the part of each token, `prompt` or `template`.
        opens_reasoning: whether the template ends by opening the reasoning.
    """

    ids: tuple[int, ...]
    parts: tuple[Part, ...]
    opens_reasoning: bool


class PromptBuilder:
    """Questions, answers and their parts, for one tokenizer.

    Args:
        tokenizer: a transformers tokenizer.
        end_ids: the ids that end a turn.
        max_positions: the model's context length.
    """

    def __init__(self, tokenizer: Any, end_ids: Sequence[int], max_positions: int) -> None:
        self.tokenizer = tokenizer
        self.end_ids = tuple(end_ids)
        self.max_positions = max_positions
        self._bytes = TokenBytes(tokenizer)
        self._lock = threading.Lock()

    @cached_property
    def template_sha256(self) -> str | None:
        """SHA-256 of the chat template's text; None where the tokenizer has none."""
        template = self.tokenizer.chat_template
        return hashlib.sha256(template.encode()).hexdigest() if template else None

    def chat(self, messages: Sequence[Message]) -> Prompt:
        """A conversation through the chat template, ready for the assistant's turn.

        Control tokens typed by people are encoded as plain text.

        Raises:
            PromptError: there is no chat template, or nothing was asked.
            TooLongError: the prompt alone fills the context.
        """
        if not messages or not messages[-1]["content"].strip():
            raise PromptError("The question is empty.", "Type a question.")
        if not self.tokenizer.chat_template:
            raise PromptError("This model has no chat template.", "Use raw text (--raw).")
        for message in messages:
            _check_encodable(message["content"])
        with self._lock:  # encoding sets switches on the shared tokenizer
            encoded = self.tokenizer.apply_chat_template(
                list(messages),
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                sanitize_control_tokens=True,
            )
        ids = tuple(encoded["input_ids"])
        self._check_length(len(ids))
        spans, rendered = self._content_spans(messages)
        parts = self._parts_of_spans(ids, spans, rendered)
        return Prompt(ids, parts, rendered.rstrip().endswith(THINK_OPEN))

    def raw(self, text: str) -> Prompt:
        """A text to continue, without chat template; typed control tokens are plain text.

        Raises:
            PromptError: the text is empty and the tokenizer adds no beginning-of-text token either.
            TooLongError: it fills the context.
        """
        _check_encodable(text)
        ids = (*self.tokenizer("")["input_ids"], *self._plain(text))
        if not text.strip():
            raise PromptError("The text to continue is empty.", "Type some text.")
        self._check_length(len(ids))
        special = set(self.tokenizer.all_special_ids)
        parts: tuple[Part, ...] = tuple("template" if i in special else "prompt" for i in ids)
        return Prompt(ids, parts, False)

    def answer_ids(self, text: str, end: bool = False) -> tuple[int, ...]:
        """Token ids of a given answer: tokenised apart from the prompt, unstripped, without special tokens.

        The reasoning marks `<think>` and `</think>` become the model's own tokens where it has them; every
        other control token is plain text.

        Args:
            text: the answer.
            end: append the end-of-turn token.

        Raises:
            PromptError: the answer is empty.
        """
        _check_encodable(text)
        if not text:
            raise PromptError("The answer to score is empty.", "Give at least one character.")
        marks = [mark for mark in (THINK_OPEN, THINK_CLOSE) if mark in self.tokenizer.get_added_vocab()]
        ids: list[int] = []
        for piece in _split_keeping(text, marks):
            ids += [self.tokenizer.convert_tokens_to_ids(piece)] if piece in marks else self._plain(piece)
        return (*ids, self.end_ids[0]) if end else tuple(ids)

    def check_ids(self, ids: Sequence[int]) -> tuple[int, ...]:
        """Ids given by hand.

        Raises:
            PromptError: there are none, or one is not in the vocabulary.
        """
        if not ids:
            raise PromptError("There are no answer ids.", "Give at least one.")
        size = len(self.tokenizer)
        wrong = [i for i in ids if not 0 <= i < size]
        if wrong:
            raise PromptError(f"Token id {wrong[0]} is not in the vocabulary of {size}.", "Check the ids.")
        return tuple(ids)

    def answer_parts(self, ids: Sequence[int], prompt: Prompt) -> AnswerParts:
        """The part of each token of an answer to `prompt`."""
        return answer_parts(
            [self._bytes(i) for i in ids], [i in self.end_ids for i in ids], opened=prompt.opens_reasoning
        )

    def pieces(self, ids: Sequence[int]) -> tuple[Piece, ...]:
        """Text and exact bytes of each token."""
        return tuple(self._bytes.piece(i) for i in ids)

    def text(self, ids: Sequence[int]) -> str:
        """The text of an answer, without its end-of-turn token."""
        joined = b"".join(self._bytes(i) for i in ids if i not in self.end_ids)
        return joined.decode("utf-8", errors="replace")

    def _plain(self, text: str) -> list[int]:
        """Ids of a text in which no control token is recognised, special or merely added (such as `<think>`)."""
        loose = [t.content for t in self.tokenizer.added_tokens_decoder.values() if not t.special]
        if not any(token in text for token in loose):
            with self._lock:
                ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            return ids
        backend = self.tokenizer.backend_tokenizer
        normal = backend.normalizer.normalize_str(text) if backend.normalizer else text
        before = backend.pre_tokenizer
        splits = [split for split, _ in before.pre_tokenize_str(normal)] if before else [normal]
        return [token.id for split in splits for token in backend.model.tokenize(split)]

    def _check_length(self, length: int) -> None:
        if length >= self.max_positions:
            raise TooLongError(
                f"The prompt has {length:,} tokens; this model's context holds {self.max_positions:,}.",
                "Shorten the question.",
            )

    def _content_spans(self, messages: Sequence[Message]) -> tuple[list[tuple[int, int]], str]:
        """Byte ranges of the messages' contents in the rendered prompt, and the rendered prompt.

        The template is rendered once more with a sentinel in place of each content; what stands between the
        sentinels is the template's own text. The pieces put together must give the rendered prompt again.
        """
        rendered = self._render(messages)
        sentinels = [_SENTINEL.format(number) for number in range(len(messages))]
        skeleton = self._render([Message(role=m["role"], content=s) for m, s in zip(messages, sentinels, strict=True)])
        spans: list[tuple[int, int]] = []
        position = 0
        for message, sentinel in zip(messages, sentinels, strict=True):
            before, found, skeleton = skeleton.partition(sentinel)
            content = message["content"]
            start = position + len(before)
            forms = (content, content.strip(), content.rpartition(THINK_CLOSE)[2])
            form = next((f for f in forms if rendered.startswith(before + f, position)), None)
            if not found or form is None:
                raise PromptError("The chat template changes the text it is given.", "Use raw text (--raw).")
            position = start + len(form)
            spans.append((start, position))
        if rendered[position:] != skeleton:
            raise PromptError("The chat template changes the text it is given.", "Use raw text (--raw).")
        return [(len(rendered[:a].encode()), len(rendered[:b].encode())) for a, b in spans], rendered

    def _render(self, messages: Sequence[Message]) -> str:
        rendered: str = self.tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
        return rendered

    def _parts_of_spans(self, ids: Sequence[int], spans: list[tuple[int, int]], rendered: str) -> tuple[Part, ...]:
        tokens = [self._bytes(i) for i in ids]
        total = b"".join(tokens)
        if total != rendered.encode():
            # A normalising tokenizer (Qwen2 composes characters): measure the spans in normalised text.
            pieces = [
                unicodedata.normalize("NFC", rendered.encode()[:edge].decode()) for span in spans for edge in span
            ]
            edges = [len(piece.encode()) for piece in pieces]
            spans = list(zip(edges[::2], edges[1::2], strict=True))
            if total != unicodedata.normalize("NFC", rendered).encode():
                raise PromptError("The tokenizer does not give the prompt's text back.", "Use plain characters.")
        parts: list[Part] = []
        offset = 0
        for token in tokens:
            inside = any(start <= offset < stop for start, stop in spans)
            parts.append("prompt" if inside else "template")
            offset += len(token)
        return tuple(parts)


def _split_keeping(text: str, marks: Sequence[str]) -> list[str]:
    """`text` cut at each mark, marks kept as pieces of their own."""
    pieces = [text]
    for mark in marks:
        pieces = [cut for piece in pieces for cut in _cut(piece, mark)]
    return [piece for piece in pieces if piece]


def _cut(piece: str, mark: str) -> list[str]:
    if piece == mark or mark not in piece:
        return [piece]
    head, _, tail = piece.partition(mark)
    return [head, mark, *_cut(tail, mark)]


# transformers marks control tokens with these while it sanitises a chat, and drops them from what people type.
_MARKERS = ("\U000f0000", "\U000f0001")


def _check_encodable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(
            f"The text holds a broken character at position {error.start}.", "Remove it and try again."
        ) from error
    if any(marker in text for marker in _MARKERS):
        raise PromptError("The text holds a private-use character (U+F0000 or U+F0001).", "Remove it and try again.")
