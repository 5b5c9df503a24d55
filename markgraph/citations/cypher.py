"""Keeps a citation graph in a database that speaks Cypher; a subclass opens the database.

Passages are nodes, and so are the keys between them:
`(:Passage)-[:CITES]->(:CitationKey)<-[:ANSWERS_TO]-(:Passage)`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

from markgraph.batches import batches
from markgraph.citations.sealed_rows import opened, sealed_row
from markgraph.citations.types import Link, Node
from markgraph.security.sealing.keyring import Keyring

Run = Callable[[str, dict[str, Any]], list[list[Any]]]
"""Runs a statement with its parameters, and returns the rows."""

BATCH = 500
"""Passages of one transaction."""

# Each finds nodes by key, one pattern at a time: `id IN $ids`, or two nodes in one pattern, make LadybugDB
# read whole tables (1.2 s against 0.04 s for 1,000 mentions among 15,000 passages).
KEYS_OF = "UNWIND $ids AS id MATCH (p:Passage {id: id})-[]->(k:CitationKey) RETURN DISTINCT k.key"
DELETE = "UNWIND $ids AS id MATCH (p:Passage {id: id}) DETACH DELETE p"
DELETE_UNUSED = """
UNWIND $keys AS key MATCH (k:CitationKey {key: key}) WHERE NOT EXISTS { MATCH (k)<-[]-(:Passage) } DELETE k
"""
ADD_PASSAGES = "UNWIND $ids AS id CREATE (:Passage {id: id})"
ADD_KEYS = "UNWIND $keys AS key MERGE (:CitationKey {key: key})"
ADD_MENTIONS = """
UNWIND $rows AS row MATCH (p:Passage {id: row.id}) WITH row, p MATCH (k:CitationKey {key: row.key})
CREATE (p)-[:CITES {kind: row.kind, text: row.text, place: row.place, rank: row.rank}]->(k)
"""
ADD_ANCHORS = """
UNWIND $rows AS row MATCH (p:Passage {id: row.id}) WITH row, p MATCH (k:CitationKey {key: row.key})
CREATE (p)-[:ANSWERS_TO {term: row.term}]->(k)
"""
NEIGHBOURS = """
UNWIND $ids AS id
MATCH (p:Passage {id: id})-[m:CITES]->(k:CitationKey)<-[a:ANSWERS_TO]-(q:Passage)
RETURN DISTINCT p.id AS citing, m.place AS place, m.rank AS rank, m.kind AS kind, m.text AS text,
    q.id AS cited, a.term AS term, k.key AS key
ORDER BY citing, place, rank, kind, text, cited, term LIMIT $limit
"""
DELETE_ALL = (
    "MATCH (p:Passage) WHERE p.id STARTS WITH $prefix DETACH DELETE p",
    "MATCH (k:CitationKey) WHERE k.key STARTS WITH $prefix DETACH DELETE k",
)
COUNT = "MATCH (p:Passage) WHERE p.id STARTS WITH $prefix RETURN count(p) AS passages"


class CypherGraph(ABC):
    """What every such database does with the same statements."""

    prefix: str = ""
    """What begins every id and key, where several collections share a database."""
    seal: Keyring | None = None
    """Seals references and terms, and makes HMACs of keys; None keeps them in clear."""

    @abstractmethod
    def _reading(self) -> AbstractContextManager[Run | None]:
        """Open a session that reads; None where nothing was ever written."""

    @abstractmethod
    def _writing(self) -> AbstractContextManager[Run]:
        """Open a transaction that writes; it is committed at the end, and undone where that isn't reached."""

    def add(self, nodes: Sequence[Node]) -> None:
        """Store `nodes`; one that is there already is replaced."""
        unique = {node.id: node for node in nodes}.values()
        for batch in batches(unique, BATCH):
            self._add(batch)

    def remove(self, ids: Sequence[str]) -> None:
        """Forget the passages with these ids, and every key that nothing else uses; ignore unknown ids."""
        with self._reading() as run:
            if run is None or not ids:
                return
        for batch in batches(ids, BATCH):
            with self._writing() as run:
                _delete_unused(run, _delete(run, self._prefixed(batch)))

    def neighbours(self, ids: Sequence[str], limit: int = 10_000) -> list[Link]:
        """Return the links that lead out of the passages with these ids, one hop, sorted; at most `limit`."""
        with self._reading() as run:
            if run is None or not ids:
                return []
            rows = run(NEIGHBOURS, {"ids": self._prefixed(sorted(set(ids))), "limit": limit})
        return sorted({self._link(*row) for row in rows})

    def clear(self) -> None:
        """Forget everything, and leave nothing of it where that can be seen to."""
        with self._writing() as run:
            for statement in DELETE_ALL:
                run(statement, {"prefix": self.prefix})

    def __len__(self) -> int:
        """Return how many passages are stored."""
        with self._reading() as run:
            return int(run(COUNT, {"prefix": self.prefix})[0][0]) if run else 0

    def _add(self, nodes: Sequence[Node]) -> None:
        mentions = [
            self._row(node, asdict(mention)) for node in nodes for mention in dict.fromkeys(node.mentions)
        ]
        anchors = [
            self._row(node, asdict(anchor)) for node in nodes for anchor in dict.fromkeys(node.anchors)
        ]
        ids = self._prefixed([node.id for node in nodes])
        with self._writing() as run:
            before = _delete(run, ids)
            run(ADD_PASSAGES, {"ids": ids})
            if keys := sorted({row["key"] for row in (*mentions, *anchors)}):
                run(ADD_KEYS, {"keys": keys})
            for statement, rows in ((ADD_MENTIONS, mentions), (ADD_ANCHORS, anchors)):
                if rows:
                    run(statement, {"rows": rows})
            _delete_unused(run, before)

    def _link(
        self, citing: str, place: int, rank: int, kind: str, text: str, cited: str, term: str, key: str
    ) -> Link:
        cut = len(self.prefix)
        citing, cited, key = citing[cut:], cited[cut:], key[cut:]
        text, term = opened(self.seal, key, "text", citing, text), opened(self.seal, key, "term", cited, term)
        return Link(citing, place, rank, kind, text, cited, term)

    def _prefixed(self, ids: Sequence[str]) -> list[str]:
        return [self.prefix + id_ for id_ in ids]

    def _row(self, node: Node, fields: dict[str, Any]) -> dict[str, Any]:
        row = fields | {"id": node.id}
        row = sealed_row(self.seal, row) if self.seal else row
        return row | {"id": self.prefix + node.id, "key": self.prefix + row["key"]}


def _delete(run: Run, ids: list[str]) -> list[str]:
    """Delete passages, and return the keys that they used."""
    keys = [row[0] for row in run(KEYS_OF, {"ids": ids})]
    run(DELETE, {"ids": ids})
    return keys


def _delete_unused(run: Run, keys: list[str]) -> None:
    if keys:
        run(DELETE_UNUSED, {"keys": keys})
