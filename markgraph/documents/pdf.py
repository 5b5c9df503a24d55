"""Reads a PDF page by page: its text layer where there is one, else by OCR.

Does NOT read form fields, annotations and attachments, leaves repeated headers and footers as they are, and
leaves the hyphen in words that a line end split.
"""

import re
from typing import TYPE_CHECKING

from markgraph.documents.ocr import find_engine, install_hint
from markgraph.documents.options import DEFAULTS, ReadOptions
from markgraph.documents.pages import check_count, check_ocr_count, join_pages
from markgraph.documents.pdf_layout import page_text, read_glyphs, read_tables
from markgraph.documents.text import clean, stem
from markgraph.documents.types import Document
from markgraph.errors import DocumentError

if TYPE_CHECKING:
    from PIL.Image import Image
    from pypdfium2 import PdfDocument, PdfiumError, PdfPage

# What programs write in place of a title: their own name, the name of the file.
_NO_TITLE = re.compile(r"^Microsoft Word - |\.\w{2,4}$|^(?:untitled|unknown)$", re.IGNORECASE)
_DPI = 300
_MOST_PIXELS = 20_000_000
"""Of a page drawn for OCR; a larger one, such as a plan, is drawn with fewer dots per inch."""
_COVERED = 0.5
"""A picture over so much of a page may be a scan. It is, if its text layer is one of two:"""
_STAMP = 200
"""fewer characters than this, which courts and scanners stamp on;"""
_FRAGMENTS = 0.3
"""so many words of one letter, or signs without a meaning, as bad OCR leaves behind: `Th e Metropoli s`."""
_WORD = re.compile(r"[^\W\d_]+")
_UNREADABLE = re.compile("[\ufffd\ue000-\uf8ff]")


def read_pdf(data: bytes, source: str, options: ReadOptions = DEFAULTS) -> Document:
    """Read a PDF; pages are joined by an empty line, and its title is the one in its properties.

    `metadata["ocr_pages"]` lists the pages (from 1) that were read by OCR, and `["pages_without_text"]` those
    that gave nothing.

    Raises:
        DocumentError: when it is encrypted, damaged, has too many pages, or none with text.
    """
    import pypdfium2

    try:
        with pypdfium2.PdfDocument(data) as pdf:
            check_count(len(pdf), source, options)
            title = _NO_TITLE.sub("", clean(pdf.get_metadata_value("Title")).strip())
            texts, scans, by_ocr = _texts(pdf, source, options)
    except pypdfium2.PdfiumError as error:
        raise _explain(error, source) from error
    if not any(texts) and not scans:
        raise DocumentError(
            f"{source} holds no text: all of its pages ({len(texts)}) are blank. Leave it out."
        )
    if not any(texts):
        raise DocumentError(
            f"{source} is a scan: none of its pages ({len(texts)}) has a text layer. {install_hint(options)}"
        )
    return join_pages(source, title or stem(source), texts, by_ocr)


def _texts(pdf: "PdfDocument", source: str, options: ReadOptions) -> tuple[list[str], int, list[int]]:
    """Return the text of each page, how many need OCR, and the indexes of those that were read by it."""
    texts, scans = [], []
    for index in range(len(pdf)):
        text, is_scan = _layer(pdf, index)
        texts.append(text)
        if is_scan:
            scans.append(index)
    engine = find_engine(options) if scans else None
    if engine is None:
        return texts, len(scans), []
    check_ocr_count(len(scans), source, options)
    for index in scans:
        texts[index] = _with_stamp(texts[index], engine.read(_draw(pdf, index)))
    return texts, len(scans), scans


def _layer(pdf: "PdfDocument", index: int) -> tuple[str, bool]:
    """Return the text layer of a page, and whether OCR should read the page in its place.

    A page that PDFium cannot load has no text, as in a viewer.
    """
    import pypdfium2

    try:
        page = pdf[index]
    except pypdfium2.PdfiumError:
        return "", False
    glyphs = list(read_glyphs(page, page.get_textpage()))
    text = clean(page_text(glyphs, read_tables(page))).strip()
    is_poor = len(text) < _STAMP or _is_rubbish(text)
    is_scan = _is_drawn(page) if not text else is_poor and _covered(page) > _COVERED
    page.close()
    return text, is_scan


def _is_rubbish(text: str) -> bool:
    words: list[str] = _WORD.findall(text)
    odd: int = sum(len(word) == 1 and word.isascii() for word in words) + len(_UNREADABLE.findall(text))
    return odd > _FRAGMENTS * len(words)


def _with_stamp(layer: str, text: str) -> str:
    """Return what OCR read, below the text layer where that says something else."""
    is_new = " ".join(layer.split()) not in " ".join(text.split())
    return f"{layer}\n\n{text}".strip() if is_new and not _is_rubbish(layer) else text


def _is_drawn(page: "PdfPage") -> bool:
    """Tell whether there is anything on a page, be it letters as outlines."""
    return any(True for _ in page.get_objects(max_depth=1))


def _covered(page: "PdfPage") -> float:
    """Return the part of a page that pictures cover; what overlaps counts twice."""
    import pypdfium2.raw as pdfium

    boxes = [image.get_bounds() for image in page.get_objects([pdfium.FPDF_PAGEOBJ_IMAGE])]
    area: float = sum((right - left) * (top - bottom) for left, bottom, right, top in boxes)
    width, height = page.get_size()
    return float(area / (width * height or 1))


def _draw(pdf: "PdfDocument", index: int) -> "Image":
    page = pdf[index]
    width, height = page.get_size()
    scale = min(_DPI / 72, (_MOST_PIXELS / (width * height or 1)) ** 0.5)
    image: Image = page.render(scale=scale, grayscale=True).to_pil()
    page.close()
    return image


def _explain(error: "PdfiumError", source: str) -> DocumentError:
    import pypdfium2.raw as pdfium

    if error.err_code == pdfium.FPDF_ERR_PASSWORD:
        return DocumentError(f"{source} is encrypted with a password. Save a copy without one.")
    return DocumentError(
        f"Cannot read {source} as PDF ({error}). It is damaged, or another format under this suffix: open it "
        "in a viewer and print it to a new PDF."
    )
