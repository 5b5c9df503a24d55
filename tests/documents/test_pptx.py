import io

import pptx
import pytest
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE

from markgraph.documents.types import Heading
from markgraph.errors import DocumentError
from tests.documents.test_docx import without

TITLE_AND_BODY, BLANK = 1, 6


def save(presentation: pptx.presentation.Presentation) -> bytes:
    out = io.BytesIO()
    presentation.save(out)
    return out.getvalue()


@pytest.fixture
def slides() -> pptx.presentation.Presentation:
    return pptx.Presentation()


def test_slides_are_pages_with_title_text_table_and_notes_in_order(slides, read):
    first = slides.slides.add_slide(slides.slide_layouts[TITLE_AND_BODY])
    first.placeholders[1].text = "Rent is due monthly.\n\nIn advance."
    first.shapes.title.text = "Terms of\vthe lease"
    first.notes_slide.notes_text_frame.text = "Say this.\nThen that."
    second = slides.slides.add_slide(slides.slide_layouts[TITLE_AND_BODY])
    second.shapes.title.text = "Fees"
    table = second.shapes.add_table(2, 3, 0, 0, 9, 9).table
    for number, cell in enumerate(table.iter_cells()):
        cell.text = f"c{number}"
    table.cell(1, 0).merge(table.cell(1, 1))
    document = read("a.pptx", save(slides))
    assert document.text == (
        "Terms of the lease\n\nRent is due monthly.\nIn advance.\n\nNotes: Say this.\nThen that.\n\n"
        "Fees\nc0 | c1 | c2\nc3 c4 |  | c5"
    )
    start = document.text.index("Fees")
    assert document.pages == (0, start)
    assert document.headings == (Heading(0, 1, "Terms of the lease"), Heading(start, 1, "Fees"))
    assert document.title == "Terms of the lease"


def test_groups_are_opened_and_a_slide_without_a_title_is_named_by_its_first_line(slides, read):
    slide = slides.slides.add_slide(slides.slide_layouts[BLANK])
    inner = slide.shapes.add_group_shape().shapes.add_group_shape()
    for text in ("Overview", "The rest."):
        inner.shapes.add_textbox(0, 0, 9, 9).text_frame.text = text
    document = read("a.pptx", save(slides))
    assert document.text == "Overview\n\nThe rest."
    assert document.headings == (Heading(0, 1, "Overview"),)


def test_a_slide_without_text_is_a_page_all_the_same(slides, read):
    chart = CategoryChartData()
    chart.categories = ["a"]
    chart.add_series("s", [1])
    slide = slides.slides.add_slide(slides.slide_layouts[BLANK])
    slide.shapes.add_chart(XL_CHART_TYPE.PIE, 0, 0, 9, 9, chart)
    slides.slides.add_slide(slides.slide_layouts[TITLE_AND_BODY]).shapes.title.text = "Two"
    document = read("a.pptx", save(slides))
    assert len(document.pages) == 2
    assert document.text[document.pages[1] :] == "Two"


def test_the_title_is_the_one_in_the_properties_unless_the_program_wrote_it(slides, read):
    slides.slides.add_slide(slides.slide_layouts[TITLE_AND_BODY]).shapes.title.text = "One"
    slides.core_properties.title = "PowerPoint Presentation"
    assert read("a.pptx", save(slides)).title == "One"
    slides.core_properties.title = "Lease"
    assert read("a.pptx", save(slides)).title == "Lease"


def test_refuses_a_damaged_pptx_and_one_without_text(slides, read):
    whole = save(slides)
    for damaged in [
        b"no zip",
        whole[:-200],
        without(whole, "ppt/presentation.xml"),
        b"\xd0\xcf\x11\xe0" * 200,
    ]:
        with pytest.raises(DocumentError, match=r"Cannot read docs/a\.pptx as PPTX .* save it as PPTX"):
            read("a.pptx", damaged)
    with pytest.raises(DocumentError, match="holds no text"):
        read("a.pptx", whole)
