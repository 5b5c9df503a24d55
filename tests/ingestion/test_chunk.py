import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from markgraph.documents.types import Document, Heading
from markgraph.errors import ConfigError
from markgraph.ingestion.chunk import Chunker
from markgraph.security.permissions import Permissions

ARTICLE = (
    "Notification of a breach 1. In the case of a breach, the controller shall notify the authority under "
    "Article 55. Where it is late, it shall give reasons. 2. The processor shall notify the controller "
    "referred to in paragraph 1. The notification shall: (a) describe the breach; (b) name the officer, as "
    "in points (a) and (b) of Article 13; and (c) describe the consequences. 3. The controller shall keep it."
)
LISTS = ["\n2. ", " 1. ", " 2. ", "; (b) ", "\n- ", ":", "\n(a)(1) ", "; (i) ", "\n   - "]
TABLES = [" | ", "\n| ", "\n|--|--|\n", "\na | b", "\na | b\nc | d\n"]
OTHERS = ["\n\n", "\n", " ", ". ", "\r", "\u3000", "。", "\nArticle 5\n", "\u2018x\u2019 means "]
SEAMS = st.sampled_from([*LISTS, *TABLES, *OTHERS])
UNICODE = st.characters(codec="utf-8")
ODD = st.text(st.one_of(UNICODE, st.sampled_from("ab .\n\t\u00a0\u2028e\u0301👩\u200d⚖\u05d0")), max_size=40)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """Draw a document of odd text with seams, headings anywhere and perhaps pages."""
    text = "".join(draw(st.lists(st.one_of(ODD, SEAMS, st.just("word " * 20)), max_size=30)))
    places = st.lists(st.integers(0, len(text)), max_size=6).map(sorted)
    headings = tuple(
        Heading(offset, draw(st.integers(1, 4)), f"h{offset}")
        for offset in draw(places)
        if offset < len(text)
    )
    pages = (0, *draw(places)) if draw(st.booleans()) else ()
    return Document(source="s", text=text, title="t", headings=headings, pages=pages)


@settings(deadline=None)
@given(documents(), st.sampled_from([Chunker(), Chunker(60, 10), Chunker(2, 1)]))
def test_chunks_cover_the_text_in_order_within_size_and_sections(document, chunker):
    chunks = chunker(document)
    starts = {heading.offset for heading in document.headings}
    assert "".join("".join(chunk.text.split()) for chunk in chunks) == "".join(document.text.split())
    assert all(before.end <= after.start for before, after in itertools.pairwise(chunks))
    for chunk in chunks:
        assert chunk.text == document.text[chunk.start : chunk.end] == chunk.text.strip()
        assert 0 < len(chunk.text) <= chunker.size
        assert not any(chunk.start < start < chunk.end for start in starts)
        assert (chunk.page is None) == (not document.pages)


@settings(deadline=None)
@given(st.text(st.sampled_from("ab. (),;12\n"), min_size=1, max_size=600))
def test_every_cut_is_where_nothing_but_whitespace_is_lost(text):
    spans = [
        (chunk.start, chunk.end) for chunk in Chunker(50, 20)(Document(source="s", text=text, title="t"))
    ]
    kept = {place for start, end in spans for place in range(start, end)}
    assert all(character.isspace() for place, character in enumerate(text) if place not in kept)


def chunk(text: str, size: int = 200, min_size: int = 20, **parts) -> list[str]:
    return [
        each.text for each in Chunker(size, min_size)(Document(source="s", text=text, title="t", **parts))
    ]


def test_a_section_that_fits_is_one_chunk():
    assert chunk(ARTICLE, size=900) == [ARTICLE]


def test_cuts_european_law_at_paragraphs_and_points_but_not_at_references():
    texts = chunk(ARTICLE, size=230)
    assert [re.match(r"\d\. |\([a-z]\) |", each)[0] for each in texts] == ["", "2. ", "3. "]
    assert texts[0].startswith("Notification of a breach 1. In the case")
    assert texts[1].endswith("describe the consequences.")


def test_cuts_a_long_paragraph_at_its_points():
    text = "2. It shall: " + " ".join(
        f"({letter}) describe the breach and what was lost;" for letter in "abcdef"
    )
    assert [each[:4] for each in chunk(text, size=110)] == ["2. I", "(c) ", "(e) "]


def test_cuts_at_numbered_lines_before_empty_lines():
    text = "Intro words here.\n\n1. First paragraph of it.\n\nStill the first one.\n2. Second paragraph here."
    assert chunk(text, size=80)[1] == "2. Second paragraph here."


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("A first sentence here. And a second. " * 2, "here."),
        ("one line of words\n" * 4, "words"),
        ("Meeting No. 5 was held by Mr. Smith, the chair of it\n\nand others, who came late", "it"),
        ("\u7b2c\u4e00\u6761\u3002" * 30, "\u3002"),
    ],
)
def test_cuts_between_sentences_lines_and_paragraphs(text, cut):
    assert chunk(text.strip(), size=60)[0].endswith((cut, "second."))


def test_cuts_within_a_word_only_when_there_is_nothing_else():
    assert [len(each) for each in chunk("x" * 450)] == [200, 200, 50]


def test_leaves_no_crumbs():
    text = " ".join(f"Sentence number {number} is here." for number in range(100))
    assert all(120 <= len(each) <= 900 for each in chunk(text, 900, 120))


def test_a_heading_stands_with_the_text_below_it():
    document = Document(
        source="s",
        text="Preface\n# Act\n## Scope\n" + "It applies to all of it. " * 12 + "\n# Annex",
        title="t",
        headings=(Heading(8, 1, "Act"), Heading(14, 2, "Scope"), Heading(324, 1, "Annex")),
        pages=(0, 100),
        metadata={"celex": "x"},
    )
    chunks = Chunker(200, 20)(document, Permissions("acme", ("g:legal",), 2))
    assert [(each.heading, each.page, each.text[:8]) for each in chunks] == [
        ((), 1, "Preface"),
        (("Act",), 1, "# Act"),
        (("Act", "Scope"), 1, "## Scope"),
        (("Act", "Scope"), 2, "It appli"),
        (("Annex",), 2, "# Annex"),
    ]
    assert {each.permissions for each in chunks} == {Permissions("acme", ("g:legal",), 2)}
    assert {each.metadata["celex"] for each in chunks} == {"x"}
    assert chunks[0].metadata is not document.metadata


def test_a_large_text_without_structure_is_cut_quickly():
    assert len(chunk("word " * 400_000, 900, 120)) == 2223


@pytest.mark.parametrize(("size", "min_size"), [(100, 60), (100, 0), (-5, 1)])
def test_refuses_sizes_that_cannot_be_kept(size, min_size):
    with pytest.raises(ConfigError, match="Expected: 1 <= min_size <= size / 2"):
        Chunker(size, min_size)
