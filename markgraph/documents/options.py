"""Says how documents are read: what a caller may choose, as plain data that a child process can be handed."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

EngineName = Literal["auto", "tesseract", "rapidocr", "none"]


@dataclass(frozen=True)
class ReadOptions:
    """What the readers of some formats ask for; all of it can be written as JSON."""

    ocr: EngineName = "auto"
    """What reads pictures: `auto` is tesseract where it is on the machine, else rapidocr where installed."""
    languages: tuple[str, ...] = ("eng",)
    """What tesseract expects to read, by its own codes: eng, deu, fra, chi_sim, ..."""
    pages: int = 5000
    """A PDF or TIFF with more is refused, ..."""
    ocr_pages: int = 1000
    """... and so is one with more that only OCR can read, at seconds a page."""
    xml: Mapping[str, Any] | None = None
    """How the XML of this corpus is laid out, for the reader of XML."""


DEFAULTS = ReadOptions()

PAGE_WAS_READ: ContextVar[Callable[[], None]] = ContextVar("PAGE_WAS_READ", default=lambda: None)
"""Called after each page that was read by OCR, where it is set: that takes seconds a page."""
