"""Reads the text layer of a PDF, page by page.

Does NOT do OCR, and puts no words together that a line end split.
"""

import re
import warnings

from langchain_core.documents import Document as Page
from langchain_core.documents.base import Blob

from markgraph.documents.text import clean, stem
from markgraph.documents.types import Document
from markgraph.errors import DocumentError

_GAP = "\n\n"
# What programs write in place of a title: their own name, the name of the file.
_NO_TITLE = re.compile(r"^Microsoft Word - |\.\w{2,4}$|^(?:untitled|unknown)$", re.IGNORECASE)


def read_pdf(data: bytes, source: str) -> Document:
    """Read a PDF; pages are joined by an empty line, and its title is the one in its properties.

    `metadata["pages_without_text"]` lists pages (from 1) that hold none, as a scanned annex does.

    Raises:
        DocumentError: when it is encrypted, damaged, or a scan.
    """
    pages = _pages(data, source)
    texts = [clean(page.page_content) for page in pages]
    empty = [number for number, text in enumerate(texts, start=1) if not text.strip()]
    if len(empty) == len(texts):
        raise DocumentError(
            f"{source} is a scan: none of its {len(texts)} pages has a text layer. Run OCR on it first."
        )
    offsets, offset = [], 0
    for text in texts:
        offsets.append(offset)
        offset += len(text) + len(_GAP)
    title = _NO_TITLE.sub("", clean(str(pages[0].metadata.get("title") or "")).strip())
    return Document(
        source=source,
        text=_GAP.join(texts),
        title=title or stem(source),
        pages=tuple(offsets),
        metadata={"pages_without_text": ", ".join(map(str, empty))} if empty else {},
    )


def _pages(data: bytes, source: str) -> list[Page]:
    """Return the pages with their text, at least one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`langchain-community` is being sunset", DeprecationWarning)
        from langchain_community.document_loaders.parsers.pdf import PyPDFParser
    from pypdf.errors import DependencyError, FileNotDecryptedError

    try:
        pages = list(PyPDFParser(mode="page").lazy_parse(Blob.from_data(data, mime_type="application/pdf")))
        if not pages:
            raise ValueError("it has no pages")
    except FileNotDecryptedError as error:
        raise DocumentError(f"{source} is encrypted with a password. Save a copy without one.") from error
    except DependencyError as error:
        raise DocumentError(
            f"{source} is encrypted with AES. Run `pip install cryptography`, or save a copy without."
        ) from error
    # On damaged files pypdf raises whatever the damage trips: TypeError, AttributeError, KeyError, ...
    except Exception as error:
        raise DocumentError(
            f"Cannot read {source} as PDF ({type(error).__name__}: {error}). It is damaged, or another "
            "format under this suffix: open it in a viewer and print it to a new PDF."
        ) from error
    return pages
