"""Reads one file into a `Document`: the format is told by the suffix.

Runs parsers of third parties in this very process: `Sandbox` does the same in another one, with limits.
Fetches nothing: what a document only links to is left out.
"""

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from markgraph.documents.docx import read_docx
from markgraph.documents.headings import line_headings
from markgraph.documents.html import read_html
from markgraph.documents.images import read_image
from markgraph.documents.mail import read_mail
from markgraph.documents.options import DEFAULTS, ReadOptions
from markgraph.documents.pdf import read_pdf
from markgraph.documents.pptx import read_pptx
from markgraph.documents.tables import read_csv
from markgraph.documents.text import read_markdown, read_text
from markgraph.documents.types import Document
from markgraph.documents.xlsx import read_xlsx
from markgraph.documents.xml import read_xml
from markgraph.documents.xml_mapping import XmlMapping
from markgraph.errors import DocumentError

_READERS: dict[str, Callable[[bytes, str], Document]] = {
    ".csv": read_csv,
    ".docx": read_docx,
    ".htm": read_html,
    ".html": read_html,
    ".markdown": read_markdown,
    ".md": read_markdown,
    ".pptx": read_pptx,
    ".tsv": read_csv,
    ".txt": read_text,
    ".xlsm": read_xlsx,
    ".xlsx": read_xlsx,
}
_READERS_WITH_OPTIONS: dict[str, Callable[[bytes, str, ReadOptions], Document]] = {
    ".bmp": read_image,
    ".jpeg": read_image,
    ".jpg": read_image,
    ".pdf": read_pdf,
    ".png": read_image,
    ".tif": read_image,
    ".tiff": read_image,
    ".webp": read_image,
}
SUFFIXES = tuple(sorted([*_READERS, *_READERS_WITH_OPTIONS, ".eml", ".xml"]))
"""What `load` reads, in lower case and with the dot; a file's own suffix may be in capitals."""


# A pipe that nobody writes to would block for ever; a link may lead to what others may read.
_READING = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW


def takes_options(suffix: str) -> bool:
    """Tell whether `ReadOptions` decide what is read from a file with this suffix."""
    return suffix.lower() not in _READERS


def load(path: Path, source: str, options: ReadOptions = DEFAULTS) -> Document:
    """Read the file at `path` into a document that calls itself `source`.

    The text is NFC, its lines end in `\\n`, and it has no control characters but `\\n` and `\\t`. Where the
    format names no headings, they are told from lines such as `Article 33` or `4.2 Term`.

    Raises:
        DocumentError: when the suffix is none of `SUFFIXES`, or the file cannot be opened, is empty, is
            damaged, is encrypted, has too many pages, or holds no text.
    """
    return parse(read_bytes(path, source), path.suffix, source, options)


def read_bytes(path: Path, source: str, most: int = 2**30) -> bytes:
    """Return what is in the file at `path`, if it is one that may be read as `source`.

    Raises:
        DocumentError: when its suffix is none of `SUFFIXES`, or it cannot be opened, is no ordinary file, is
            empty, or has more than `most` bytes.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise DocumentError(
            f"Cannot read {source}: its suffix is {path.suffix or 'missing'!r}.\n"
            f"Expected one of: {', '.join(SUFFIXES)}. Convert it, or leave it out."
        )
    try:
        with open(os.open(path, _READING), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise DocumentError(
                    f"{source} is no ordinary file, but a folder, pipe or device. Leave it out."
                )
            data = file.read(most + 1)
    except OSError as error:
        raise DocumentError(
            f"Cannot open {source}: {error.strerror or error}. Check that it is there, and its permissions."
        ) from error
    if len(data) > most:
        raise DocumentError(f"{source} has {status.st_size:,} bytes; {most:,} are allowed. Split it.")
    if not data.strip():
        raise DocumentError(f"{source} is empty ({len(data)} bytes). Replace it, or leave it out.")
    return data


def parse(data: bytes, suffix: str, source: str, options: ReadOptions = DEFAULTS) -> Document:
    """Read the bytes of a file with this suffix, one of `SUFFIXES` but for capitals.

    Raises:
        DocumentError: when they are damaged, encrypted, have too many pages, or hold no text.
    """
    document = _read(suffix.lower(), data, source, options)
    if not document.text.strip():
        raise DocumentError(f"{source} holds no text. Replace it, or leave it out.")
    return document if document.headings else replace(document, headings=line_headings(document.text))


def _read(suffix: str, data: bytes, source: str, options: ReadOptions) -> Document:
    if suffix in _READERS:
        return _READERS[suffix](data, source)
    if suffix == ".eml":
        return read_mail(data, source, {each: partial(_read, each, options=options) for each in SUFFIXES})
    if suffix == ".xml":
        return read_xml(data, source, None if options.xml is None else XmlMapping(**options.xml))
    return _READERS_WITH_OPTIONS[suffix](data, source, options)
