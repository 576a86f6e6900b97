"""A chart as something to keep: one value object, drawn as picture, page or table.

Title, what is drawn with its direction and unit, noise and provenance are inside every form, and every form names the
hash of the same data. Knows charts and their rows; computes none.
"""

import csv
import hashlib
import html
import io
import json
import textwrap
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import altair as alt

from core.present.charts import FONT, Rows, themed
from core.present.colour import BACKGROUND, text_on
from core.present.drawing import drawn
from core.present.provenance import Source

FORMS = ("png", "svg", "pdf", "html", "csv", "json")
_LINE = 105  # characters of a line above a chart
LIMIT = "It shows where the two models disagree, not why and not which is right."


class Exportable(Protocol):
    """What a page can offer as files."""

    @property
    def file_name(self) -> str:
        """Without an ending."""
        ...

    @property
    def data_hash(self) -> str:
        """SHA-256 of the data, the same for every form."""
        ...

    def as_file(self, kind: str, theme: str = "light") -> bytes:
        """The content of a file of one of `FORMS`."""
        ...


@dataclass(frozen=True)
class Figure:
    """A chart with all that must stand beside it.

    Attributes:
        title: what it is.
        source: models and question.
        legend: what is drawn, direction and unit included.
        noise_note: what numerical noise is, or what does not count.
        slug: end of the file name.
        rows: the data, one mapping of column to value a row.
        draw: makes the chart from nothing but `rows`.
        limit: what it does not show.
    """

    title: str
    source: Source
    legend: str
    noise_note: str
    slug: str
    rows: tuple[dict[str, Any], ...]
    draw: Callable[[Rows], Any] = field(compare=False)
    limit: str = LIMIT

    @property
    def data_hash(self) -> str:
        """SHA-256 of everything the figure says, the same for every form of it."""
        said = [self.title, asdict(self.source), self.legend, self.noise_note, self.rows]
        return hashlib.sha256(json.dumps(said, ensure_ascii=False).encode()).hexdigest()

    @property
    def file_name(self) -> str:
        """Pair and what it is, without an ending."""
        return f"graft-{self.source.pair}-{self.slug}".replace(" ", "-")

    def as_file(self, kind: str, theme: str = "light") -> bytes:
        """The figure as a file's content.

        Args:
            kind: `png` (at twice the size), `svg`, `pdf`, `html`, `csv` or `json`.
            theme: `light` or `dark`, of pictures and pages.
        """
        if kind == "csv":
            return table(self.rows, f"{self.title}; {self.legend} {self.noise_note} {self.source.line}", self.data_hash)
        if kind == "json":
            said = {name: getattr(self, name) for name in ("title", "legend", "noise_note")}
            whole = {**said, "source": asdict(self.source), "data_sha256": self.data_hash, "rows": self.rows}
            return json.dumps(whole, ensure_ascii=False, indent=1).encode()
        if kind == "html":
            return self._page(theme).encode()
        return drawn(self._picture(theme), kind)

    def _picture(self, theme: str) -> Any:
        ink = text_on(getattr(BACKGROUND, theme))
        last = f"{self.limit} {self.source.line} · data SHA-256 {self.data_hash}"
        lines = [*self._asked(), f"{self.legend} {self.noise_note}", last]
        wrapped = [part for line in lines for part in textwrap.wrap(line, _LINE)]
        title = alt.Title(
            self.title, subtitle=wrapped, anchor="start", subtitleColor=ink, subtitleFontSize=10, subtitlePadding=6
        )
        return themed(self.draw(self.rows).properties(title=title), theme)

    def _asked(self) -> list[str]:
        """What was asked, in a line; nothing where the figure needs no question."""
        question = " ".join(self.source.question.split())
        return [f"Asked: “{question}”"] if question else []

    def _page(self, theme: str) -> str:
        background = getattr(BACKGROUND, theme)
        chart = drawn(themed(self.draw(self.rows), theme), "svg").decode()
        return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{html.escape(self.title)}</title>
<style>body {{ background: {background}; color: {text_on(background)}; font-family: {FONT}; max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem; line-height: 1.5; }} h1 {{ font-size: 1.2rem; }}
small {{ opacity: 0.75; overflow-wrap: anywhere; }} svg {{ max-width: 100%; height: auto; }}</style></head><body>
<h1>{html.escape(self.title)}</h1>
{"".join(f"<p>{html.escape(line)}</p>" for line in self._asked())}
<p>{html.escape(self.legend)} {html.escape(self.noise_note)}</p>
{chart}
<p><small>{html.escape(self.limit)}
{html.escape(self.source.line)} · data SHA-256 {self.data_hash}</small></p>
</body></html>
"""


def table(rows: tuple[dict[str, Any], ...], about: str, data_hash: str) -> bytes:
    """Rows as CSV under one comment line; a missing value is an empty cell."""
    file = io.StringIO()
    file.write(f"# {' '.join(about.split())}; data sha256 {data_hash}\n")
    writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["empty"])
    writer.writeheader()
    for row in rows:
        writer.writerow({k: "" if v is None else repr(v) if isinstance(v, float) else v for k, v in row.items()})
    return file.getvalue().encode()
