"""Reads plain text and Markdown, and holds what every format needs: decoding, cleaning, joining of blocks."""

import codecs
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from bs4.dammit import EncodingDetector, UnicodeDammit

from markgraph.documents.headings import first_title, markdown_headings
from markgraph.documents.types import Document, Heading
from markgraph.errors import DocumentError

_GAP = "\n\n"
_LINE_END = re.compile("\r\n|[\r\f\v\x1c-\x1e\x85\u2028\u2029]")
# Nobody sees these, yet a model reads them: soft hyphens and zero-width spaces split words, direction
# overrides and tag characters (U+E0000) hide instructions. Joiners and plain direction marks stay, since
# Persian, Hebrew, the Indic scripts and emoji need them.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_BOMS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_FRONT_MATTER = re.compile(r"---\n(.*?\n)---[ \t]*(?:\n|$)", re.DOTALL)
# Longer text in a heading's style is a paragraph that somebody wanted large.
_LONGEST_HEADING = 250
_FRONT_TITLE = re.compile(r"^title:[ \t]*(['\"]?)(.+?)\1[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A stretch of text that stands on lines of its own."""

    text: str
    level: int = 0
    """1 or more for a heading, 0 for none."""
    tight: bool = False
    """Whether only a line end, not an empty line, parts it from the block before: table rows, list items."""
    table: object = None
    """The table that it is a row of. Empty cells at its ends stay, and an empty line parts two tables."""


def read_text(data: bytes, source: str) -> Document:
    """Read plain text; its title is the file's name.

    Raises:
        DocumentError: when it is not text.
    """
    return Document(source=source, text=clean(decode(data, source)), title=stem(source))


def read_markdown(data: bytes, source: str) -> Document:
    """Read Markdown as it is written; `#` lines outside fenced code are its headings.

    Its title is the one in its front matter, else the first outermost heading, else the file's name.

    Raises:
        DocumentError: when it is not text.
    """
    text = clean(decode(data, source))
    headings = markdown_headings(text)
    front = _FRONT_MATTER.match(text)
    named = _FRONT_TITLE.search(front[1]) if front else None
    title = named[2] if named else first_title(headings) or stem(source)
    return Document(source=source, text=text, title=title, headings=headings)


def decode(data: bytes, source: str, *, is_html: bool = False) -> str:
    """Return `data` as text: by its byte order mark, its declaration (HTML), as UTF-8, or by detection.

    Raises:
        DocumentError: when it has NUL bytes, or no encoding fits.
    """
    has_bom = data.startswith(_BOMS)
    if b"\0" in data and not has_bom:
        raise DocumentError(
            f"{source} is not text: it has NUL bytes. If it is another kind of file, give it its own suffix; "
            "if it is UTF-16, save it as UTF-8."
        )
    if not has_bom and not (is_html and EncodingDetector.find_declared_encoding(data, is_html=True)):
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            pass
    guesses = ["windows-1252"] if not is_html and _too_few_to_detect(data) else []
    text = UnicodeDammit(data, user_encodings=guesses, is_html=is_html).unicode_markup
    if text is None:
        raise DocumentError(f"{source} is in no encoding that could be told. Save it as UTF-8.")
    return text


def clean(text: str) -> str:
    """Return `text` in NFC, with `\\n` line ends, and without control and invisible characters."""
    return unicodedata.normalize("NFC", _INVISIBLE.sub("", _LINE_END.sub("\n", mend(text))))


def mend(text: str) -> str:
    """Return `text` with halves of characters joined, as some PDFs give them, or replaced by U+FFFD."""
    if not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def stem(source: str) -> str:
    """Return the name of a file without folder and suffix."""
    return PurePosixPath(source).stem


def assemble(blocks: Iterable[Block]) -> tuple[str, tuple[Heading, ...]]:
    """Join cleaned `blocks` into one text, and return it with the headings among them."""
    parts: list[str] = []
    headings = []
    offset, table = 0, None
    for block in blocks:
        text = clean(block.text)
        if not text.strip():
            continue
        text = text.strip() if block.table is None else text.strip("\n")
        is_tight = block.tight and (table is None or table is block.table or block.table is None)
        gap = ("\n" if is_tight else "\n\n") if parts else ""
        if block.level and len(text) <= _LONGEST_HEADING:
            headings.append(Heading(offset + len(gap), block.level, " ".join(text.split())))
        parts += [gap, text]
        offset += len(gap) + len(text)
        table = block.table
    return "".join(parts), tuple(headings)


def join(
    parts: Iterable[tuple[str, tuple[Heading, ...]]],
) -> tuple[str, tuple[Heading, ...], tuple[int, ...]]:
    """Join texts by an empty line; return the text, its headings, and the offset where each part begins."""
    texts: list[str] = []
    headings: list[Heading] = []
    offsets: list[int] = []
    offset = 0
    for text, found in parts:
        headings += [replace(heading, offset=offset + heading.offset) for heading in found]
        texts.append(text)
        offsets.append(offset)
        offset += len(text) + len(_GAP)
    return _GAP.join(texts), tuple(headings), tuple(offsets)


def _too_few_to_detect(data: bytes) -> bool:
    """Tell whether so little of `data` is beyond ASCII that a detector would guess: a few quotes, `naïve`."""
    beyond = sum(byte > 0x7F for byte in data)
    return beyond * 3 < len(data) and beyond < max(8, len(data) // 50)
