"""Follows the citations of passages to what they cite, as far as the caller may read it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from markgraph.citations.definitions import uses
from markgraph.citations.types import DEFINITION, CitationGraph, Link
from markgraph.retrieval.types import Chunk, Hit, Index
from markgraph.security.caller import Caller

CITED_BY, CITED_AS = "cited_by", "cited_as"
"""Metadata of a passage that was reached: where it is cited, and how."""
STEP = 0.01
"""By how much of the weakest hit's score each further passage scores lower."""


def follow(
    citations: CitationGraph,
    index: Index,
    hits: Sequence[Hit],
    caller: Caller,
    question: str,
    *,
    hops: int = 1,
    most: int = 4,
) -> list[Hit]:
    """Return at most `most` passages that `hits` cite, over at most `hops` links; nearest first.

    What the best hit cites comes before what the next one cites, in the order of its text: to sort by the
    words that a passage shares with the question found less of what was asked for (benchmarks/citations.py).

    Each hop asks the index for what the caller may read, and the next one begins there and nowhere else:
    the result is what it would be if nothing else existed. Every passage scores below all hits.

    Raises:
        DeniedError: when the caller is nobody.
    """
    known = {hit.chunk.id: hit.chunk for hit in hits}
    frontier = list(known)
    reached: list[Chunk] = []
    for _ in range(hops):
        links = _useful(citations.neighbours(frontier), known, question)
        readable = {chunk.id: chunk for chunk in index.get(sorted({link.cited for link in links}), caller)}
        chosen = _nearest(links, readable | known, frontier)
        new = [_marked(readable[link.cited], link, known) for link in chosen if link.cited not in known]
        known |= {chunk.id: chunk for chunk in new}
        frontier = [chunk.id for chunk in new]
        reached += new
        if not frontier or len(reached) >= most:
            break
    lowest = min((hit.score for hit in hits), default=0.0)
    return [Hit(chunk, lowest - STEP * abs(lowest) * at) for at, chunk in enumerate(reached[:most], start=1)]


def _useful(links: Iterable[Link], known: Mapping[str, Chunk], question: str) -> list[Link]:
    """Leave out definitions of terms that the question doesn't ask about, or the passage doesn't use."""
    return [
        link
        for link in links
        if link.kind != DEFINITION or (uses(question, link.term) and uses(known[link.citing].text, link.term))
    ]


def _nearest(links: Iterable[Link], readable: Mapping[str, Chunk], order: Sequence[str]) -> Iterator[Link]:
    """Yield of each reference the links of the first reading that leads to something readable."""
    references: defaultdict[tuple[int, int, str], list[Link]] = defaultdict(list)
    position = {id_: at for at, id_ in enumerate(order)}
    for link in links:
        if link.cited in readable:
            references[position[link.citing], link.place, link.term].append(link)
    seen: set[str] = set()
    for _, meant in sorted(references.items()):
        rank = min(link.rank for link in meant)
        best = [link for link in meant if link.rank == rank and link.cited not in seen]
        seen.update(link.cited for link in best)
        yield from sorted(best, key=lambda link: (readable[link.cited].source, readable[link.cited].start))


def _marked(chunk: Chunk, link: Link, known: Mapping[str, Chunk]) -> Chunk:
    """Return the chunk with a note where it is cited, and how."""
    citing = known[link.citing]
    by = " > ".join(citing.heading or (citing.title,))
    return replace(chunk, metadata=chunk.metadata | {CITED_BY: by, CITED_AS: link.text or link.term})
