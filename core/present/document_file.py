"""A document as files: a page or a PDF.

Knows documents and their forms.
"""

import hashlib
import json
from dataclasses import dataclass

from core.present.document import Document
from core.present.document_html import as_html
from core.present.document_pdf import as_pdf

FORMS = ("html", "pdf")


@dataclass(frozen=True)
class DocumentFile:
    """A document that can be kept.

    Attributes:
        document: what it says.
        name: of the file, without an ending.
    """

    document: Document
    name: str

    @property
    def file_name(self) -> str:
        """Without an ending."""
        return self.name

    @property
    def data_hash(self) -> str:
        """SHA-256 of the hashes of all figures, the same for every form."""
        hashes = [picture.figure.data_hash for picture in self.document.pictures]
        return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()

    def as_file(self, kind: str, theme: str = "light") -> bytes:
        """The content of a file of one of `FORMS`; a page follows its reader's theme, paper is light."""
        return as_pdf(self.document) if kind == "pdf" else as_html(self.document).encode()
