"""Settings as the query of a link, and back.

A link carries settings; a question only where the person asked for it, for links end up in logs and histories.
Knows run settings; knows no browser.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from urllib.parse import urlencode

from core.errors import ArgumentError
from core.generate.room import MAX_NEW_TOKENS
from core.generate.sampling import Sampling
from core.present.hybrids import hybrids_from
from core.present.runs import RunSettings

MAX_QUESTION = 2000
_DEFAULTS = RunSettings()
# What a link carries as it stands; texts a person typed stay out of it.
_PLAIN = tuple(f.name for f in fields(RunSettings) if f.name not in ("system", "reference", "hybrids"))


def to_query(settings: RunSettings, question: str = "") -> str:
    """The query of a link: the hybrids, settings that differ from the defaults, and the question if one is given.

    Raises:
        ArgumentError: the question is too long for a link.
    """
    if len(question) > MAX_QUESTION:
        raise ArgumentError(f"The question has {len(question):,} characters.", f"A link holds {MAX_QUESTION:,}.")
    values = {name: getattr(settings, name) for name in _PLAIN}
    chosen = {name: str(value) for name, value in values.items() if value != getattr(_DEFAULTS, name)}
    chosen["hybrids"] = "; ".join(hybrid.text() for hybrid in settings.hybrids)
    return urlencode(chosen | ({"question": question} if question else {}))


def from_query(query: Mapping[str, str]) -> tuple[RunSettings, str]:
    """Settings and question of a link.

    Raises:
        ArgumentError: a value is not of its kind; the message names the field. Unknown fields are passed over.
    """
    values = {name: _read(name, query[name], type(getattr(_DEFAULTS, name))) for name in _PLAIN if name in query}
    settings = RunSettings(**values)  # type: ignore[arg-type]
    if "hybrids" in query:
        settings = replace(settings, hybrids=hybrids_from(query["hybrids"]))
    _check(settings)
    return settings, query.get("question", "")[:MAX_QUESTION]


def _check(settings: RunSettings) -> None:
    """Raises `ArgumentError` for values that the page's own controls could not have set."""
    Sampling(settings.temperature, settings.top_p, settings.seed)
    wrong = [
        name
        for name, right in (
            ("temperature", settings.temperature <= 2),
            ("top_p", settings.top_p >= 0.05),
            ("seed", settings.seed < 2**31),
            ("max_new_tokens", 1 <= settings.max_new_tokens <= MAX_NEW_TOKENS),
        )
        if not right
    ]
    if wrong:
        raise ArgumentError(f"The link's {wrong[0]} is {getattr(settings, wrong[0])!r}.", "Ask for the link again.")


def _read(name: str, text: str, kind: type) -> str | bool | int | float:
    try:
        if kind is bool:
            return {"True": True, "False": False}[text]
        value: str | int | float = kind(text)
        return value
    except (ValueError, KeyError) as error:
        raise ArgumentError(f"The link's {name} is {text!r}.", "Ask for the link again.") from error
