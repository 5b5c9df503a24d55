"""Chunks become nodes that are linked as their texts say."""

from dataclasses import replace

from markgraph.citations.link import MOST_REFERENCES, nodes_of
from markgraph.citations.types import DEFINITION, Node
from markgraph.documents.types import Document, Heading
from markgraph.ingestion.chunk import Chunker
from markgraph.retrieval.types import Chunk
from markgraph.security.permissions import Permissions

CHUNKER = Chunker(size=120, min_size=10)


def article(number: str, text: str, tenant: str = "default", celex: str = "32016R0679") -> list[Chunk]:
    """Return the chunks of an article as the corpus of European law has it."""
    title = f"GDPR Article {number}"
    data = {"regulation": "GDPR", "article": number, "celex": celex}
    document = Document(f"eli:{celex}#{number}", text, title, (Heading(0, 1, title),), metadata=data)
    return CHUNKER(document, Permissions(tenant, ("public",)))


def contract(source: str, *sections: tuple[str, str], title: str = "Agreement") -> list[Chunk]:
    """Return the chunks of a document with a heading before each section."""
    text, headings = "", []
    for heading, body in sections:
        headings.append(Heading(len(text), 1, heading))
        text += f"{heading}\n{body}\n"
    return CHUNKER(Document(source, text, title, tuple(headings)))


def links(*documents: list[Chunk]) -> list[tuple[str, str, str]]:
    """Return what cites what and how, by the beginnings of the texts, in the nearest reading."""
    chunks = {chunk.id: chunk for document in documents for chunk in document}
    nodes = [node for document in documents for node in nodes_of(document)]
    found = []
    for node in nodes:
        for place in sorted({mention.place for mention in node.mentions}):
            readings = sorted((m.rank, m.key, m.text, m.kind) for m in node.mentions if m.place == place)
            for _, key, text, kind in readings:
                cited = [each.id for each in nodes if key in keys(each)]
                if cited:
                    if kind != DEFINITION:
                        found += [(chunks[node.id].text[:12], text, chunks[id_].text[:12]) for id_ in cited]
                    break
    return found


def keys(node: Node) -> set[str]:
    return {anchor.key for anchor in node.anchors}


LONG = "which goes on for a while so that the next paragraph is a passage of its own, and not of this one."


def test_an_article_of_the_same_regulation() -> None:
    assert links(article("5", "As Article 6 says."), article("6", "Lawfulness")) == [
        ("As Article 6", "Article 6", "Lawfulness")
    ]


def test_another_regulation_by_number_and_by_name() -> None:
    ai = article("2", "See Article 6 of Regulation (EU) 2016/679 and Article 6 GDPR.", celex="32024R1689")
    ai = [replace(chunk, metadata=chunk.metadata | {"regulation": "EU AI Act"}) for chunk in ai]
    assert {cited for _, _, cited in links(ai, article("6", "Lawfulness"))} == {"Lawfulness"}
    assert links(article("7", "Article 2 of the AI Act applies."), ai)[0][2].startswith("See Article")
    assert links(article("7", "Article 2 applies."), ai) == []


def test_the_paragraph_that_is_cited_and_no_other() -> None:
    six = article("6", f"Title 1. First: (a) alpha {LONG} (b) beta {LONG} 2. Second {LONG} 3. Third {LONG}")
    assert len(six) > 3
    assert [cited for _, _, cited in links(article("5", "Article 6(2) applies."), six)] == ["2. Second wh"]
    assert {cited for _, _, cited in links(article("5", "Article 6 applies."), six)} == {
        c.text[:12] for c in six
    }
    assert len(links(article("5", "Article 6(9) applies."), six)) == len(six)


def test_a_paragraph_of_the_same_article() -> None:
    own = article("6", f"Title 1. First {LONG} 2. As paragraph 1 says {LONG} 3. Paragraph 7 {LONG}")
    assert links(own, article("9", "1. Other")) == [("2. As paragr", "paragraph 1", "Title 1. Fir")]


def test_sections_of_the_same_document_only() -> None:
    one = contract("one", ("1. Payment", "Due as Section 7.1 says."), ("7.1 Dates", "Thirty days."))
    two = contract("two", ("7.1 Dates", "Sixty days."))
    assert links(one, two) == [("1. Payment\nD", "Section 7.1", "7.1 Dates\nTh")]


def test_a_section_of_another_document_by_its_title() -> None:
    one = contract("one", ("1. Payment", "See Section 7.1 of the Master Services Agreement."))
    two = contract("two", ("7.1 Dates", "Sixty days."), title="Master Services Agreement")
    assert [cited for _, _, cited in links(one, two)] == ["7.1 Dates\nSi"]


def test_a_section_that_is_numbered_across_the_code() -> None:
    citing = contract(
        "a", ("§ 28-3904. Practices", "A violation of § 28:9-315(b) or of 15 U.S.C. § 28-3905.")
    )
    cited = contract("b", ("§ 28:9-315. Rights", f"(a) First {LONG}\n(b) Second {LONG}"))
    other = contract("c", ("§ 28-3905. Complaints", "Anybody may complain."))
    assert links(citing, cited, other) == [("§ 28-3904. P", "§ 28:9-315(b)", "(b) Second w")]


def test_a_chapter_is_cited_by_its_first_passage() -> None:
    parts = contract("a", ("Chapter II Rules", f"First. {LONG} {LONG}"), ("Other", "Chapter II applies."))
    assert [cited for _, _, cited in links(parts)] == ["Chapter II R"]


def test_a_court_decision_by_its_citation() -> None:
    opinion = contract("roe", ("I", "It is so ordered."), title="Roe v. Wade, 410 U.S. 113 (1973)")
    brief = contract("brief", ("II", "So held in Roe v. Wade, 410 U.S. 113 (1973)."))
    assert [cited for _, _, cited in links(brief, opinion)] == ["I\nIt is so o"]


def test_no_key_crosses_tenants() -> None:
    mine, other = article("5", "Article 6", tenant="mine"), article("6", "Lawfulness", tenant="other")
    assert links(mine, other) == []


def test_terms_hold_within_their_regulation_or_document() -> None:
    def meet(using: list[Chunk], defining: list[Chunk]) -> set[str]:
        sought = {m.key for node in nodes_of(using) for m in node.mentions if m.kind == DEFINITION}
        return {a.term for node in nodes_of(defining) for a in node.anchors if a.term and a.key in sought}

    defining = article("4", "‘personal data’ means any information")
    assert meet(article("33", "a personal data breach"), defining) == {"personal data"}
    assert meet(article("33", "a personal data breach", celex="32022R2554"), defining) == set()
    terms = contract("one", ("1", '"Term" means a year.'))
    assert meet(terms, terms) == {"Term"}
    assert meet(contract("two", ("1", "The Term ends.")), terms) == set()


def test_a_table_of_contents_is_cut_short() -> None:
    text = " ".join(f"§ 28-{n}." for n in range(100, 100 + 3 * MOST_REFERENCES))
    chunk = Chunk(text, "toc", "Contents", 0, len(text))
    places = {mention.place for mention in nodes_of([chunk])[0].mentions}
    assert len(places) == MOST_REFERENCES + 1


def test_offsets_hold_where_chunks_leave_whitespace_out() -> None:
    first, second = Chunk("See", "d", "D", 3, 6), Chunk("Section 4 there", "d", "D", 60, 75)
    nodes = {node.id: node for node in nodes_of([second, first])}
    assert [m.text for m in nodes[second.id].mentions if m.text] == ["Section 4"]
    assert [m.text for m in nodes[first.id].mentions if m.text] == []
