"""Reads HTML: what a reader sees, as lines, with headings, list marks and table rows.

Does NOT run scripts or style sheets, and numbers ordered lists by 1, 2, 3 whatever their `type`.
"""

import re
import warnings
from collections.abc import Iterator

from bs4 import BeautifulSoup, MarkupResemblesLocatorWarning, Tag, XMLParsedAsHTMLWarning
from bs4.element import NavigableString, PreformattedString

from markgraph.documents.headings import first_title
from markgraph.documents.text import Block, assemble, clean, decode, stem
from markgraph.documents.types import Document

_DROPPED = frozenset({"head", "nav", "noscript", "script", "style", "template"})
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_LEVELS = {f"h{level}": level for level in range(1, 7)}
_TIGHT = frozenset({"dd", "li", "tr"})
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
    for row in soup.find_all("tr"):
        if row.find(["tr", *_LEVELS]):  # the table only lays out the page
            continue
        texts = [
            _squeeze(" ".join(block.text for block in _blocks(cell))) for cell in row.find_all(["td", "th"])
        ]
        row.string = " | ".join(texts) if any(texts) else ""


def _mark(listing: Tag) -> None:
    """Put a number or a dash before the text of each item."""
    start = str(listing.get("start") or "1")
    first = int(start) if re.fullmatch(r"[0-9]{1,9}", start) else 1
    for number, item in enumerate(listing.find_all("li", recursive=False), start=first):
        text = next((string for string in item.strings if string.strip()), None)
        if text is not None:
            text.replace_with(f"{number}. {text.lstrip()}" if listing.name == "ol" else f"- {text.lstrip()}")


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
            holder, piece = _holder(node, root), _string(node)
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
    text = words if owner.name == "pre" else "\n".join(map(_squeeze, words.strip().split("\n")))
    around = owner.parent.name if owner.parent else ""
    return Block(text, _LEVELS.get(owner.name, 0), tight=not _TIGHT.isdisjoint({owner.name, around}))


def _holder(node: NavigableString, root: Tag) -> Tag:
    """Return the nearest block around `node`, at most `root`."""
    return next((tag for tag in node.parents if tag is root or tag.name in _BLOCKS), root)


def _string(node: NavigableString) -> str:
    """Return the text of `node`, its line ends kept only where the page shows them."""
    return str(node) if node.find_parent("pre") else re.sub(r"\s", " ", node)


def _squeeze(text: str) -> str:
    return " ".join(text.split())
