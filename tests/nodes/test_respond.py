"""Marks, quotes and pages of a finished answer."""

from typing import Any

from markgraph.nodes.respond import place_of, respond
from markgraph.state import CheckedClaim, Passage

TEXT = "One is first. Two is second. Three is third."
PASSAGE = Passage(
    ids=["p"],
    text=TEXT, source="a.pdf", title="A", heading=["A", "Part"], page=4, page_breaks=[114], start=100,
    end=100 + len(TEXT), score=1.0, metadata={},
)  # fmt: skip


def claim(text: str, start: int, end: int) -> CheckedClaim:
    support: Any = {"passage": 0, "start": start, "end": end, "quote": TEXT[start:end], "score": 1.0}
    return CheckedClaim(text=text, supported=True, score=1.0, support=support, reason="")


def answer(*claims: CheckedClaim) -> dict[str, Any]:
    state: Any = {"claims": list(claims), "passages": [PASSAGE], "question": "?", "standalone": "?"}
    return respond(state | {"topic": "?", "done": [], "grants": []})


def test_the_same_sentence_gets_the_same_mark_and_a_longer_stretch_its_own() -> None:
    said = answer(claim("One.", 0, 13), claim("First.", 0, 13), claim("One and two.", 0, 28))
    assert said["answer"] == "One. [1] First. [1] One and two. [2]"
    assert [citation["quote"] for citation in said["citations"]] == [TEXT[:13], TEXT[:28]]


def test_a_quote_is_on_the_page_where_it_begins() -> None:
    pages = [
        citation["page"] for citation in answer(claim("One.", 0, 13), claim("Two.", 14, 28))["citations"]
    ]
    assert pages == [4, 5]


def test_numbers_and_footnotes_of_the_source_do_not_read_like_marks() -> None:
    assert answer(claim("1. One is first.[12]", 0, 13))["answer"] == "One is first. [1]"


def test_the_title_says_in_which_section() -> None:
    assert answer(claim("One.", 0, 13))["citations"][0]["title"] == "A › Part"


def test_the_title_says_what_led_to_a_passage() -> None:
    cited: Any = PASSAGE | {"metadata": {"cited_by": "B > 4.2", "cited_as": "Section 7.1"}}
    assert place_of(cited) == 'A › Part (cited as "Section 7.1" in B > 4.2)'


def test_the_thread_remembers_which_chunks_an_answer_cites() -> None:
    assert answer(claim("One.", 0, 13))["history"][0]["sources"] == ["p"]
