"""A report as blocks of text, tables, cards and figures, before it becomes a page or a file.

Knows no form and no study; the forms are in core/present/document_html and core/present/document_pdf.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from core.present.figures import Figure
from core.present.study_cards import Card


@dataclass(frozen=True)
class Text:
    """A paragraph; `small` for what stands below others."""

    words: str
    small: bool = False


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """A line to type."""

    line: str


@dataclass(frozen=True)
class Table:
    """Rows under a header; columns of numbers, by index, stand to the right."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True)
class Picture:
    """A figure with what it shows above it and what it does not show below it."""

    name: str
    figure: Figure


@dataclass(frozen=True)
class Cards:
    """Finding cards; folded ones stand under a line that opens them."""

    cards: tuple[Card, ...]
    folded: str = ""


Block = Text | Items | Code | Table | Picture | Cards


@dataclass(frozen=True)
class Section:
    """A heading with its blocks; `key` names it in links."""

    key: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """A whole report.

    Attributes:
        title: what it is.
        subtitle: of what.
        notice: what must be known before reading; empty where nothing.
        sections: in order.
        footer: at the end of every form.
    """

    title: str
    subtitle: str
    notice: str
    sections: tuple[Section, ...]
    footer: str

    @property
    def pictures(self) -> Iterator[Picture]:
        """All figures, in order."""
        return (block for section in self.sections for block in section.blocks if isinstance(block, Picture))
