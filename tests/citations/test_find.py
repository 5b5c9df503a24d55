"""References are found where law and contracts write them, and mean what they say."""

import pytest

from markgraph.citations.acts import act_key, celex_of
from markgraph.citations.find import references
from markgraph.citations.types import OWN

GDPR = "32016r0679"


def found(text: str) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return span, act and place of each reference of `text`."""
    return [(text[each.start : each.end], each.act, each.place) for each in references(text)]


@pytest.mark.parametrize(
    ("text", "act", "places"),
    [
        ("Article 6(1)(f)", OWN, [("art 6", "1", "f")]),
        ("Article 6", OWN, [("art 6",)]),
        ("Art. 40a(1)", OWN, [("art 40a", "1")]),
        ("Articles 13 to 15", OWN, [("art 13",), ("art 14",), ("art 15",)]),
        ("Articles 13 and 14", OWN, [("art 13",), ("art 14",)]),
        ("Articles 16, 17(1) and 18", OWN, [("art 16",), ("art 17", "1"), ("art 18",)]),
        ("Article 6(6) or (7)", OWN, [("art 6", "6"), ("art 6", "7")]),
        ("Article 9(2), (3) and (4)", OWN, [("art 9", "2"), ("art 9", "3"), ("art 9", "4")]),
        ("point (a) of Article 5(1)", OWN, [("art 5", "1", "a")]),
        ("points (e) or (f) of Article 6(1)", OWN, [("art 6", "1", "e"), ("art 6", "1", "f")]),
        ("Article 6(1), points (a) to (c)", OWN, [("art 6", "1", each) for each in "abc"]),
        ("point (a) of paragraph 2 of Article 5", OWN, [("art 5", "2", "a")]),
        ("Article 4, point (1), of Regulation (EU) 2016/679", GDPR, [("art 4", "1")]),
        ("Article 33 of Regulation (EU) 2016/679", GDPR, [("art 33",)]),
        ("Articles 33 and 34 of Regulation (EU) 2016/679", GDPR, [("art 33",), ("art 34",)]),
        ("Article 25 of Directive 2014/65/EU", "32014l0065", [("art 25",)]),
        ("Article 33 GDPR", "gdpr", [("art 33",)]),
        ("Article 5 of the AI Act", "ai act", [("art 5",)]),
        ("Regulation (EU) 2016/679", GDPR, [()]),
        ("paragraph 2", OWN, [(OWN, "2")]),
        ("paragraphs 1 and 3 of this Article", OWN, [(OWN, "1"), (OWN, "3")]),
        ("paragraph 5, point (b)", OWN, [(OWN, "5", "b")]),
        ("points (a) and (b) of paragraph 1", OWN, [(OWN, "1", "a"), (OWN, "1", "b")]),
        ("point (a)", OWN, [(OWN, "^1", "a")]),
        ("Annex III", OWN, [("annex iii",)]),
        ("Annexes I to III", OWN, [("annex i",), ("annex ii",), ("annex iii",)]),
        ("Annex I to Directive 2013/36/EU", "32013l0036", [("annex i",)]),
        ("Section 4.2", OWN, [("sec 4.2",)]),
        ("Sections 4.2 and 7", OWN, [("sec 4.2",), ("sec 7",)]),
        ("clause 12.1(a)", OWN, [("sec 12.1", "a")]),
        ("Section 4.2 of the Master Services Agreement", "master services agreement", [("sec 4.2",)]),
        ("§ 28:9-315", OWN, [("sec 28:9-315",)]),
        ("§ 42-3505.01(b)", OWN, [("sec 42-3505.01", "b")]),
        ("§§ 28-3901 to 28-3903", OWN, [("sec 28-3901",), ("sec 28-3902",), ("sec 28-3903",)]),
        ("§§ 42-3502.05(f) through 42-3502.07", OWN, [("sec 42-3502.05", "f"), ("sec 42-3502.07",)]),
        ("§§ 42-101 , 42-121 [repealed], and 42-6", OWN, [("sec 42-101",), ("sec 42-121",), ("sec 42-6",)]),
        ("§ 2-1831.03(b-1)", OWN, [("sec 2-1831.03", "b-1")]),
        ("15 U.S.C. § 7001", "15 u.s.c.", [("sec 7001",)]),
        ("subsection (b)", OWN, [(OWN, "b")]),
        ("subsection (a)(1) or (2) of this section", OWN, [(OWN, "a", "1"), (OWN, "a", "2")]),
        ("paragraph (1) of this subsection", OWN, [(OWN, "^1", "1")]),
        ("Chapter 24A of Title 42", OWN, [("title 42", "chapter 24a")]),
        ("this chapter", OWN, [("chapter",)]),
    ],
)  # fmt: skip
def test_finds_what_is_cited(text: str, act: str, places: list[tuple[str, ...]]) -> None:
    for sentence in (text, f"It is subject to {text}, unless otherwise agreed.", f"See {text}."):
        assert [each[1:] for each in found(sentence)] == [(act, place) for place in places]
        assert {each[0] for each in found(sentence)} == {text}


def test_that_act_is_the_one_named_last() -> None:
    text = (
        "Directive 2013/34/EU. Regulation (EU) 2016/679 and Article 5 thereof; Article 6 of that Regulation."
    )
    assert [(act, place) for _, act, place in found(text) if place] == [
        (GDPR, ("art 5",)),
        (GDPR, ("art 6",)),
    ]


def test_articles_joined_before_an_act_are_all_of_it() -> None:
    text = "under Article 16, Article 17(1) and Article 18 of Regulation (EU) 2016/679 and under Article 9"
    assert [(act, place[0]) for _, act, place in found(text)] == [
        (GDPR, "art 16"),
        (GDPR, "art 17"),
        (GDPR, "art 18"),
        (OWN, "art 9"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "the articles of association",
        "within 30 days, 5 % of the price",
        "a section of the road",
        "paragraph after paragraph",
        "particles 5 to 7",
        "The parties are Part of it",
    ],
)
def test_finds_nothing_where_nothing_is_cited(text: str) -> None:
    assert found(text) == []


def test_an_amount_behind_a_section_is_no_section() -> None:
    assert [place for _, _, place in found("notice under Section 4, 30 days before")] == [("sec 4",)]
    assert [place for _, _, place in found("under Sections 4 and 30 days before")] == [("sec 4",)]


def test_case_citations_are_resolved() -> None:
    text = (
        "Roe v. Wade, 410 U.S. 113, 120 (1973), was overruled. See id. at 121. "
        "Obergefell v. Hodges, 576 U.S. 644 (2015), was not; Roe, supra, at 5, and 576 U.S. at 650."
    )
    cases = [(written, act) for written, act, _ in found(text)]
    assert [act for _, act in cases] == [
        "410 u.s. 113",
        "410 u.s. 113",
        "576 u.s. 644",
        "410 u.s. 113",
        "576 u.s. 644",
    ]
    assert cases[1][0].startswith("id.")


def test_statutes_at_large_are_no_cases() -> None:
    assert found("approved October 22, 1986 (100 Stat. 2085)") == []


@pytest.mark.parametrize(
    ("name", "celex"),
    [
        ("Regulation (EU) 2016/679", "32016r0679"),
        ("Regulation (EC) No 1107/2009", "32009r1107"),
        ("Regulation (EU) No 600/2014", "32014r0600"),
        ("Directive 2014/65/EU", "32014l0065"),
        ("Directive (EU) 2022/2555", "32022l2555"),
        ("Directive 95/46/EC", "31995l0046"),
        ("Decision 2010/87/EU", "32010d0087"),
        ("Framework Decision 2002/584/JHA", "32002f0584"),
        ("the Terms of Service", ""),
    ],
)
def test_tells_the_celex_number(name: str, celex: str) -> None:
    assert celex_of(name) == celex


def test_an_act_without_a_number_is_known_by_its_name() -> None:
    assert act_key("the EU AI Act") == act_key("AI Act") == "ai act"


def test_a_list_that_never_ends_is_cut_short() -> None:
    assert len(references("§§ 28-1 to 28-9999")) == 2
