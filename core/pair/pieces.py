"""The exact bytes behind each token id.

Decoding a token alone loses half characters; the bytes never do. Knows vocabularies only.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


@dataclass(frozen=True)
class Piece:
    """One token as text.

    Attributes:
        text: the bytes as UTF-8; U+FFFD where they are not valid on their own.
        bytes: the exact bytes, in hex.
    """

    text: str
    bytes: str


@cache
def _byte_of_character() -> dict[str, int]:
    """The printable stand-in of every byte in byte-level vocabularies.

    Source: Radford et al. 2019 (GPT-2), `bytes_to_unicode`: printable Latin-1 bytes stand for themselves, the
    others are numbered from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


class TokenBytes:
    """Looks up the bytes of token ids of one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._added = {i: token.content for i, token in tokenizer.added_tokens_decoder.items()}
        self._byte_level = "ByteLevel" in str(tokenizer.backend_tokenizer.decoder)
        self._known: dict[int, bytes] = {}

    def __call__(self, token_id: int) -> bytes:
        """The bytes of a token; of a special token, its name."""
        if token_id not in self._known:
            self._known[token_id] = self._look_up(token_id)
        return self._known[token_id]

    def _look_up(self, token_id: int) -> bytes:
        if token_id in self._added:
            return str(self._added[token_id]).encode()
        token: str | None = self._tokenizer.convert_ids_to_tokens(token_id)
        if token is None:  # an id past the vocabulary: some models pad their embedding
            return b""
        if self._byte_level:
            return bytes(_byte_of_character()[character] for character in token)
        byte = _BYTE_TOKEN.fullmatch(token)
        return bytes.fromhex(byte[1]) if byte else token.replace("\u2581", " ").encode()

    def piece(self, token_id: int) -> Piece:
        """Text and bytes of a token."""
        content = self(token_id)
        return Piece(content.decode("utf-8", errors="replace"), content.hex())
