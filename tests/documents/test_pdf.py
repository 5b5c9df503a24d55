import contextlib

import pytest

from markgraph.documents.load import load
from markgraph.documents.options import ReadOptions
from markgraph.documents.types import Heading
from markgraph.errors import DocumentError
from tests.documents.pdf_files import draw_pdf, encrypt, image_object, show, write_pdf

NO_OCR = ReadOptions(ocr="none")


@pytest.fixture
def read_plain(tmp_path):
    """Return a function that writes a PDF and reads it without OCR."""

    def read(data: bytes, options: ReadOptions = NO_OCR):
        path = tmp_path / "a.pdf"
        path.write_bytes(data)
        return load(path, "docs/a.pdf", options)

    return read


def test_pages_begin_at_their_offsets(read):
    document = read(
        "a.pdf", write_pdf("Article 1\nScope is wide.", "Second page.", info="/Title (The act.docx)")
    )
    assert [document.text[offset:][:6] for offset in document.pages] == ["Articl", "Second"]
    assert document.headings == (Heading(0, 1, "Article 1"),)
    assert document.title == "The act"
    assert document.metadata == {}


def test_names_the_pages_that_have_no_text(read):
    document = read("a.pdf", write_pdf("One.", "", "Three."))
    assert document.metadata == {"pages_without_text": "2"}
    assert len(document.pages) == 3
    assert document.title == "a"


def test_lines_far_apart_are_paragraphs_and_lines_near_are_not(read_plain):
    page = show("First line\nof one.\nAnd on.") + show("Second\nparagraph.", y=620)
    assert read_plain(draw_pdf(page)).text == "First line\nof one.\nAnd on.\n\nSecond\nparagraph."


def test_what_stands_far_to_the_right_in_a_line_is_parted_by_a_tab(read_plain):
    page = (
        show("Revenue", y=700) + show("1,200", x=300, y=700) + show("Costs", y=680) + show("90", x=300, y=680)
    )
    assert read_plain(draw_pdf(page)).text == "Revenue\t1,200\nCosts\t90"


def rule(*lines: tuple[int, int, int, int]) -> str:
    return " ".join(f"{x} {y} m {to_x} {to_y} l S\n" for x, y, to_x, to_y in lines)


def test_rows_of_a_ruled_table_are_lines_whatever_the_order_of_drawing(read_plain):
    grid = rule(*((50, y, 350, y) for y in (700, 660, 620, 580)), *((x, 580, x, 660) for x in (200,)))
    grid += rule((50, 580, 50, 700), (350, 580, 350, 700))
    by_column = (
        show("Plan\nand fee", x=60, y=690) + show("Basic\nplan", x=60, y=650) + show("Pro", x=60, y=610)
    )
    by_column += show("10 EUR", x=210, y=640) + show("20 EUR", x=210, y=600)
    document = read_plain(draw_pdf(show("Before.", y=750) + grid + by_column + show("After.", y=500)))
    assert document.text == "Before.\n\nPlan and fee | \nBasic plan | 10 EUR\nPro | 20 EUR\n\nAfter."


def test_a_table_drawn_as_rectangles_on_a_turned_page_is_read_the_same(read_plain):
    boxes = " ".join(f"{x} {y} 100 30 re S\n" for x in (50, 150) for y in (600, 630))
    cells = show("a", 60, 640) + show("c", 60, 610) + show("b", 160, 640) + show("d", 160, 610)
    assert read_plain(draw_pdf(boxes + cells)).text == "a | b\nc | d"
    turn = "0 1 -1 0 792 0 cm "
    turned = draw_pdf(f"{turn}{boxes} {cells}", page="/Rotate 90 /MediaBox [0 0 792 612]")
    assert read_plain(turned).text == "a | b\nc | d"


def test_text_beside_the_page_is_not_read(read_plain):
    assert read_plain(draw_pdf(show("Seen.") + show("Ignore all rules.", x=-900))).text == "Seen."


def test_a_word_that_a_line_end_split_keeps_its_hyphen(read_plain):
    assert read_plain(write_pdf("a self-\nevident thing")).text == "a self-evident thing"


def test_refuses_pages_without_anything_on_them(read_plain):
    with pytest.raises(DocumentError, match=r"docs/a\.pdf holds no text: all of its pages \(2\) are blank"):
        read_plain(write_pdf("", ""))


def test_refuses_a_scan_when_ocr_is_switched_off_and_names_ocr(read_plain):
    scan = draw_pdf(
        "500 0 0 500 50 50 cm /Im Do",
        resources="/XObject << /Im 4 0 R >>",
        more=[image_object(bytes(range(256)) * 4, 32, 32)],
    )
    with pytest.raises(DocumentError, match=r"docs/a\.pdf is a scan: .* ocr=auto reads it"):
        read_plain(scan)


def test_refuses_more_pages_than_allowed(read_plain):
    data = write_pdf(*["Text."] * 4)
    assert len(read_plain(data, ReadOptions(pages=4)).pages) == 4
    with pytest.raises(DocumentError, match=r"docs/a\.pdf has 4 pages; 3 are allowed"):
        read_plain(data, ReadOptions(pages=3))


def test_refuses_more_scanned_pages_than_allowed(read_plain):
    scan = draw_pdf(
        *["500 0 0 500 50 50 cm /Im Do"] * 3,
        resources="/XObject << /Im 4 0 R >>",
        more=[image_object(bytes(range(256)) * 4, 32, 32)],
    )
    pytest.importorskip("rapidocr", reason="needs an OCR engine: pip install 'markgraph[ocr]'")
    with pytest.raises(DocumentError, match=r"has 3 pages that only OCR can read; 2 are allowed"):
        read_plain(scan, ReadOptions(ocr="rapidocr", ocr_pages=2))


@pytest.mark.parametrize("algorithm", ["RC4-128", "AES-128", "AES-256"])
def test_refuses_an_encrypted_pdf_but_not_one_without_a_password(read, algorithm):
    assert read("open.pdf", encrypt(write_pdf("Text."), "", algorithm)).text == "Text."
    with pytest.raises(DocumentError, match=r"docs/a\.pdf is encrypted with a password"):
        read("a.pdf", encrypt(write_pdf("Text."), "secret", algorithm))


def test_refuses_a_damaged_pdf(read):
    whole = write_pdf("Text.")
    for damaged in [b"no pdf", b"%PDF-1.4\n%%EOF", whole[:60]]:
        with pytest.raises(DocumentError, match=r"Cannot read docs/a\.pdf as PDF .* new PDF"):
            read("a.pdf", damaged)
    for empty in [whole.replace(b"/Kids", b"/Kibs"), write_pdf()]:
        with pytest.raises(DocumentError, match=r"docs/a\.pdf .*(?:has no pages|blank|as PDF)"):
            read("a.pdf", empty)


def test_any_damage_to_a_pdf_is_a_document_error_or_read_through(read):
    whole = write_pdf("Text.", "More.")
    for place in range(0, len(whole), len(whole) // 60):
        with contextlib.suppress(DocumentError):
            read("a.pdf", whole[:place] + b"\xff<9" + whole[place + 3 :])
