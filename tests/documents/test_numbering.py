"""The numbers that Word computes: the expected ones are what Word shows for such a document."""

import docx
import pytest
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls

from markgraph.documents.numerals import letters, ordinal, roman
from tests.documents.test_docx import save


class Numbered:
    """A Word document whose lists are written as XML."""

    def __init__(self) -> None:
        self.word = docx.Document()
        self.lists = self.word.part.numbering_part.element
        for old in list(self.lists):
            self.lists.remove(old)

    def define(self, key: int, *levels: str) -> None:
        """Add a list definition; a level is `FORMAT PATTERN`, and what else it holds as XML."""
        xml = ""
        for number, level in enumerate(levels):
            kind, pattern, *more = level.split("~")
            xml += (
                f'<w:lvl w:ilvl="{number}"><w:start w:val="1"/><w:numFmt w:val="{kind}"/>'
                f'<w:lvlText w:val="{pattern}"/>{"".join(more)}</w:lvl>'
            )
        definition = f'<w:abstractNum {nsdecls("w")} w:abstractNumId="{key}">{xml}</w:abstractNum>'
        self.lists.insert(0, parse_xml(definition))

    def use(self, list_id: int, key: int, overrides: str = "") -> None:
        """Add a list."""
        self.lists.append(
            parse_xml(
                f'<w:num {nsdecls("w")} w:numId="{list_id}"><w:abstractNumId w:val="{key}"/>'
                f"{overrides}</w:num>"
            )
        )

    def add(self, text: str, list_id: int, level: int = 0) -> docx.text.paragraph.Paragraph:
        """Add a numbered paragraph."""
        paragraph = self.word.add_paragraph(text)
        self.number(paragraph._p, list_id, level)
        return paragraph

    def number(self, element: docx.oxml.xmlchemy.BaseOxmlElement, list_id: int, level: int) -> None:
        """Number a paragraph, or all of a style."""
        element.get_or_add_pPr().append(
            parse_xml(
                f'<w:numPr {nsdecls("w")}><w:ilvl w:val="{level}"/><w:numId w:val="{list_id}"/></w:numPr>'
            )
        )


@pytest.fixture
def word() -> Numbered:
    return Numbered()


def test_each_level_has_its_format_and_starts_again_below_the_next_one_above(word, read):
    word.define(1, "decimal~Section %1.", "decimal~%1.%2", "lowerLetter~(%3)", "lowerRoman~(%4)")
    word.use(7, 1)
    for text, level in [
        ("A", 0),
        ("B", 1),
        ("C", 2),
        ("D", 2),
        ("E", 3),
        ("F", 1),
        ("G", 2),
        ("H", 0),
        ("I", 1),
    ]:
        word.add(text, 7, level)
    assert read("a.docx", save(word.word)).text.split("\n") == [
        "Section 1. A", "1.1 B", "(a) C", "(b) D", "(i) E", "1.2 F", "(a) G", "Section 2. H", "2.1 I",
    ]  # fmt: skip


def test_headings_are_numbered_by_their_style_and_named_with_their_number(word, read):
    word.define(
        1,
        'upperRoman~Article %1~<w:pStyle w:val="Heading1"/>',
        'decimal~%1.%2~<w:isLgl/><w:pStyle w:val="Heading2"/>',
    )
    word.use(1, 1)
    for style in ("Heading 1", "Heading 2"):
        word.number(word.word.styles[style].element, 1, 0)
    for text, level in [("Scope", 1), ("Parties", 2), ("Term", 1), ("Notice", 2)]:
        word.word.add_heading(text, level)
    document = read("a.docx", save(word.word))
    assert [(each.level, each.title) for each in document.headings] == [
        (1, "Article I Scope"),
        (2, "1.1 Parties"),
        (1, "Article II Term"),
        (2, "2.1 Notice"),
    ]


def test_lists_of_one_definition_count_on_unless_one_starts_again(word, read):
    word.define(1, "decimal~%1)")
    word.use(1, 1)
    word.use(2, 1)
    word.use(3, 1, '<w:lvlOverride w:ilvl="0"><w:startOverride w:val="4"/></w:lvlOverride>')
    for list_id in (1, 2, 1, 3, 3):
        word.add("x", list_id)
    assert read("a.docx", save(word.word)).text.split("\n") == ["1) x", "2) x", "3) x", "4) x", "5) x"]


def test_a_level_may_go_on_across_the_levels_above(word, read):
    word.define(1, "upperLetter~%1.", 'decimal~§ %2~<w:lvlRestart w:val="0"/>')
    word.use(1, 1)
    for level in (0, 1, 0, 1):
        word.add("x", 1, level)
    assert read("a.docx", save(word.word)).text.split("\n") == ["A. x", "§ 1 x", "B. x", "§ 2 x"]


def test_bullets_are_dashes_and_a_paragraph_may_leave_its_list(word, read):
    word.define(1, "bullet~\uf0b7")
    word.use(1, 1)
    word.number(word.word.styles["List Bullet"].element, 1, 0)
    word.word.add_paragraph("in", "List Bullet")
    word.number(word.word.add_paragraph("out", "List Bullet")._p, 0, 0)
    word.word.add_paragraph("again", "List Bullet")
    assert read("a.docx", save(word.word)).text == "- in\n\nout\n- again"


def test_numbers_stand_in_cells_and_a_deleted_paragraph_has_none(word, read):
    word.define(1, "decimal~%1.")
    word.use(1, 1)
    gone = word.add("", 1)
    mark = f'<w:rPr {nsdecls("w")}><w:del w:id="1" w:author="a"/></w:rPr>'
    gone._p.pPr.append(parse_xml(mark))
    word.add("one", 1)
    cell = word.word.add_table(1, 2).cell(0, 1)
    cell.paragraphs[0].text = "two"
    word.number(cell.paragraphs[0]._p, 1, 0)
    cell._tc.getprevious().p_lst[0].add_r().text = "a"
    assert read("a.docx", save(word.word)).text == "1. one\na | 2. two"


def test_a_list_that_is_not_defined_leaves_a_paragraph_as_it_is(word, read):
    word.add("x", 99)
    assert read("a.docx", save(word.word)).text == "x"


def test_numerals_count_as_word_processors_do():
    assert [letters(each) for each in (1, 26, 27, 52, 53)] == ["a", "z", "aa", "zz", "aaa"]
    assert [roman(each) for each in (1, 4, 9, 14, 40, 1994)] == ["i", "iv", "ix", "xiv", "xl", "mcmxciv"]
    assert [ordinal(each) for each in (1, 2, 3, 4, 11, 22, 113)] == "1st 2nd 3rd 4th 11th 22nd 113th".split()
    assert [letters(0), roman(-1), roman(10**9), letters(10**9)] == ["0", "-1", "1000000000", "1000000000"]
