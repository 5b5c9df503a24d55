"""Finds citations of court decisions with eyecite: full ones, short ones, `id.` and `supra`."""

import logging
import re
from collections.abc import Iterator

from markgraph.citations.types import Reference

# A volume, an abbreviated reporter, and a page: `410 U.S. 113`, `93 S. Ct. 705`, `123 F.3d 456`.
CITATION = re.compile(
    r"\b\d{1,4}\s(?!Stat\.|Fed\.\sReg|Cong\.\sRec|U\.?\s?S\.?\s?C\b|C\.\s?F\.\s?R|D\.\s?C\.\s(?:Law|Code|Official))(?:[A-Z][A-Za-z]{0,8}\.\s?|[2-9]d\s|[34](?:th|d)\s){1,4}(?:[2-4](?:d|th)\s)?\s?\d{1,5}\b"
)

STRETCH, BEFORE = 5_000, 300
"""Characters that are read at once, and those before them that are read again: a name may stand there."""


def cases(text: str) -> Iterator[Reference]:
    """Yield the citations of `text`; its act is volume, reporter and page of the decision.

    eyecite is slow, and slower than linear on some texts: it reads a stretch at a time, and only from the
    first full citation on. Short ones are resolved within their stretch.
    """
    first = CITATION.search(text)
    for start in range(first.start() if first else len(text), len(text), STRETCH):
        begin = max(0, start - BEFORE)
        yield from _cases(text[begin : start + STRETCH], begin)


def _cases(text: str, offset: int) -> Iterator[Reference]:
    if not CITATION.search(text):
        return
    from eyecite import get_citations, resolve_citations
    from eyecite.models import CaseCitation, FullCaseCitation

    # It warns of citations that overlap, and quotes the document: a log is nobody's to read it in.
    logging.getLogger("eyecite").setLevel(logging.ERROR)
    resolved = resolve_citations(get_citations(text))
    for resource, cited in resolved.items():
        full = getattr(resource, "citation", None)
        if not isinstance(full, FullCaseCitation):
            continue
        for citation in cited:
            if isinstance(citation, CaseCitation) or citation is not full:
                start, end = citation.span()  # type: ignore[no-untyped-call]
                yield Reference(offset + start, offset + end, "case", case_key(full), ())


def case_key(citation: object) -> str:
    """Return volume, reporter and page of a full citation, in lower case."""
    groups = citation.groups  # type: ignore[attr-defined]
    reporter = citation.corrected_reporter()  # type: ignore[attr-defined]
    return f"{groups['volume']} {reporter} {groups['page']}".lower()


def case_key_of(citation: str) -> str:
    """Return the key of a citation such as `410 U.S. 113`, as `cases` would."""
    found = next(cases(citation), None)
    return found.act if found else ""
