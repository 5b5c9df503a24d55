"""Reads a file of JSON lines, a document a line, by a mapping of its fields; the layout of BEIR works as is.

Does NOT read compressed files, nor fields within fields, and gives nobody permission: a field is metadata at
most, of which only a rule can make one.
"""

import json
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

from markgraph.documents.headings import line_headings
from markgraph.documents.text import clean
from markgraph.documents.types import Document
from markgraph.errors import DocumentError, EmptyCorpusError, UsageError
from markgraph.ingestion.corpora import Item

_PLACE = re.compile(r"\{([^{}]+)\}")
_BOM = b"\xef\xbb\xbf"
_LONGEST_ID = 300
_SHOWN = 20
"""How many fields of a line an error names."""

Setting = str | Sequence[str]
"""The name of a field, a text with names in braces, `{regulation} Article {article}`, or several of these."""


@dataclass(frozen=True)
class Fields:
    """Which fields of a line make up a document."""

    text: Setting = "text"
    """Strings, or lists of strings, one a line. Of several fields those that hold something are joined by an
    empty line."""
    title: Setting = "title"
    """Where it is empty, the id is the title."""
    id: Setting | None = None
    """What names the document among those of the file; None is `_id`, else `id`."""
    metadata: Sequence[str] = ()
    """Strings, numbers, booleans, or lists of these."""

    def __post_init__(self) -> None:
        for name in ("text", "title", "id", "metadata"):
            value = getattr(self, name)
            object.__setattr__(self, name, value if value is None or isinstance(value, str) else tuple(value))


@dataclass(frozen=True)
class _Line:
    number: int
    """1 for the first."""
    offset: int
    data: bytes
    is_whole: bool

    @property
    def fingerprint(self) -> str:
        return sha256(self.data).hexdigest()


class JsonLines:
    """The lines of a file, one document each; a line that cannot be read is no loss to the others.

    Holds one line at a time, and 16 bytes of each id.
    """

    def __init__(self, path: str | Path | None, fields: Fields | None = None, longest: int = 2**24) -> None:
        """Take the file; a line of more than `longest` bytes is not read."""
        self._path = Path(os.path.realpath(Path(path or os.devnull).expanduser()))
        self._fields = fields or Fields()
        self._longest = longest

    @property
    def name(self) -> str:
        """Return the real path."""
        return self._path.as_posix()

    def items(self) -> Iterator[Item]:
        """List the lines in order; those that cannot be read say so when they are loaded.

        Raises:
            UsageError: when there is no such file, or when all lines lack a field of the title or metadata.
            EmptyCorpusError: when it holds no lines.
        """
        try:
            is_file = stat.S_ISREG(os.stat(self._path).st_mode)
        except OSError as error:
            raise UsageError(f"Cannot open {self._path}: {error.strerror}. Check the path.") from error
        if not is_file or not self.name.isprintable():
            raise UsageError(
                f"{self.name!r} is no file, or has no printable name. Give a file of JSON lines."
            )
        if next(self._lines(), None) is None:
            raise EmptyCorpusError(f"{self._path} holds no lines. Expected one JSON object a line.")
        return self._items()

    def skipped(self) -> list[str]:
        """List nothing: every line is a document."""
        return []

    def _items(self) -> Iterator[Item]:
        used: set[bytes] = set()
        lacking = {name for name in _names(self._fields.title, self._fields.metadata) if name != "title"}
        found: dict[str, None] = {}
        for line in self._lines():
            source = f"{self.name}#L{line.number}"
            try:
                record = self._record(line)
                lacking -= record.keys()
                found |= dict.fromkeys(list(record)[:_SHOWN] if len(found) < _SHOWN else [])
                id_ = self._id(record, line)
                if (mark := sha256(id_.encode()).digest()[:16]) in used:
                    raise self._unread(line, f"an earlier line has its id, {id_!r}. Give each its own")
            except DocumentError as error:
                yield Item(source, line.fingerprint, partial(_refuse, str(error)))
                continue
            used.add(mark)
            fingerprint = sha256(f"{self._fields!r}\0{line.fingerprint}".encode()).hexdigest()
            place = (line.number, line.offset, len(line.data), line.fingerprint)
            yield Item(f"{self.name}#{id_}", fingerprint, partial(self._load, *place))
        if lacking and found:
            raise UsageError(
                f"No line of {self._path} has the field {min(lacking)!r}.\nExpected some of: "
                f"{', '.join(found)}. Check corpus.fields.title and corpus.fields.metadata."
            )

    def _lines(self) -> Iterator[_Line]:
        """Yield the lines that hold something; of one that is too long, the beginning."""
        with self._path.open("rb") as file:
            number = offset = 0
            while data := file.readline(self._longest + 1):
                number += 1
                is_whole = len(data) <= self._longest or data.endswith(b"\n")
                rest = data
                while not rest.endswith(b"\n") and (rest := file.readline(2**20)):
                    pass
                if data.strip():
                    yield _Line(number, offset, data, is_whole)
                offset = file.tell()

    def _load(self, number: int, offset: int, length: int, fingerprint: str) -> Document:
        """Read one line again, if it is still the one that was listed."""
        try:
            with self._path.open("rb") as file:
                file.seek(offset)
                line = _Line(number, offset, file.read(length), is_whole=True)
        except OSError as error:
            raise DocumentError(
                f"Cannot open {self._path}: {error.strerror}. Check its permissions."
            ) from error
        if line.fingerprint != fingerprint:
            raise self._unread(line, "the file has changed since it was listed. Run it again")
        return self._document(self._record(line), line)

    def _document(self, record: dict[str, Any], line: _Line) -> Document:
        id_ = self._id(record, line)
        text = clean("\n\n".join(self._texts(record, self._fields.text, line, of_text=True)))
        if not text.strip():
            raise self._lacks(record, line, "text", self._fields.text)
        title = _squeezed(" ".join(self._texts(record, self._fields.title, line)))
        fields = {name: _squeezed(self._text(record, name, line)) for name in self._fields.metadata}
        return Document(
            source=f"{self.name}#{id_}",
            text=text,
            title=title or id_,
            headings=line_headings(text),
            metadata={name: value for name, value in fields.items() if value},
        )

    def _record(self, line: _Line) -> dict[str, Any]:
        if not line.is_whole:
            raise self._unread(
                line, f"it has more than {self._longest} bytes. Split it, or raise corpus.longest"
            )
        try:
            record = json.loads(line.data.removeprefix(_BOM).decode())
        except (ValueError, RecursionError) as error:
            raise self._unread(
                line, f"it is no JSON ({error}). Expected one object a line, in UTF-8"
            ) from error
        if not isinstance(record, dict):
            raise self._unread(line, f"it is a {type(record).__name__}. Expected a JSON object")
        return record

    def _id(self, record: dict[str, Any], line: _Line) -> str:
        setting = self._fields.id or ("_id" if "_id" in record else "id")
        id_ = _squeezed(" ".join(self._texts(record, setting, line)))
        if not id_:
            raise self._lacks(record, line, "id", self._fields.id or ("_id", "id"))
        if len(id_) > _LONGEST_ID:
            raise self._unread(line, f"its id has {len(id_)} characters. Expected at most {_LONGEST_ID}")
        if not {".", ".."}.isdisjoint(id_.split("/")):
            raise self._unread(line, f"its id, {id_!r}, leads through . or .., where no rule can follow")
        return id_

    def _texts(
        self, record: dict[str, Any], setting: Setting, line: _Line, *, of_text: bool = False
    ) -> Iterator[str]:
        """Yield the texts that a setting makes of a line, those left out that hold nothing."""
        for each in (setting,) if isinstance(setting, str) else setting:
            if names := _PLACE.findall(each):
                values = {name: self._text(record, name, line, of_text=of_text) for name in names}
                text = _PLACE.sub(lambda match: values[match[1]], each) if any(values.values()) else ""  # noqa: B023
            else:
                text = self._text(record, each, line, of_text=of_text)
            if text.strip():
                yield text

    def _text(self, record: dict[str, Any], name: str, line: _Line, *, of_text: bool = False) -> str:
        """Return the value of a field as text, as JSON spells it (`true`), empty where it is missing."""
        value = record.get(name)
        values = value if isinstance(value, list) else [] if value is None else [value]
        kinds = (str,) if of_text else (str, int, float)
        for each in values:
            if not isinstance(each, kinds):
                allowed = "a string" if of_text else "a string, a number"
                raise self._unread(
                    line,
                    f"its field {name!r} holds a {type(each).__name__}. Expected {allowed} or a list of them",
                )
        return ("\n" if of_text else ", ").join(
            each if isinstance(each, str) else json.dumps(each) for each in values
        )

    def _lacks(self, record: dict[str, Any], line: _Line, what: str, setting: Setting) -> DocumentError:
        fields = ", ".join(_names(setting))
        return self._unread(
            line,
            f"it has no {what}: {fields} is missing or empty. Its fields: {', '.join(list(record)[:_SHOWN])}",
        )

    def _unread(self, line: _Line, why: str) -> DocumentError:
        return DocumentError(f"Cannot read line {line.number} of {self._path}: {why}.")


def _names(*settings: Setting) -> list[str]:
    """Return the fields that settings name."""
    parts = [each for one in settings for each in ((one,) if isinstance(one, str) else one)]
    return [name for part in parts for name in (_PLACE.findall(part) or [part])]


def _squeezed(text: str) -> str:
    return " ".join(clean(text).split())


def _refuse(reason: str) -> NoReturn:
    raise DocumentError(reason)
