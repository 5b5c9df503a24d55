"""Keeps the records of a Chroma collection sealed, and seals those that lie in clear or under an old key."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from markgraph.errors import ShreddedError
from markgraph.retrieval.chroma_records import SEALED, Records
from markgraph.retrieval.dense import BATCH
from markgraph.security.sealing.keyring import Keyring

if TYPE_CHECKING:
    from chromadb.api.models.Collection import Collection


class ChromaRecords(ABC):
    """A collection, and what its records are made by."""

    seal: Keyring | None
    _is_resealing: bool = False

    @property
    @abstractmethod
    def _place(self) -> str:
        """Return what errors call it."""

    @abstractmethod
    def _reading(self) -> "AbstractContextManager[Collection | None]":
        """Hold the collection as it is now, for this thread alone; None where nothing was ever stored."""

    @abstractmethod
    def _writing(self) -> "AbstractContextManager[Collection]":
        """Hold the collection, made where there was none, for this thread alone."""

    @abstractmethod
    def _ids_after(self, collection: "Collection", after: str, limit: int) -> list[str]:
        """Return the next `limit` ids behind `after`, in their order."""

    @abstractmethod
    def _scrub(self, cleared: bool) -> None:
        """Overwrite what was replaced; `cleared` if some of that was in clear."""

    def reseal(self, progress: Callable[[int], object] = bool) -> int:
        """Seal what isn't, or is under an old key, and return how many chunks that were; can be repeated."""
        if self.seal is None:
            return 0
        self._is_resealing = True
        sealed, after, cleared = 0, "", False
        while ids := self._page(after):
            with self._writing() as collection:
                rows: Any = collection.get(ids, include=["documents", "metadatas", "embeddings"])
                old = _outdated(rows, self._records)
                cleared |= any(SEALED not in metadata for _, _, metadata, _ in old)
                if old:
                    _replace(collection, old, self._records)
            after = ids[-1]
            sealed += len(old)
            progress(len(ids))
        self._is_resealing = False
        self._scrub(cleared)
        return sealed

    def _page(self, after: str) -> list[str]:
        with self._reading() as collection:
            return self._ids_after(collection, after, BATCH) if collection else []

    @cached_property
    def _records(self) -> Records:
        return Records(self.seal, self._place)

    def _check_sealed(self, collection: "Collection") -> None:
        """Refuse a collection that is sealed where there is no keyring, or the other way round."""
        some = collection.get(limit=1, include=["documents", "metadatas"])
        for id_, text, metadata in zip(
            some["ids"], some["documents"] or [], some["metadatas"] or [], strict=True
        ):
            with suppress(ShreddedError):
                self._records.chunk(id_, text, metadata)


Record = tuple[str, str, dict[str, Any], Any]
"""Id, document, metadata, vector."""


def _outdated(rows: Any, records: Records) -> list[Record]:
    """Return the records that are to be sealed anew."""
    whole = zip(rows["ids"], rows["documents"], rows["metadatas"], rows["embeddings"], strict=True)
    return [each for each in whole if records.is_outdated(each[2])]


def _replace(collection: "Collection", old: Sequence[Record], records: Records) -> None:
    """Seal records in their place."""
    # None makes Chroma drop a key; it would embed a document that comes without a vector.
    chunks = [records.chunk(id_, text, metadata, lenient=True) for id_, text, metadata, _ in old]
    collection.update(
        ids=[each[0] for each in old],
        embeddings=[each[3] for each in old],
        documents=[records.text(chunk) for chunk in chunks],
        metadatas=[
            dict.fromkeys(each[2]) | records.metadata(chunk) for each, chunk in zip(old, chunks, strict=True)
        ],
    )
