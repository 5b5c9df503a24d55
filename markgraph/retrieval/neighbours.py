"""Gives a passage back what stands before and behind it in its document."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from markgraph.errors import ConfigError
from markgraph.retrieval.types import Chunk, Hit, Index
from markgraph.security.caller import Caller


@dataclass(frozen=True)
class Neighbours:
    """Fetches the chunks around each hit, as far as the caller may read them; none comes twice."""

    before: int = 1
    """How many chunks in front of each hit."""
    after: int = 1
    """How many chunks behind it."""
    merge: bool = True
    """Make one passage of chunks that adjoin and have the same permissions, at the place of its best hit.
    Otherwise neighbours are passages of their own, behind their hit and with its score."""

    def __post_init__(self) -> None:
        for name, value in (("before", self.before), ("after", self.after)):
            if value < 0:
                raise ConfigError(f"Neighbours.{name} is {value}; allowed: 0 or more.")

    def __call__(self, hits: Sequence[Hit], index: Index, caller: Caller) -> list[Hit]:
        """Return `hits` with what is around them, best first."""
        around = self._fetch([hit.chunk for hit in hits], index, caller)
        return list(_merged(hits, around) if self.merge else self._beside(hits, around))

    def _fetch(self, chunks: Sequence[Chunk], index: Index, caller: Caller) -> dict[str, Chunk]:
        """Return `chunks` and those around them by id, one request for each step outwards."""
        known = {chunk.id: chunk for chunk in chunks}
        front, back = list(chunks), list(chunks)
        for step in range(max(self.before, self.after)):
            front = front if step < self.before else []
            back = back if step < self.after else []
            wanted = {chunk.before for chunk in front} | {chunk.after for chunk in back}
            ids = sorted(wanted - known.keys() - {""})
            known |= {chunk.id: chunk for chunk in (index.get(ids, caller) if ids else [])}
            front = [known[chunk.before] for chunk in front if chunk.before in known]
            back = [known[chunk.after] for chunk in back if chunk.after in known]
        return known

    def _beside(self, hits: Sequence[Hit], known: dict[str, Chunk]) -> Iterator[Hit]:
        """Yield each hit and, behind it, those of its neighbours that nothing else brought."""
        seen = {hit.chunk.id for hit in hits}
        for hit in hits:
            yield hit
            in_front = list(_walk(hit.chunk, "before", known))[: self.before]
            behind = list(_walk(hit.chunk, "after", known))[: self.after]
            for chunk in (*reversed(in_front), *behind):
                if chunk.id not in seen:
                    seen.add(chunk.id)
                    yield Hit(chunk, hit.score)


def _walk(chunk: Chunk, way: str, known: dict[str, Chunk]) -> Iterator[Chunk]:
    """Yield what lies before or after `chunk`, the nearest first, as far as it is known."""
    passed = {chunk.id}
    while (chunk := known.get(chunk.before if way == "before" else chunk.after, chunk)).id not in passed:
        passed.add(chunk.id)
        yield chunk


def _merged(hits: Sequence[Hit], known: dict[str, Chunk]) -> Iterator[Hit]:
    """Yield one hit for each run of chunks that adjoin, where the first of its hits was."""
    seen: set[str] = set()
    for hit in hits:
        if hit.chunk.id in seen:
            continue
        run = [
            *reversed(list(_alike(hit.chunk, "before", known))),
            hit.chunk,
            *_alike(hit.chunk, "after", known),
        ]
        seen |= {chunk.id for chunk in run}
        yield hit if len(run) == 1 else replace(hit, chunk=joined(run), joined=tuple(each.id for each in run))


def _alike(chunk: Chunk, way: str, known: dict[str, Chunk]) -> Iterator[Chunk]:
    """Yield what `_walk` does, up to the first chunk that others may read."""
    return takewhile(lambda other: other.permissions == chunk.permissions, _walk(chunk, way, known))


def joined(run: Sequence[Chunk]) -> Chunk:
    """Return chunks that follow one another in a document as one.

    What lay between two is not stored: it was white space, and becomes a space, or as many newlines as it
    had characters. So each character stands where it does in the document.
    """
    first, text, breaks = run[0], run[0].text, list(run[0].page_breaks)
    for chunk in run[1:]:
        gap = chunk.start - first.start - len(text)
        text += (" " if gap == 1 else "\n" * gap) + chunk.text[max(-gap, 0) :]
        if first.page is not None and chunk.page is not None:  # pages that begin between two chunks
            breaks += [chunk.start] * (chunk.page - first.page - len(breaks))
        breaks += chunk.page_breaks
    return replace(
        first,
        text=text,
        end=first.start + len(text),
        heading=_shared([chunk.heading for chunk in run]),
        page_breaks=tuple(breaks),
        before=first.before,
        after=run[-1].after,
    )


def _shared(headings: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the sections that all of the chunks are in."""
    levels = takewhile(lambda level: len(set(level)) == 1, zip(*headings, strict=False))
    return tuple(level[0] for level in levels)
