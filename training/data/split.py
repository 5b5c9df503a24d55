"""Holds rows back, so that nothing that connects rows is on both sides."""

from collections import Counter
from collections.abc import Iterable
from hashlib import sha256

from markgraph.errors import UsageError

FULL = 1.5
"""How much more than was asked for a side may get, where documents can't be parted."""


class Connected:
    """Documents that rows connect: union-find (Tarjan 1975)."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}
        self.rows: Counter[str] = Counter()
        """Rows by any document of theirs."""

    def add(self, documents: Iterable[str]) -> str:
        """Connect the documents of a row, and return one of them."""
        first = self.connect(documents)
        self.rows[first] += 1
        return first

    def connect(self, documents: Iterable[str]) -> str:
        """Connect documents, and return the first in the alphabet."""
        first, *others = sorted(documents)
        root = self.root(first)
        for other in others:
            root, below = sorted((root, self.root(other)))
            self._above[below] = root
        return first

    def root(self, document: str) -> str:
        """Return the same document for all that are connected: the first in the alphabet."""
        path = []
        while (above := self._above.setdefault(document, document)) != document:
            path.append(document)
            document = above
        for each in path:
            self._above[each] = document
        return document

    def documents(self) -> list[str]:
        """Return every document that a row has."""
        return list(self._above)

    def sizes(self) -> Counter[str]:
        """Return how many rows each connected part has, by its root."""
        sizes: Counter[str] = Counter()
        for document, rows in self.rows.items():
            sizes[self.root(document)] += rows
        return sizes


def held_back(connected: Connected, share: float, seed: int) -> set[str]:
    """Return the roots of the parts whose rows are held back: about `share` of all rows, drawn by `seed`.

    Raises:
        UsageError: everything is connected, so that nothing can be held back.
    """
    sizes = connected.sizes()
    wanted = share * sizes.total()
    if not wanted:
        return set()
    if len(sizes) < 2:
        raise UsageError(
            f"All {sizes.total()} rows rest on connected documents, prompts or passages, so none can be held "
            "back without being learned from. Allowed: rows of two documents or more with nothing in common; "
            "or held=0."
        )
    held: set[str] = set()
    count, most = 0, min(FULL * wanted, sizes.total() - 1)
    for root in sorted(sizes, key=lambda each: sha256(f"{seed}\0{each}".encode()).digest()):
        if count < wanted and count + sizes[root] <= most:
            held.add(root)
            count += sizes[root]
    return held or {min(sizes, key=lambda each: (sizes[each], each))}
