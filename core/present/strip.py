"""An answer as the token strip draws it: display texts, values, parts, and what to show on hover.

Turns scores into small JSON; the browser only draws. Knows scores and colours; knows no widgets.
"""

import codecs
from collections.abc import Iterator, Sequence
from typing import Any

from core.measure.metrics import DEFAULT_COLOUR, METRICS
from core.measure.tokens import Choice, TokenScore
from core.present.colour import SPEAKERS, stops

HOVER_CHOICES = 5


def display_texts(pieces: Sequence[bytes]) -> list[str]:
    """Texts to show for consecutive tokens.

    Each character stands at the token its first byte lies in; a token that only continues a character shows nothing.
    """
    owners = [index for index, piece in enumerate(pieces) for _ in piece]
    texts = [""] * len(pieces)
    offset = 0
    for character, length in _characters(b"".join(pieces)):
        texts[owners[offset]] += character
        offset += length
    return texts


def _characters(text: bytes) -> Iterator[tuple[str, int]]:
    """The characters of a text with the number of bytes each takes; U+FFFD for bytes that are not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="strict")
    start = 0
    for stop in range(1, len(text) + 1):
        try:
            decoded = decoder.decode(text[stop - 1 : stop])
        except UnicodeDecodeError:
            # What was pending is broken; the byte in hand may begin something new.
            decoder.reset()
            if stop - 1 > start:
                yield "\ufffd", stop - 1 - start
                start = stop - 1
            try:
                decoded = decoder.decode(text[start:stop])
            except UnicodeDecodeError:
                decoder.reset()
                decoded = "\ufffd"
        if decoded:
            yield decoded, stop - start
            start = stop
    if start < len(text):
        yield "\ufffd", len(text) - start


def scale(metric_name: str = DEFAULT_COLOUR) -> dict[str, Any]:
    """A metric's fixed scale for the browser: label, ends, colours of both themes."""
    metric = METRICS[metric_name]
    return {
        "label": metric.label,
        "plain": metric.plain,
        "unit": metric.unit,
        "domain": list(metric.domain),
        "light": list(stops(metric, "light")),
        "dark": list(stops(metric, "dark")),
    }


def strip(
    speaker: str,
    title: str,
    tokens: Sequence[TokenScore],
    noise: float,
    *,
    metric_name: str = DEFAULT_COLOUR,
    parted: int | None = None,
    running: bool = False,
    note: str = "",
    with_details: bool = True,
) -> dict[str, Any]:
    """One lane for the token-strip component.

    Args:
        speaker: `base`, `hybrid` or `tuned`; decides the colour of the name.
        title: the name shown.
        tokens: the answer's tokens.
        noise: values of the metric below this are no difference.
        metric_name: which number colours the tokens.
        parted: index of the first token at which this answer differs from base's.
        running: whether more will come.
        note: one line under the text.
        with_details: whether first choices and numbers come along for hovering.
    """
    colours = SPEAKERS[speaker]
    texts = display_texts([bytes.fromhex(token.bytes) for token in tokens])
    values = [getattr(token, metric_name) for token in tokens]
    return {
        "speaker": speaker,
        "title": title,
        "colour": {"light": colours.light, "dark": colours.dark},
        "scale": scale(metric_name),
        "noise": noise,
        "tokens": [
            [text, None if value is None else float(f"{value:.4g}"), token.part]
            for text, value, token in zip(texts, values, tokens, strict=True)
        ],
        "details": [_details(token) for token in tokens] if with_details else [],
        "parted": parted,
        "running": running,
        "note": note,
    }


def _details(token: TokenScore) -> list[Any] | None:
    """[KL(tuned‖base), rank in base, base's first choices, tuned's], compact; None where unscored."""
    if token.kl_tuned_base is None:
        return None
    return [
        float(f"{token.kl_tuned_base:.3g}"),
        token.rank_base,
        _shown(token.top_base or ()),
        _shown(token.top_tuned or ()),
    ]


def _shown(choices: Sequence[Choice]) -> list[list[Any]]:
    return [[choice.text, float(f"{choice.logp:.4g}")] for choice in choices[:HOVER_CHOICES]]
