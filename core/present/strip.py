"""An answer as the token strip draws it: display texts, values, parts, and what to show on hover.

Turns scores into small JSON; the browser only draws. Knows scores and colours; knows no widgets.
"""

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from core.measure.metrics import DEFAULT_COLOUR, metric_of
from core.measure.tokens import Choice, TokenScore
from core.measure.units import Unit
from core.present.colour import SPEAKERS, TERM_LINES, mark_of, speaker_of, stops

HOVER_CHOICES = 5
PARTED = "From here on the answer differs from the base model's"
PUT_IN = "Put in here; written on from here"


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
    metric = metric_of(metric_name)
    return {
        "label": metric.label,
        "plain": metric.plain,
        "unit": metric.unit,
        "domain": list(metric.domain),
        "steps": list(metric.steps),
        "light": list(stops(metric, "light")),
        "dark": list(stops(metric, "dark")),
    }


def strip(
    lane: str,
    title: str,
    tokens: Sequence[TokenScore],
    noise: float,
    *,
    metric_name: str = DEFAULT_COLOUR,
    parted: int | None = None,
    running: bool = False,
    whole: bool | None = None,
    note: str = "",
    with_details: bool = True,
    shared: str | None = None,
    picked: int | None = None,
) -> dict[str, Any]:
    """One lane for the token-strip component.

    Args:
        lane: `base`, `tuned`, a hybrid's lane, a fork's as `coloured_lane` gives it, or `reference` for a text no
            model wrote; decides colour and mark.
        title: the name shown.
        tokens: the answer's tokens.
        noise: values of the metric below this are no difference.
        metric_name: which number colours the tokens.
        parted: index of the first token at which this answer differs from base's; of a fork, of what was put in.
        running: whether more will come.
        whole: whether base's answer and this one both ended by themselves; None while either is being written, when
            nothing is said of two that do not differ so far.
        note: one line under the text.
        with_details: whether first choices and numbers come along for hovering.
        shared: of a fork, how far it is its parent's answer; other lanes are held against base's.
        picked: index of the token that is asked about.
    """
    texts = display_texts([bytes.fromhex(token.bytes) for token in tokens])
    rows = [[text, _short(getattr(token, metric_name)), token.part] for text, token in zip(texts, tokens, strict=True)]
    return _lane(
        lane,
        title,
        rows,
        metric_name,
        noise,
        note,
        details=[_details(token) for token in tokens] if with_details else [],
        parted=parted,
        shared=_shared(lane, len(tokens), parted, whole) if shared is None else shared,
        parted_words=PARTED if shared is None else PUT_IN,
        running=running,
        picked=picked,
    )


def unit_strip(
    lane: str,
    title: str,
    found: Sequence[Unit],
    metric_name: str,
    noise: float,
    mask: Sequence[str],
    note: str,
    terms: Sequence[str | None] = (),
    spaces: bool = False,
) -> dict[str, Any]:
    """One text for the token-strip component, by tokens, words or sentences.

    Args:
        lane: `base`, `tuned`, a hybrid's lane, or `reference` for a text no model wrote.
        title: the name shown.
        found: the text's units.
        metric_name: which number colours them.
        noise: values below this are no difference.
        mask: parts whose units are coloured; headings always are.
        note: one line under the text.
        terms: category of the medical term each unit belongs to; empty where terms are not to be shown.
        spaces: whether spaces are drawn.
    """
    shown = (*mask, "format")
    tokens = []
    for unit, term in zip(found, terms or [None] * len(found), strict=True):
        value = unit.values[metric_name] if unit.part in shown else None
        tokens.append([unit.text, _short(value), unit.part, term])
    categories = {name: asdict(line) for name, line in TERM_LINES.items()} if terms else {}
    return _lane(lane, title, tokens, metric_name, noise, note, categories=categories, spaces=spaces)


def _lane(
    lane: str, title: str, tokens: list[list[Any]], metric_name: str, noise: float, note: str, **more: Any
) -> dict[str, Any]:
    """What the component draws; `reference` is a text no model wrote, its title has the colour of text."""
    plain = lane == "reference"
    return {
        "mark": "○" if plain else mark_of(lane),
        "title": title,
        "colour": None if plain else asdict(SPEAKERS[speaker_of(lane)]),
        "scale": scale(metric_name),
        "noise": noise,
        "tokens": tokens,
        "note": note,
        "details": [],
        "parted": None,
        "shared": "",
        "parted_words": PARTED,
        "picked": None,
        "running": False,
        "categories": {},
        "spaces": False,
        **more,
    }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _shared(lane: str, n_tokens: int, parted: int | None, whole: bool | None) -> str:
    return "" if lane in ("base", "reference") else shared_words(n_tokens, parted, whole)


def shared_words(n_tokens: int, parted: int | None, whole: bool | None) -> str:
    """How far an answer is the base model's too; nothing where it has not begun, or it is not known yet."""
    if parted is None:
        if not n_tokens or whole is None:
            return ""
        return f"The same as the base model's answer{'' if whole else ', as far as both were written'}."
    if parted == 0:
        return "Differs from the first token on."
    return f"{parted} {'token' if parted == 1 else 'tokens'} as in the base model's answer."


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
