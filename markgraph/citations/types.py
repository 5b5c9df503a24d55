"""What flows from the text of a document into the graph of its citations, and the port of that graph."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

OWN = ""
"""As an act: the one that the text is part of. As the first step of a place: the article or section."""
DEFINITION = "definition"
"""The kind of a link to where a term is defined."""


@dataclass(frozen=True)
class Reference:
    """A stretch of text that points to a place in an act, a contract, or a court's reports."""

    start: int
    """Index of its first character."""
    end: int
    kind: str
    """`article`, `section`, `paragraph`, `part` (annexes, chapters, ...), `act`, or `case`."""
    act: str
    """CELEX number, name, or reporter citation in lower case; `OWN` where the text names none."""
    place: tuple[str, ...]
    """Steps inwards, such as `("art 6", "1", "f")`; empty for the act as a whole.

    A first step `OWN` is the article or section around the reference. A step `^N` after it stands for the
    first N steps of the paragraph that the reference is in.
    """


@dataclass(frozen=True)
class Anchor:
    """A key under which a passage can be cited."""

    key: str
    term: str = ""
    """The term that the passage defines; empty where it is cited by its place."""


@dataclass(frozen=True)
class Mention:
    """A key that a passage cites: one of those that its reference may mean."""

    key: str
    kind: str
    text: str
    """The reference as it is written; empty for definitions."""
    place: int
    """Which reference of the passage it is, counted from 0."""
    rank: int
    """0 for the nearest and narrowest reading of the reference; others count where that leads nowhere."""


@dataclass(frozen=True)
class Node:
    """A passage with everything that the graph keeps of it: no text but that of its references and terms."""

    id: str
    """Id of its chunk."""
    anchors: tuple[Anchor, ...] = ()
    mentions: tuple[Mention, ...] = ()


@dataclass(frozen=True, order=True)
class Link:
    """A passage that cites another one."""

    citing: str
    place: int
    rank: int
    kind: str
    text: str
    cited: str
    term: str
    """For kind `definition`: the term; the citing passage may or may not use it."""


class CitationGraph(Protocol):
    """Stores which passages can be cited under which keys, and which cite them.

    Two passages are linked where one has a mention and the other an anchor with the same key. So it does
    not matter which of them came first, and nothing dangles when one of them goes. A key names its tenant;
    permissions are not kept here: whoever follows a link asks the index for the passage.
    `tests/citations/graph_suite.py` is the conformance suite of this port.
    """

    def add(self, nodes: Sequence[Node]) -> None:
        """Store `nodes`; one that is there already is replaced."""

    def remove(self, ids: Sequence[str]) -> None:
        """Forget the passages with these ids, and every key that nothing else uses; ignore unknown ids."""

    def neighbours(self, ids: Sequence[str], limit: int = 10_000) -> list[Link]:
        """Return the links that lead out of the passages with these ids, one hop, sorted; at most `limit`.

        One hop only: a further one may be taken from passages that the caller may read, and from no others.
        """

    def clear(self) -> None:
        """Forget everything."""

    def __len__(self) -> int:
        """Return how many passages are stored."""


def none() -> None:
    """Return no graph: citations are neither kept nor followed."""
