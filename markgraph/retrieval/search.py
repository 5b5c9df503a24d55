"""Asks an index for what a caller may read."""

from markgraph.errors import EmptyIndexError
from markgraph.retrieval.types import Hit, Index
from markgraph.security.caller import Caller
from markgraph.security.permissions import may_read


def find_hits(index: Index, query: str, caller: Caller, k: int) -> list[Hit]:
    """Return at most `k` hits for `query`, best first; the permissions of each are checked once more.

    Raises:
        DeniedError: the caller is nobody.
        EmptyIndexError: nothing was ever ingested.
    """
    hits = index.search(query, caller, k)
    if not hits and not len(index):
        raise EmptyIndexError("Nothing has been ingested yet. Run `markgraph ingest FOLDER` first.")
    return [hit for hit in hits if may_read(caller, hit.chunk.permissions)]
