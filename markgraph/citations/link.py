"""Turns the chunks of documents into nodes: what each can be cited as, and what it cites."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter

from markgraph.citations.anchors import TERMS, Context, context_of
from markgraph.citations.cases import CITATION, case_key_of
from markgraph.citations.definitions import definitions
from markgraph.citations.find import references
from markgraph.citations.labels import Label, label_at, labels
from markgraph.citations.types import DEFINITION, Anchor, Mention, Node, Reference
from markgraph.retrieval.types import Chunk

MOST_REFERENCES = 100
"""References that are kept of one passage: a table of contents cites everything, and so nothing."""


def nodes_of(chunks: Sequence[Chunk]) -> list[Node]:
    """Return a node for each chunk; the chunks of a document must be given together."""
    documents: defaultdict[tuple[str, str], list[Chunk]] = defaultdict(list)
    for chunk in chunks:
        documents[chunk.tenant, chunk.source].append(chunk)
    return [node for document in documents.values() for node in _document(sorted(document, key=_by_start))]


def _document(chunks: list[Chunk]) -> Iterator[Node]:
    """Yield the nodes of one document, whose text is put together: a reference may need what is before."""
    text = _joined(chunks)
    found = references(text)
    contexts = [context_of(chunk) for chunk in chunks]
    labelled = _labels(chunks, contexts, text)
    seen: set[str] = set()
    at = 0
    for chunk, context, label in zip(chunks, contexts, labelled, strict=True):
        begin = at
        while at < len(found) and found[at].start < chunk.end:
            at += 1
        first_of = [part for part in (*context.parts, "") if part not in seen]
        seen.update(first_of)
        anchors = tuple(dict.fromkeys(_anchors(chunk, context, label, first_of)))
        own = {anchor.key for anchor in anchors if not anchor.term}
        yield Node(chunk.id, anchors, tuple(_mentions(found[begin:at], text, context, label, own)))


def _anchors(
    chunk: Chunk, context: Context, found: list[tuple[int, Label]], first_of: list[str]
) -> Iterator[Anchor]:
    """Yield the keys of a passage: units, their paragraphs, what it is the first of, and its terms."""
    first, last = (bisect_left(found, offset, key=itemgetter(0)) for offset in (chunk.start, chunk.end))
    here = [label_at(found, chunk.start), *(label for _, label in found[first:last])]
    inner = {label[:depth] for label in here for depth in range(len(label) + 1)} or {()}
    places: list[tuple[str, ...]] = [(unit,) for unit in context.units]
    places += [(context.units[0], *label) for label in sorted(inner) if label and context.units]
    places += [(part,) for part in first_of if part]
    if "" in first_of and chunk.metadata.get("article", "1") == "1":
        places.append(())
    yield from (Anchor(key) for place in places for key in context.keys(place))
    if "" in first_of and (case := CITATION.search(f"{chunk.title} {chunk.metadata.get('citation', '')}")):
        yield Anchor(context.key(f"act:{case_key_of(case[0])}"))
    for defined in definitions(chunk.text):
        yield Anchor(context.key(context.home, TERMS), defined.term)


def _mentions(
    found: Sequence[Reference], text: str, context: Context, label: list[tuple[int, Label]], own: set[str]
) -> Iterator[Mention]:
    """Yield what a passage cites beside its `own` keys; the terms that it may use come last."""
    for place, reference in enumerate(found[:MOST_REFERENCES]):
        meanings = context.meanings(reference, label_at(label, reference.start))
        for rank, key in enumerate(meanings if meanings and meanings[0] not in own else ()):
            written = " ".join(text[reference.start : reference.end].split())
            yield Mention(key, reference.kind, written, place, rank)
    yield Mention(context.key(context.home, TERMS), DEFINITION, "", MOST_REFERENCES, 0)


def _labels(chunks: list[Chunk], contexts: list[Context], text: str) -> list[list[tuple[int, Label]]]:
    """Return for each chunk the labels of its article or section, with their offsets in the document."""
    labelled: list[list[tuple[int, Label]]] = []
    pairs = zip(chunks, contexts, strict=True)
    for _, group in groupby(pairs, key=lambda pair: (pair[1].units, pair[0].heading)):
        members = [chunk for chunk, _ in group]
        start = members[0].start
        here = [(start + offset, label) for offset, label in labels(text[start : members[-1].end])]
        labelled += [here] * len(members)
    return labelled


def _joined(chunks: list[Chunk]) -> str:
    """Return the text of a document from its chunks, offsets kept; between them was only whitespace."""
    parts: list[str] = []
    at = 0
    for chunk in chunks:
        parts += ["\n" * (chunk.start - at), chunk.text[max(0, at - chunk.start) :]]
        at = max(at, chunk.end)
    return "".join(parts)


def _by_start(chunk: Chunk) -> tuple[int, int]:
    return chunk.start, chunk.end
