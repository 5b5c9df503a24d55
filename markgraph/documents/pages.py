"""Joins pages into a document, and refuses too many of them."""

from collections.abc import Sequence
from itertools import accumulate

from markgraph.documents.options import ReadOptions
from markgraph.documents.types import Document
from markgraph.errors import DocumentError

_GAP = "\n\n"


def join_pages(source: str, title: str, texts: Sequence[str], by_ocr: Sequence[int]) -> Document:
    """Return a document of pages parted by an empty line, of which those at `by_ocr` were read by OCR."""
    empty = [index for index, text in enumerate(texts) if not text.strip()]
    notes = {"ocr_pages": by_ocr, "pages_without_text": empty}
    return Document(
        source=source,
        text=_GAP.join(texts),
        title=title,
        pages=tuple(accumulate((len(text) + len(_GAP) for text in texts[:-1]), initial=0)),
        metadata={
            note: ", ".join(str(index + 1) for index in found) for note, found in notes.items() if found
        },
    )


def check_count(count: int, source: str, options: ReadOptions) -> None:
    """Raise DocumentError for a document with no pages or too many."""
    if not count:
        raise DocumentError(f"{source} has no pages. It is damaged: open it in a viewer and save it anew.")
    if count > options.pages:
        raise DocumentError(
            f"{source} has {count:,} pages; {options.pages:,} are allowed. Split it, or raise "
            "the reader's `pages`."
        )


def check_ocr_count(count: int, source: str, options: ReadOptions) -> None:
    """Raise DocumentError for a document with too many pages to be read by OCR."""
    if count > options.ocr_pages:
        raise DocumentError(
            f"{source} has {count:,} pages that only OCR can read; {options.ocr_pages:,} are allowed. Split "
            "it, or raise the reader's `ocr_pages`."
        )
