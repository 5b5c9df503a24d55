"""Lists the XML files of a folder, which are read by a mapping."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from markgraph.documents.headings import line_headings
from markgraph.documents.types import Document
from markgraph.documents.xml import read_xml
from markgraph.documents.xml_mapping import XmlMapping
from markgraph.errors import DocumentError, EmptyCorpusError
from markgraph.ingestion.corpora import Folder, Item


class XmlFiles(Folder):
    """The XML files under a folder, or one of them; another mapping makes other documents of them."""

    def __init__(self, path: str | Path | None, mapping: XmlMapping | None = None) -> None:
        super().__init__(path)
        self._mapping = mapping or XmlMapping()

    def items(self) -> Iterator[Item]:
        """List the XML files in the order of their paths.

        Raises:
            UsageError: when the path does not exist, a folder cannot be listed, or no XML file is there.
        """
        if not any(map(self._is_read, self._files())):
            raise EmptyCorpusError(f"Nothing to read in {self.name}. Expected files with the suffix .xml.")
        return (self._item(path) for path in self._files() if self._is_read(path))

    def _is_read(self, path: Path) -> bool:
        return path.suffix.lower() == ".xml" and super()._is_read(path)

    def _item(self, path: Path) -> Item:
        name = path.as_posix()
        source = name if name.isprintable() else quote(os.fsencode(path), safe="/ ")
        try:
            content = sha256(path.read_bytes()).hexdigest()
        except OSError:
            return Item(source, "", partial(self._load, path, source))
        fingerprint = sha256(f"{json.dumps(asdict(self._mapping))}\0{content}".encode()).hexdigest()
        return Item(source, fingerprint, partial(self._load, path, source))

    def _load(self, path: Path, source: str) -> Document:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DocumentError(f"Cannot open {source}: {error.strerror}. Check its permissions.") from error
        document = read_xml(data, source, self._mapping)
        if not document.text.strip():
            raise DocumentError(f"{source} holds no text. Check corpus.mapping, or leave the file out.")
        return document if document.headings else replace(document, headings=line_headings(document.text))
