"""Lists the XML files of a folder, which are read by a mapping."""

from dataclasses import asdict, replace
from pathlib import Path

from markgraph.documents.sandbox import Sandbox
from markgraph.documents.xml_mapping import XmlMapping
from markgraph.ingestion.corpora import Folder


class XmlFiles(Folder):
    """The XML files under a folder, or one of them; another mapping makes other documents of them."""

    def __init__(
        self, path: str | Path | None, mapping: XmlMapping | None = None, parser: Sandbox | None = None
    ) -> None:
        mapped = replace(parser or Sandbox(), xml=asdict(mapping or XmlMapping()))
        super().__init__(path, mapped, [".xml"])
