"""Reads a message (.eml): its headers, its text, and its attachments as sections of their own.

Of a text in several forms the plain one is read, else the HTML. Attached messages are read as attachments
are. Does NOT verify signatures, decrypt, read the pictures within a text, or fetch what a text refers to.
"""

import codecs
import mimetypes
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from email import message_from_bytes
from email.errors import MessageError
from email.message import EmailMessage, MIMEPart
from email.policy import default
from pathlib import PurePosixPath

from markgraph.documents.html import read_html
from markgraph.documents.text import Block, assemble, clean, decode, join, stem
from markgraph.documents.types import Document, Heading
from markgraph.errors import DocumentError

Reader = Callable[[bytes, str], Document]
_Part = tuple[str, tuple[Heading, ...]]
_HEADERS = ("From", "To", "Cc", "Date", "Subject")
_PLAIN, _HTML, _MESSAGE = "text/plain", "text/html", "message/rfc822"
_ABOVE = re.compile(rb"\A(?:\xef\xbb\xbf)?(?:[ \t]*(?:\r\n|\r|\n))*")
_DEEPEST = 3
_MOST_ATTACHMENTS = 100
_MOST_CHARACTERS = 2**26
_LONGEST_FIELD = 500
"""Characters of a header in the metadata, which every chunk repeats; the text holds all of it."""


def read_mail(data: bytes, source: str, readers: Mapping[str, Reader] | None = None) -> Document:
    """Read a message; its title is its subject, else the file's name, and its headers are metadata too.

    `readers` reads attachments, by their suffix. One that cannot be read is named in the text with the
    reason, and `metadata["unread_attachments"]` counts them.

    Raises:
        DocumentError: when it is no message, or holds too much.
    """
    reading = _Reading(readers or {})
    try:
        message = _parsed(data)
        fields = _fields(message)
        if not fields:
            raise MessageError(f"it has none of the headers {', '.join(_HEADERS)}")
        text, headings, _ = join(reading.message(message))
    # On damaged messages the parser raises whatever the damage trips: LookupError, IndexError, ...
    except Exception as error:
        raise DocumentError(
            f"Cannot read {source} as a message ({type(error).__name__}: {error}). It is damaged, too large, "
            "or another format under this suffix: save it as EML from a mail program."
        ) from error
    metadata = {name.lower(): value[:_LONGEST_FIELD] for name, value in fields.items()}
    if reading.unread:
        metadata["unread_attachments"] = str(reading.unread)
    title = fields.get("Subject") or stem(source)
    return Document(source=source, text=text, title=title, headings=headings, metadata=metadata)


@dataclass
class _Reading:
    """Reads one message with all that is attached to it, however deep."""

    readers: Mapping[str, Reader]
    attachments: int = 0
    characters: int = 0
    unread: int = 0

    def message(self, message: MIMEPart, depth: int = 0) -> Iterator[_Part]:
        """Yield the headers, then each text and each attachment in order."""
        fields = _fields(message)
        head = [Block(fields.pop("Subject", ""), level=1)] if depth == 0 else []
        yield assemble([*head, *(Block(f"{name}: {value}", tight=True) for name, value in fields.items())])
        for part in _parts(message):
            yield self._text(part, depth) if _is_text(part) else self._attachment(part, depth)

    def _text(self, part: MIMEPart, depth: int) -> _Part:
        text = _decoded(part)
        if part.get_content_type() == _PLAIN:
            return self._counted(clean(text).strip("\n"), (), 0)
        page = read_html(codecs.BOM_UTF8 + text.encode("utf-8", "replace"), "its text")
        return self._counted(page.text, page.headings, 2 * depth + 1)

    def _attachment(self, part: MIMEPart, depth: int) -> _Part:
        """Read an attachment below a heading that names it."""
        self.attachments += 1
        if self.attachments > _MOST_ATTACHMENTS:
            raise MessageError(f"it has more than {_MOST_ATTACHMENTS} attachments")
        name = _name(part)[:_LONGEST_FIELD]
        try:
            content = list(self._content(part, name, depth))
        except DocumentError as error:
            self.unread += 1
            content = [(f"(not read: {_squeezed(str(error))})", ())]
        heading = assemble([Block(f"Attachment: {name}", level=2 * depth + 2)])
        text, headings, _ = join([heading, *content])
        return text, headings

    def _content(self, part: MIMEPart, name: str, depth: int) -> Iterator[_Part]:
        """Yield the texts of an attachment.

        Raises:
            DocumentError: when it cannot be read.
        """
        suffix = PurePosixPath(name).suffix.lower()
        if part.get_content_type() == _MESSAGE or suffix == ".eml":
            if depth == _DEEPEST:
                raise DocumentError(f"{name} lies in {depth} messages within each other. Save it by itself.")
            yield from self.message(_inner(part), depth + 1)
            return
        if suffix not in self.readers:
            suffix = mimetypes.guess_extension(part.get_content_type()) or suffix
        if suffix not in self.readers:
            raise DocumentError(f"{name} is of the type {part.get_content_type()}, which is not read.")
        data = _payload(part)
        if not data.strip():
            raise DocumentError(f"{name} is empty.")
        document = self.readers[suffix](data, name)
        yield self._counted(document.text, document.headings, 2 * depth + 2)

    def _counted(self, text: str, headings: tuple[Heading, ...], depth: int) -> _Part:
        """Return a text with its headings `depth` levels lower, unless all texts hold too much."""
        self.characters += len(text)
        if self.characters > _MOST_CHARACTERS:
            raise MessageError(f"it holds more than {_MOST_CHARACTERS} characters")
        return text, tuple(replace(each, level=each.level + depth) for each in headings)


def _parsed(data: bytes) -> EmailMessage:
    """Return the message; a byte order mark and empty lines above it, as some programs write, are no body."""
    return message_from_bytes(_ABOVE.sub(b"", data, count=1), policy=default)


def _fields(message: MIMEPart) -> dict[str, str]:
    """Return the headers that people see, by name, where they hold something."""
    return {name: value for name in _HEADERS if (value := _header(message, name))}


def _header(message: MIMEPart, name: str) -> str:
    try:
        values = message.get_all(name, [])
    except Exception:  # Python's parser of addresses and dates fails on some that are malformed
        values = [value for key, value in message.raw_items() if key.lower() == name.lower()]
    return _squeezed(", ".join(map(str, values)))


def _parts(message: MIMEPart) -> Iterator[MIMEPart]:
    """Yield texts and attachments in order: of several forms of a text one, and no picture within a text."""
    if message.get_content_maintype() != "multipart" or not message.is_multipart():
        yield message
        return
    parts = [each for part in message.iter_parts() for each in _parts(part)]
    match message.get_content_type():
        case "multipart/alternative":
            plain = [each for each in parts if _is_text(each) and each.get_content_type() == _PLAIN]
            wanted = _PLAIN if any(_decoded(each).strip() for each in plain) else _HTML
            yield from (each for each in parts if not _is_text(each) or each.get_content_type() == wanted)
        case "multipart/related":
            yield from (each for each in parts if not _is_picture(each))
        case _:
            yield from parts


def _is_text(part: MIMEPart) -> bool:
    """Tell whether a part is text that stands in the message itself."""
    return part.get_content_type() in (_PLAIN, _HTML) and not part.is_attachment() and not part.get_filename()


def _is_picture(part: MIMEPart) -> bool:
    """Tell whether a part is a picture that a text shows; it may call itself an attachment all the same."""
    shown = "Content-ID" in part or not part.is_attachment()
    return part.get_content_maintype() == "image" and shown


def _inner(part: MIMEPart) -> MIMEPart:
    """Return the message that is attached, as it is or as a file."""
    if part.get_content_type() != _MESSAGE:
        return _parsed(_payload(part))
    inner = part.get_payload(0)
    if not isinstance(inner, MIMEPart):
        raise MessageError("an attached message is damaged")
    return inner


def _name(part: MIMEPart) -> str:
    """Return what an attachment is called: its file, the subject of a message, at worst its type."""
    is_message = part.get_content_type() == _MESSAGE
    subject = _header(_inner(part), "Subject") if is_message else ""
    return _squeezed(part.get_filename() or subject or part.get_content_type())


def _payload(part: MIMEPart) -> bytes:
    data = part.get_payload(decode=True)
    return data if isinstance(data, bytes) else b""


def _decoded(part: MIMEPart) -> str:
    """Return the text of a part, in the encoding that it names, else as a file is decoded."""
    data = _payload(part)
    try:
        return data.decode(part.get_content_charset("utf-8"))
    except (LookupError, UnicodeError):
        return decode(data, "its text")


def _squeezed(text: str) -> str:
    return " ".join(clean(text).split())
