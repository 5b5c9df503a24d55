"""Finds chunks by their words, with rank-bm25 over an SQLite file."""

import json
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from markgraph.retrieval.storage import storage_errors
from markgraph.retrieval.types import Chunk, Hit, permitted_as
from markgraph.security.caller import Caller, readers_of
from markgraph.security.permissions import Permissions, may_read
from markgraph.text import words

CACHED_VIEWS = 8
"""How many sets of permissions keep their word statistics in memory."""


@dataclass
class WordsIndex:
    """Okapi BM25 (Robertson & Walker 1994) over stemmed words.

    The statistics are made of the chunks that the caller may read, and of no others: what is
    not permitted can't be found, can't push out what is, and can't be guessed from a score.
    """

    path: Path
    name: str = "words"
    """What results call it."""
    _views: "OrderedDict[tuple[str, ...], _View]" = field(
        default_factory=OrderedDict, repr=False, compare=False
    )
    _version: int = -1
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.path = Path(self.path).expanduser()

    def add(self, chunks: Sequence[Chunk]) -> None:
        """Store `chunks`; one that is there already is replaced, with its permissions."""
        rows = [
            (chunk.id, chunk.tenant, chunk.to_json(), " ".join(_indexed_words(chunk))) for chunk in chunks
        ]
        with storage_errors(self.path), self._lock, self._database as database:
            database.executemany("INSERT OR REPLACE INTO chunks VALUES (?, ?, ?, ?)", rows)
            self._views.clear()

    def remove(self, ids: Sequence[str]) -> None:
        """Forget the chunks with these ids; unknown ids are ignored."""
        if not ids or not self.path.exists():
            return
        with storage_errors(self.path), self._lock, self._database as database:
            database.executemany("DELETE FROM chunks WHERE id = ?", [(id_,) for id_ in ids])
            self._views.clear()

    def permit(self, ids: Sequence[str], permissions: Permissions) -> None:
        """Change who may read the chunks with these ids, from the next search on; unknown ids are ignored."""
        changed = [permitted_as(chunk, permissions) for chunk in self._stored(ids)]
        self.add(changed)

    def get(self, ids: Sequence[str], caller: Caller) -> list[Chunk]:
        """Return those of the chunks with these ids that `caller` may read, in the order of `ids`."""
        readers_of(caller)  # nobody is refused, found or not
        return [chunk for chunk in self._stored(ids) if may_read(caller, chunk.permissions)]

    def scan(self, after: str = "", limit: int = 1000) -> list[Chunk]:
        """Return the next chunks in the order of their ids, whoever may read them."""
        if not self.path.exists():
            return []
        query = "SELECT body FROM chunks WHERE id > ? ORDER BY id LIMIT ?"
        with storage_errors(self.path), self._lock:
            rows = self._database.execute(query, (after, limit)).fetchall()
        return [Chunk.from_json(body) for (body,) in rows]

    def search(self, query: str, caller: Caller, k: int) -> list[Hit]:
        """Return at most `k` chunks that `caller` may read and that share a word with `query`."""
        atoms = readers_of(caller)
        if not self.path.exists():
            return []
        with storage_errors(self.path), self._lock:
            view = self._view(caller, atoms)
        return view.search(words(query), k)

    def __len__(self) -> int:
        """Return how many chunks are stored, readable or not."""
        if not self.path.exists():
            return 0
        with storage_errors(self.path), self._lock:
            return int(self._database.execute("SELECT count(*) FROM chunks").fetchone()[0])

    def _stored(self, ids: Sequence[str]) -> list[Chunk]:
        """Return the chunks with these ids, in their order, whoever may read them."""
        if not self.path.exists():
            return []
        query = "SELECT id, body FROM chunks WHERE id IN (SELECT value FROM json_each(?))"
        with storage_errors(self.path), self._lock:
            found = dict(self._database.execute(query, (json.dumps(list(ids)),)).fetchall())
        return [Chunk.from_json(found[id_]) for id_ in ids if id_ in found]

    def _view(self, caller: Caller, atoms: tuple[str, ...]) -> "_View":
        version = self._database.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:  # another process has written
            self._views.clear()
            self._version = version
        key = (caller.tenant, str(caller.clearance), *sorted(atoms))
        if key not in self._views:
            self._views[key] = self._load(caller)
        self._views.move_to_end(key)
        while len(self._views) > CACHED_VIEWS:
            self._views.popitem(last=False)
        return self._views[key]

    def _load(self, caller: Caller) -> "_View":
        query = "SELECT body, words FROM chunks WHERE tenant = ? ORDER BY id"
        rows = self._database.execute(query, (caller.tenant,)).fetchall()
        stored = [(Chunk.from_json(body), stems.split()) for body, stems in rows]
        readable = [row for row in stored if may_read(caller, row[0].permissions)]
        return _View([chunk for chunk, _ in readable], [stems for _, stems in readable])

    @cached_property
    def _database(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self.path, check_same_thread=False, timeout=30)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(
            "CREATE TABLE IF NOT EXISTS chunks (id TEXT PRIMARY KEY, tenant TEXT, body TEXT, words TEXT)"
        )
        return database


class _View:
    """Word statistics over the chunks that one set of permissions opens."""

    def __init__(self, chunks: list[Chunk], stems: list[list[str]]) -> None:
        from rank_bm25 import BM25Okapi

        self._chunks = chunks
        self._stems = [set(words_) for words_ in stems]
        # rank-bm25 divides by the corpus size.
        self._bm25: Any = BM25Okapi(stems) if any(stems) else None

    def search(self, query: list[str], k: int) -> list[Hit]:
        if self._bm25 is None:
            return []
        scores = self._bm25.get_scores(query)
        asked = set(query)
        matching = [at for at, stems in enumerate(self._stems) if not asked.isdisjoint(stems)]
        best = sorted(matching, key=lambda at: -scores[at])[:k]
        return [Hit(self._chunks[at], float(scores[at])) for at in best]


def _indexed_words(chunk: Chunk) -> list[str]:
    return words(" ".join((chunk.title, *chunk.heading, chunk.text)))
