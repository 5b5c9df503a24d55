"""Finds every reference in a text."""

from collections.abc import Iterable
from itertools import chain

from markgraph.citations.articles import acts, articles
from markgraph.citations.cases import cases
from markgraph.citations.sections import parts, relatives, sections
from markgraph.citations.types import Reference

FINDERS = (articles, sections, relatives, parts, acts, cases)


def references(text: str) -> list[Reference]:
    """Return the references of `text` in order; a list such as `Articles 13 to 15` gives several of one span.

    Where two readings overlap, the one that begins first holds, and of those the longest.
    """
    return _without_overlaps(chain.from_iterable(find(text) for find in FINDERS))


def _without_overlaps(found: Iterable[Reference]) -> list[Reference]:
    kept: list[Reference] = []
    for reference in sorted(dict.fromkeys(found), key=lambda each: (each.start, -each.end)):
        last = kept[-1] if kept else None
        if (
            last is None
            or reference.start >= last.end
            or (reference.start, reference.end) == (last.start, last.end)
        ):
            kept.append(reference)
    return kept
