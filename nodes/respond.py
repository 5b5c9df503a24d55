"""Puts the checked answer together."""

import re
from collections.abc import Sequence
from typing import Any

from markgraph.citations.follow import CITED_AS, CITED_BY
from markgraph.security.effects import Effect, does
from markgraph.state import GENERAL, CheckedClaim, Citation, Passage, QAState, Turn

_ENUMERATOR = re.compile(r"^\s*(?:\d{1,3}\.|\(?[a-z0-9]{1,3}\)|[-*•])\s+")
"""The number that a paragraph had in its source: it would read like one of ours."""

_FOOTNOTE = re.compile(r"\s*\[\d+(?:\s*,\s*\d+)*\]")


@does(Effect.ANSWERS)
def respond(state: QAState) -> dict[str, Any]:
    """Write the answer with a mark behind each sentence, and say what each mark stands for."""
    citations: list[Citation] = []
    sentences = []
    for claim in state["claims"]:
        mark = _cite(claim, state["passages"], citations)
        sentences.append(f"{_plain(claim['text'])} [{mark}]")
    answer = " ".join(sentences) + changes(state)
    return {
        "answer": answer,
        "refused": False,
        "citations": citations,
        "domain": state.get("domain", GENERAL),
        "history": [turn_of(state, answer, state["claims"])],
    }


def changes(state: QAState) -> str:
    """Return a note about what tools have changed; nobody should have to guess."""
    return f"\n\nDone: {' '.join(state['done'])}" if state["done"] else ""


def turn_of(state: QAState, answer: str, claims: Sequence[CheckedClaim] = ()) -> Turn:
    """Return what the thread remembers of this turn; its answer is made of `claims`."""
    cited = {claim["support"]["passage"] for claim in claims if claim["support"]}
    return Turn(
        question=state["question"],
        standalone=state["standalone"],
        topic=state["topic"],
        answer=answer,
        grants=state["grants"],
        sources=sorted({id_ for at in cited for id_ in state["passages"][at]["ids"]}),
    )


def page_of(passage: Passage, offset: int) -> int | None:
    """Return the page on which `offset` of the document lies: a passage may go over to the next."""
    page = passage["page"]
    return page if page is None else page + sum(begin <= offset for begin in passage["page_breaks"])


def _plain(text: str) -> str:
    """Return a sentence without what would read like a mark or a number of ours."""
    return _FOOTNOTE.sub("", _ENUMERATOR.sub("", text))


def place_of(passage: Passage) -> str:
    """Return document and section, as a person would look them up, and the citation that led there."""
    sections = [section for section in passage["heading"] if section != passage["title"]]
    place = " › ".join((passage["title"], *sections))
    note = passage["metadata"]
    if CITED_AS in note and CITED_BY in note:
        place += f' (cited as "{note[CITED_AS]}" in {note[CITED_BY]})'
    return place


def _cite(claim: CheckedClaim, passages: list[Passage], citations: list[Citation]) -> int:
    """Return the mark for a claim's support, adding a citation unless one says the same already."""
    support = claim["support"]
    if support is None:
        raise ValueError(f"A claim without support reached the answer: {claim['text']!r}")
    passage = passages[support["passage"]]
    start, end = passage["start"] + support["start"], passage["start"] + support["end"]
    for citation in citations:
        if (citation["source"], citation["start"], citation["end"]) == (passage["source"], start, end):
            return citation["mark"]
    citations.append(
        Citation(
            mark=len(citations) + 1,
            source=passage["source"],
            title=place_of(passage),
            quote=support["quote"],
            start=start,
            end=end,
            page=page_of(passage, start),
        )
    )
    return len(citations)
