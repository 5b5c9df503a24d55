"""Reads pictures with the engines that are on this machine."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from markgraph.documents.load import load
from markgraph.documents.ocr import engine_name
from markgraph.documents.options import PAGE_WAS_READ, ReadOptions
from markgraph.documents.reading_order import TextBox, reading_order
from markgraph.errors import DocumentError
from tests.documents.pdf_files import draw_pdf, image_object, show

LINES = (
    "The supplier delivers the goods within thirty days",
    "of the order, and the buyer pays upon delivery.",
    "Either party may terminate this agreement in writing",
    "with a notice of three months to the end of a year.",
)
ENGINES = [
    pytest.param(
        "tesseract",
        marks=pytest.mark.skipif(not shutil.which("tesseract"), reason="apt-get install tesseract-ocr"),
    ),
    pytest.param(
        "rapidocr",
        marks=pytest.mark.skipif(not find_spec("rapidocr"), reason="pip install 'markgraph[ocr]'"),
    ),
]
with_engines = pytest.mark.parametrize("engine", ENGINES)
with_tesseract = pytest.mark.skipif(not shutil.which("tesseract"), reason="apt-get install tesseract-ocr")


def picture(*lines: str, size: tuple[int, int] = (1240, 800), background: str = "white") -> Image.Image:
    image = Image.new("L", size, background)
    font = ImageFont.load_default(36)
    for number, line in enumerate(lines):
        ImageDraw.Draw(image).text((100, 150 + 60 * number), line, "black", font)
    return image


def words(text: str) -> set[str]:
    return {word.strip(".,").lower() for word in text.split()}


WORDS = words(" ".join(LINES))


def read_picture(folder: Path, image: Image.Image, engine: str, name: str = "a.png", **settings):
    path = folder / name
    image.save(path, **settings)
    return load(path, f"docs/{name}", ReadOptions(ocr=engine))


@with_engines
@pytest.mark.parametrize("angle", [0, 90, 180, 270, 3, -2])
def test_reads_a_page_whichever_way_it_lies(tmp_path, engine, angle):
    turned = picture(*LINES).rotate(angle, Image.Resampling.BICUBIC, expand=True, fillcolor=255)
    document = read_picture(tmp_path, turned, engine)
    assert len(WORDS - words(document.text)) <= 2
    order = [document.text.index(word) for word in ("supplier", "buyer", "terminate", "notice")]
    assert order == sorted(order)
    assert document.metadata == {"ocr_pages": "1"}
    assert document.pages == (0,)


@with_tesseract
@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.tif", "a.bmp", "a.webp", "a.PNG"])
def test_reads_every_format(tmp_path, name):
    assert len(WORDS - words(read_picture(tmp_path, picture(*LINES), "auto", name).text)) <= 2


@with_tesseract
def test_frames_of_a_tiff_are_pages(tmp_path):
    pages = [picture("First page of the fax"), picture("Second page of the fax")]
    document = read_picture(tmp_path, pages[0], "auto", "a.tiff", save_all=True, append_images=pages[1:])
    assert [document.text[offset:].split()[0] for offset in document.pages] == ["First", "Second"]
    assert document.metadata == {"ocr_pages": "1, 2"}
    with pytest.raises(DocumentError, match=r"docs/a\.tiff has 2 pages; 1 are allowed"):
        load(tmp_path / "a.tiff", "docs/a.tiff", ReadOptions(pages=1))


@with_tesseract
def test_what_is_transparent_is_white(tmp_path):
    image = Image.new("RGBA", (1240, 800), (0, 0, 0, 0))
    image.paste("black", mask=picture(*LINES).point(lambda value: 255 - value))
    assert len(WORDS - words(read_picture(tmp_path, image, "auto").text)) <= 2


@with_tesseract
def test_only_pages_without_sensible_text_are_read_by_ocr(tmp_path):
    image = picture(*LINES)
    scan = "500 0 0 330 50 300 cm /Im Do"
    scanned_and_stamped = f"q 612 0 0 792 0 0 cm /Im Do Q {show('Case 1 Filed 2024', x=5, y=780)}"
    pages = [show("A page of text."), scan, "", scanned_and_stamped, scan + " " + show("x", 1, 1)]
    path = tmp_path / "a.pdf"
    path.write_bytes(
        draw_pdf(
            *pages,
            resources="/XObject << /Im 4 0 R >>",
            more=[image_object(image.tobytes(), *image.size)],
        )
    )
    document = load(path, "docs/a.pdf")
    texts = [
        document.text[start:stop]
        for start, stop in zip(document.pages, [*document.pages[1:], None], strict=True)
    ]
    assert document.metadata == {"ocr_pages": "2, 4", "pages_without_text": "3"}
    assert texts[0].strip() == "A page of text."
    assert texts[4].strip() == "x"  # its picture covers a third of the page: a figure
    for text in (texts[1], texts[3]):
        assert len(WORDS - words(text)) <= 2
    assert "Case 1 Filed 2024" in texts[3]
    unread = load(path, "docs/a.pdf", ReadOptions(ocr="none"))
    assert unread.metadata == {"pages_without_text": "2, 3"}


@with_tesseract
def test_tells_of_every_page_that_was_read(tmp_path):
    told = []
    token = PAGE_WAS_READ.set(lambda: told.append(1))
    try:
        read_picture(tmp_path, picture(*LINES), "auto")
    finally:
        PAGE_WAS_READ.reset(token)
    assert told == [1]


@with_tesseract
def test_a_picture_without_text_and_a_language_that_is_not_there_are_refused(tmp_path):
    with pytest.raises(DocumentError, match=r"docs/a\.png is a picture, and OCR found no text on it"):
        read_picture(tmp_path, picture(), "auto")
    options = ReadOptions(ocr="tesseract", languages=("eng", "xyz"))
    with pytest.raises(DocumentError, match=r"xyz.*\n.*apt-get install tesseract-ocr-LANGUAGE"):
        load(tmp_path / "a.png", "docs/a.png", options)


def test_without_an_engine_a_picture_is_refused_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    if engine_name(ReadOptions()) == "none":
        with pytest.raises(
            DocumentError, match=r"tesseract-ocr\) or rapidocr \(pip install 'markgraph\[ocr\]"
        ):
            read_picture(tmp_path, picture(*LINES), "auto")
    with pytest.raises(DocumentError, match=r"ocr=tesseract names, is not there\. Install tesseract"):
        read_picture(tmp_path, picture(*LINES), "tesseract")
    with pytest.raises(DocumentError, match="OCR is switched off: ocr=auto reads it"):
        read_picture(tmp_path, picture(*LINES), "none")


def test_refuses_a_damaged_picture(tmp_path):
    image = tmp_path / "a.png"
    picture(*LINES).save(image)
    image.write_bytes(image.read_bytes()[:200])
    for data in (image.read_bytes(), b"no picture", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"):
        image.write_bytes(data)
        with pytest.raises(DocumentError, match=r"docs/a\.png|OCR|tesseract"):
            load(image, "docs/a.png")


def test_columns_are_read_one_after_the_other_and_rows_of_a_table_across():
    def line(text, left, top, width=300):
        return TextBox(text, left, top, left + width, top + 20)

    columns = [
        line(f"{side}{row}", left, 100 + 30 * row)
        for row in range(3)
        for side, left in (("l", 0), ("r", 340))
    ]
    assert reading_order([line("title", 0, 0, 640), *columns]) == [
        "title",
        "l0",
        "l1",
        "l2",
        "r0",
        "r1",
        "r2",
    ]
    cells = [
        line(f"{side}{row}", left, 100 + 30 * row, 60)
        for row in range(2)
        for side, left in (("a", 0), ("b", 340))
    ]
    assert reading_order(cells) == ["a0 b0", "a1 b1"]
    assert reading_order([]) == []
