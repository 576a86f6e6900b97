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
        case Table() | Text() | Items() | Code():
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
