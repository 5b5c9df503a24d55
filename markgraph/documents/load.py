"""Reads one file into a `Document`: the format is told by the suffix.

Does NOT do OCR, and fetches nothing: what a document only links to is left out.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from markgraph.documents.docx import read_docx
from markgraph.documents.headings import line_headings
from markgraph.documents.html import read_html
from markgraph.documents.mail import read_mail
from markgraph.documents.pdf import read_pdf
from markgraph.documents.pptx import read_pptx
from markgraph.documents.tables import read_csv
from markgraph.documents.text import read_markdown, read_text
from markgraph.documents.types import Document
from markgraph.documents.xlsx import read_xlsx
from markgraph.documents.xml import read_xml
from markgraph.errors import DocumentError

_READERS: dict[str, Callable[[bytes, str], Document]] = {
    ".csv": read_csv,
    ".docx": read_docx,
    ".htm": read_html,
    ".html": read_html,
    ".markdown": read_markdown,
    ".md": read_markdown,
    ".pdf": read_pdf,
    ".pptx": read_pptx,
    ".tsv": read_csv,
    ".txt": read_text,
    ".xlsm": read_xlsx,
    ".xlsx": read_xlsx,
    ".xml": read_xml,
}
_READERS[".eml"] = partial(read_mail, readers=_READERS)
SUFFIXES = tuple(sorted(_READERS))
"""What `load` reads, in lower case and with the dot; a file's own suffix may be in capitals."""


def load(path: Path, source: str) -> Document:
    """Read the file at `path` into a document that calls itself `source`.

    The text is NFC, its lines end in `\\n`, and it has no control characters but `\\n` and `\\t`. Where the
    format names no headings, they are told from lines such as `Article 33` or `4.2 Term`.

    Raises:
        DocumentError: when the suffix is none of `SUFFIXES`, or the file cannot be opened, is empty, is
            damaged, is encrypted, or holds no text.
    """
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise DocumentError(
            f"Cannot read {source}: its suffix is {path.suffix or 'missing'!r}.\n"
            f"Expected one of: {', '.join(SUFFIXES)}. Convert it, or leave it out."
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DocumentError(
            f"Cannot open {source}: {error.strerror or error}. Check that it is there, and its permissions."
        ) from error
    if not data.strip():
        raise DocumentError(f"{source} is empty ({len(data)} bytes). Replace it, or leave it out.")
    document = read(data, source)
    if not document.text.strip():
        raise DocumentError(f"{source} holds no text. If it is pictures only, run OCR on it first.")
    return document if document.headings else replace(document, headings=line_headings(document.text))
