"""A document as PDF, laid out by Typst in this process: vector figures, contents, page numbers, no browser.

Knows documents; how they are laid out stands in assets/report.typ.
"""

import json
import re
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typst

from core.pair.home import ASSETS
from core.present.charts import themed
from core.present.document import Block, Cards, Code, Document, Items, Picture, Table, Text
from core.present.drawing import drawn
from core.present.study_cards import VERDICTS

TEMPLATE = ASSETS / "report.typ"
_FULL_WIDTH = 690  # points of a chart that fill a page's width
_TEXT_WIDTH = 470.0  # of a page, points
_MOST_HEIGHT = 560.0  # of a picture, points; title, legend and limit stand on the same page
_LONGEST_WORD = 24
LETTERS_A_LINE = 100  # of a table, over its whole width


def as_pdf(document: Document) -> bytes:
    """The whole file."""
    with tempfile.TemporaryDirectory(prefix="graft-report-") as name:
        folder = Path(name)
        said = {
            **{key: getattr(document, key) for key in ("title", "subtitle", "notice", "footer")},
            "verdicts": {verdict: look.light for verdict, look in VERDICTS.items()},
            "sections": [
                {"title": section.title, "blocks": [_plain(block, folder) for block in section.blocks]}
                for section in document.sections
            ],
        }
        (folder / "document.json").write_text(json.dumps(said, ensure_ascii=False), encoding="utf-8")
        (folder / "report.typ").write_bytes(TEMPLATE.read_bytes())
        found = typst.compile(folder / "report.typ", root=folder, format="pdf")
    return bytes(found)


def _plain(block: Block, folder: Path) -> dict[str, Any]:
    """A block as JSON values; a figure's picture goes into the folder."""
    match block:
        case Picture():
            return _picture(block, folder)
        case Cards():
            return {"kind": "cards", "folded": block.folded, "cards": [asdict(card) for card in block.cards]}
        case Table():
            return {"kind": "table", **asdict(block), "widths": column_widths(block)}
        case Text() | Items() | Code():
            return {"kind": type(block).__name__.lower(), **asdict(block)}


def _picture(block: Picture, folder: Path) -> dict[str, Any]:
    figure = block.figure
    chart = themed(figure.draw(figure.rows))
    file = folder / f"{block.name}.pdf"
    file.write_bytes(drawn(chart, "pdf"))
    return {
        "kind": "picture",
        "title": figure.title,
        "legend": f"{figure.legend} {figure.noise_note}",
        "limit": f"{figure.limit} Data SHA-256 {figure.data_hash}.",
        "file": file.name,
        "share": share_of_width(*_size(file.read_bytes())),
    }


def share_of_width(width: float, height: float) -> float:
    """How much of a page's text width a picture takes, so that it is no higher than a page has room for.

    Args:
        width, height: its own size, in points.
    """
    return min(1.0, width / _FULL_WIDTH, _MOST_HEIGHT / _TEXT_WIDTH * width / height)


def _size(pdf: bytes) -> tuple[float, float]:
    """Width and height of a one-page PDF, in points."""
    found = re.search(rb"/MediaBox\s*\[\s*[\d.]+\s+[\d.]+\s+([\d.]+)\s+([\d.]+)", pdf)
    return (float(found[1]), float(found[2])) if found else (_FULL_WIDTH, 1.0)


def column_widths(block: Table) -> list[float]:
    """Shares of the width, by how much stands in each column; none is narrower than its longest word.

    Hashes and other words of more than 24 letters may break, and do not count.
    """
    columns = list(zip(block.header, *block.rows, strict=True))
    wanted = [max(6.0, min(60.0, max(len(cell) for cell in column))) ** 0.75 for column in columns]
    words = [[len(word) for cell in column for word in cell.split()] for column in columns]
    least = [(max((n for n in own if n <= _LONGEST_WORD), default=0) + 2) / LETTERS_A_LINE for own in words]
    if sum(least) >= 1:
        least = [0.0] * len(wanted)
    kept: dict[int, float] = {}
    while True:
        left = (1 - sum(kept.values())) / (sum(one for k, one in enumerate(wanted) if k not in kept) or 1)
        widths = [kept.get(k, one * left) for k, one in enumerate(wanted)]
        narrow = {k: least[k] for k, one in enumerate(widths) if k not in kept and one < least[k]}
        if not narrow:
            return widths
        kept |= narrow
