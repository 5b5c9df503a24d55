"""What flows between chunking, indexing and retrieving."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol, Self

from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions

if TYPE_CHECKING:
    from markgraph.retrieval.dense import Embedder


@dataclass(frozen=True)
class Chunk:
    """A stretch of one document: `document.text[start:end] == text`."""

    text: str
    source: str
    title: str
    start: int
    end: int
    heading: tuple[str, ...] = ()
    """Titles of the sections around it, outermost first."""
    page: int | None = None
    """1-based page on which it begins."""
    page_breaks: tuple[int, ...] = ()
    """Offsets in the document at which further pages begin within the chunk."""
    tenant: str = "default"
    readers: tuple[str, ...] = ()
    """Reader atoms (`public`, `u:SUBJECT`, `g:GROUP`); empty means nobody."""
    classification: int = 0
    """Level in `CLASSIFICATIONS`."""
    before: str = ""
    """Id of the chunk before it in the same document; empty for the first."""
    after: str = ""
    """Id of the chunk behind it; empty for the last."""
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def permissions(self) -> Permissions:
        """Return who may read it."""
        return Permissions(self.tenant, self.readers, self.classification)

    @property
    def id(self) -> str:
        """Return an id that the same stretch of the same document always gets."""
        key = "\0".join((self.tenant, self.source, str(self.start), self.text))
        return sha256(key.encode()).hexdigest()[:32]

    def to_json(self) -> str:
        """Return it as a JSON object."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what `to_json` was made from."""
        fields = json.loads(text)
        return cls(**fields | {name: tuple(fields[name]) for name in ("heading", "page_breaks", "readers")})


def permitted_as(chunk: Chunk, permissions: Permissions) -> Chunk:
    """Return `chunk` as one that others may read.

    Raises:
        ValueError: it belongs to another tenant.
    """
    if chunk.tenant != permissions.tenant:
        raise ValueError(f"Chunk {chunk.id} belongs to tenant {chunk.tenant!r}, not {permissions.tenant!r}.")
    return replace(chunk, readers=permissions.readers, classification=permissions.classification)


@dataclass(frozen=True)
class Place:
    """Where a part of a fused index saw a chunk."""

    part: str
    rank: int
    """1 for the best."""
    score: float


@dataclass(frozen=True)
class Hit:
    """A chunk that a search found; a higher score is better, and comparable within one search only."""

    chunk: Chunk
    score: float
    places: tuple[Place, ...] = ()
    """What the score was fused from; empty where it wasn't."""
    joined: tuple[str, ...] = ()
    """Ids of the chunks that its chunk was joined from; empty where that is stored as it is."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the ids of the stored chunks that it was made of."""
        return self.joined or (self.chunk.id,)


@dataclass(frozen=True)
class Vectors:
    """Vectors of chunks that were made before an index asks for them."""

    embedder: str
    """Name of what made them; an index with another embedder does not use them."""
    by_id: Mapping[str, Sequence[float]] = field(repr=False)
    """By the id of the chunk, as `markgraph.retrieval.dense.embed` makes them."""


class Index(Protocol):
    """Stores chunks and finds those that a caller may read.

    `tests/retrieval/index_suite.py` is the conformance suite of this port.
    """

    @property
    def name(self) -> str:
        """Return what results call it."""

    @property
    def embedder(self) -> "Embedder | None":
        """Return what it embeds chunks with; None where it has no vectors."""

    @property
    def stores(self) -> tuple[str, ...]:
        """Return what it writes to, `KIND:PLACE` each; indexes over the same stores can take turns."""

    def add(self, chunks: Sequence[Chunk], vectors: Vectors | None = None) -> None:
        """Store `chunks`; one that is there already is replaced, with its permissions.

        Args:
            chunks: in any order.
            vectors: those of its own embedder are used; what they lack is computed.
        """

    def remove(self, ids: Sequence[str]) -> None:
        """Forget the chunks with these ids; unknown ids are ignored."""

    def permit(self, ids: Sequence[str], permissions: Permissions) -> None:
        """Change who may read the chunks with these ids, from the next search on; unknown ids are ignored.

        The tenant is part of an id and can't be changed.

        Raises:
            ValueError: a chunk belongs to another tenant than `permissions` says; none is changed.
        """

    def search(self, query: str, caller: Caller, k: int) -> list[Hit]:
        """Return at most `k` chunks that `caller` may read, best first.

        Raises:
            DeniedError: when the caller is nobody.
        """

    def get(self, ids: Sequence[str], caller: Caller) -> list[Chunk]:
        """Return those of the chunks with these ids that `caller` may read, in the order of `ids`.

        Raises:
            DeniedError: when the caller is nobody.
        """

    def scan(self, after: str = "", limit: int = 1000) -> list[Chunk]:
        """Return the next chunks in the order of their ids, whoever may read them: to build another index.

        Args:
            after: the id of the last chunk seen; empty begins.
            limit: at most so many.
        """

    def __len__(self) -> int:
        """Return how many chunks are stored, readable or not."""
