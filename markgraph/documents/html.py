"""Reads HTML: what a reader sees, as lines, with headings, list marks and table rows.

A row that holds headings or other rows lays out the page: what is in its cells stands as in the page. Does
NOT run scripts or style sheets; a `style` attribute is only asked what is hidden, and how a list is counted.
"""

import re
import sys
import warnings
from collections.abc import Callable, Iterator

from bs4 import BeautifulSoup, MarkupResemblesLocatorWarning, Tag, XMLParsedAsHTMLWarning
from bs4.element import NavigableString, PreformattedString

from markgraph.documents.headings import first_title
from markgraph.documents.numerals import letters, roman
from markgraph.documents.tables import BAR, Cell, row_lines
from markgraph.documents.text import Block, assemble, clean, decode, stem
from markgraph.documents.types import Document

_DROPPED = frozenset({"head", "nav", "noscript", "script", "style", "template"})
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_LEVELS = {f"h{level}": level for level in range(1, 7)}
_SPACE = re.compile(r"\s")
_TIGHT = frozenset({"dd", "li", "tr"})
_WHOLE = re.compile(r"-?[0-9]{1,9}")
_COUNTED = re.compile(
    r"list-style(?:-type)?\s*:[^;]*\b((?:lower|upper)-(?:alpha|latin|roman))", re.IGNORECASE
)
_NUMERALS: dict[str, Callable[[int], str]] = {
    **dict.fromkeys(("a", "lower-alpha", "lower-latin"), letters),
    **dict.fromkeys(("A", "upper-alpha", "upper-latin"), lambda number: letters(number).upper()),
    **dict.fromkeys(("i", "lower-roman"), roman),
    **dict.fromkeys(("I", "upper-roman"), lambda number: roman(number).upper()),
}
_BLOCKS = frozenset(
    re.findall(
        r"\w+",
        """address article aside blockquote body caption center dd details dialog div dl dt
        fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 header hr html li main ol p pre
        section summary table tbody td tfoot th thead tr ul""",
    )
)


def read_html(data: bytes, source: str) -> Document:
    """Read an HTML page; its title is `<title>`, else the first outermost heading, else the file's name.

    Raises:
        DocumentError: when it is not text.
    """
    markup = decode(data, source, is_html=True)
    with warnings.catch_warnings():
        # XHTML is read as HTML on purpose, and a page that is only a URL is still a page.
        warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)
        warnings.simplefilter("ignore", MarkupResemblesLocatorWarning)
        soup = BeautifulSoup(markup, "lxml")
    named = _squeeze(clean(soup.title.get_text())) if soup.title else ""
    _prune(soup)
    text, headings = assemble(_blocks(soup))
    title = named or first_title(headings) or stem(source)
    return Document(source=source, text=text, title=title, headings=headings)


def _prune(soup: BeautifulSoup) -> None:
    """Drop what no reader sees from a page just parsed, write out list marks, and join each table row."""
    for tag in soup.find_all(_is_unseen):
        tag.decompose()
    for listing in soup.find_all(["ol", "ul"]):
        _mark(listing)
    around = {id(tag.find_parent("tr")) for tag in soup.find_all(["tr", *_LEVELS])}
    tables: dict[int, list[Tag]] = {}
    for row in soup.find_all("tr"):
        tables.setdefault(id(row.find_parent("table")), []).append(row)
    for rows in tables.values():
        _lay_out([row for row in rows if id(row) not in around])


def _lay_out(rows: list[Tag]) -> None:
    """Put the cells of each row of a table in its place, as one line."""
    cells = [[_cell(cell) for cell in row.find_all(["td", "th"])] for row in rows]
    for row, line in zip(rows, row_lines(cells), strict=True):
        row.string = line


def _cell(cell: Tag) -> Cell:
    text = " ".join(block.text for block in _blocks(cell))
    return Cell(text, _count(cell, "colspan"), _count(cell, "rowspan") or sys.maxsize)


def _count(tag: Tag, name: str, default: int = 1) -> int:
    """Return a whole number that an attribute of `tag` holds."""
    value = str(tag.get(name) or "").strip()
    return int(value) if _WHOLE.fullmatch(value) else default


def _mark(listing: Tag) -> None:
    """Put a number or a dash before the text of each item."""
    number = _count(listing, "start")
    style = _COUNTED.search(str(listing.get("style") or ""))
    numeral = _NUMERALS.get(style[1].lower() if style else str(listing.get("type")), str)
    for item in listing.find_all("li", recursive=False):
        number = _count(item, "value", number)
        text = next((string for string in item.strings if string.strip()), None)
        if text is not None:
            mark = f"{numeral(number)}. " if listing.name == "ol" else "- "
            text.replace_with(mark + text.lstrip())
        number += 1


def _is_unseen(tag: Tag) -> bool:
    is_hidden = tag.has_attr("hidden") or (tag.name == "input" and tag.get("type") == "hidden")
    return is_hidden or tag.name in _DROPPED or bool(_HIDDEN.search(str(tag.get("style") or "")))


def _blocks(root: Tag) -> Iterator[Block]:
    """Yield the blocks under `root` in reading order.

    Goes through the tree as a flat list, so that a page nested thousands deep needs no deep recursion.
    """
    owner, words = root, ""
    for node in root.descendants:
        if isinstance(node, Tag):
            if node.name == "br":
                words += "\n"
            if node.name not in _BLOCKS:
                continue
            holder, piece = node, ""
        elif isinstance(node, NavigableString) and not isinstance(node, PreformattedString):
            holder = _holder(node, root)
            # Line ends count only where the page shows them.
            piece = str(node) if holder.name == "pre" else _SPACE.sub(" ", node)
            if not piece.strip() and holder is not owner:
                continue
        else:  # comments, declarations
            continue
        if holder is not owner:
            if words.strip():
                yield _block(owner, words)
            owner, words = holder, ""
        words += piece
    if words.strip():
        yield _block(owner, words)


def _block(owner: Tag, words: str) -> Block:
    if owner.name == "tr" and BAR in words:
        return Block(words, tight=True, table=owner.find_parent("table") or owner)
    text = words if owner.name == "pre" else "\n".join(map(_squeeze, words.strip().split("\n")))
    around = owner.parent.name if owner.parent else ""
    return Block(text, _LEVELS.get(owner.name, 0), tight=not _TIGHT.isdisjoint({owner.name, around}))


def _holder(node: NavigableString, root: Tag) -> Tag:
    """Return the nearest block around `node`, at most `root`."""
    return next((tag for tag in node.parents if tag is root or tag.name in _BLOCKS), root)


def _squeeze(text: str) -> str:
    return " ".join(text.split())
