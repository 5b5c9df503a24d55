"""Whatever bytes a reader is given, it reads them or raises DocumentError."""

import contextlib
import io
import re
import zipfile
from email.message import EmailMessage

import docx
import openpyxl
import pptx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from markgraph.documents.docx import read_docx
from markgraph.documents.html import read_html
from markgraph.documents.mail import read_mail
from markgraph.documents.pptx import read_pptx
from markgraph.documents.tables import read_csv
from markgraph.documents.text import clean, read_markdown, read_text
from markgraph.documents.xlsx import read_xlsx
from markgraph.documents.xml import read_xml
from markgraph.errors import DocumentError


def _docx() -> bytes:
    word, out = docx.Document(), io.BytesIO()
    word.add_heading("Heading", 1)
    word.add_paragraph("item", "List Number")
    word.add_table(1, 2).cell(0, 0).text = "cell"
    word.save(out)
    return out.getvalue()


def _pptx() -> bytes:
    slides, out = pptx.Presentation(), io.BytesIO()
    slide = slides.slides.add_slide(slides.slide_layouts[1])
    slide.shapes.title.text = "Title"
    slide.shapes.add_table(1, 2, 0, 0, 9, 9).table.cell(0, 0).text = "cell"
    slides.save(out)
    return out.getvalue()


def _xlsx() -> bytes:
    book, out = openpyxl.Workbook(), io.BytesIO()
    book.active.append(["a", 1.5, True])
    book.save(out)
    return out.getvalue()


def _mail() -> bytes:
    message = EmailMessage()
    message["From"], message["Subject"] = "a@example.org", "Subject"
    message.set_content("text")
    message.add_alternative("<p>html", subtype="html")
    message.add_attachment(b"a,b", maintype="text", subtype="csv", filename="a.csv")
    return message.as_bytes()


HTML = b"<title>t</title><ol type=a><li>x</ol><table><tr><td rowspan=2 colspan=3>a<td>b<tr><td>c</table>"
XML = (
    b'<?xml version="1.0"?><a><num>1</num><title>t</title><table><tr><td colspan="2">x</td></tr></table></a>'
)
READERS = {
    "docx": (read_docx, _docx),
    "pptx": (read_pptx, _pptx),
    "xlsx": (read_xlsx, _xlsx),
    "mail": (read_mail, _mail),
    "html": (read_html, lambda: HTML),
    "xml": (read_xml, lambda: XML),
    "csv": (read_csv, lambda: b'a,b\n"c\nd",e'),
    "markdown": (read_markdown, lambda: b"# T\n\n| a | b |\n"),
    "text": (read_text, lambda: "Straße".encode("cp1252")),
}


def check(read, data: bytes) -> None:
    with contextlib.suppress(DocumentError):
        document = read(data, "docs/a")
        assert document.text == clean(document.text)
        assert document.title.strip()
        assert all(each.offset < len(document.text) for each in document.headings)
        assert list(document.pages) == sorted(document.pages)


@pytest.mark.parametrize("kind", READERS)
@settings(max_examples=40)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(kind: str, data: bytes) -> None:
    check(READERS[kind][0], data)


@pytest.mark.parametrize("kind", READERS)
@settings(max_examples=40)
@given(data=st.data())
def test_any_change_to_a_good_file_is_read_or_refused(kind: str, data: st.DataObject) -> None:
    read, make = READERS[kind]
    whole = GOOD.setdefault(kind, make())
    start = data.draw(st.integers(0, len(whole) - 1))
    length = data.draw(st.integers(0, 40))
    check(read, whole[:start] + data.draw(st.binary(max_size=20)) + whole[start + length :])


@pytest.mark.parametrize("kind", ["docx", "pptx", "xlsx"])
@settings(max_examples=40)
@given(data=st.data())
def test_any_change_within_a_part_of_an_archive_is_read_or_refused(kind: str, data: st.DataObject) -> None:
    read, make = READERS[kind]
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(GOOD.setdefault(kind, make()))) as old, zipfile.ZipFile(out, "w") as new:
        changed = data.draw(st.sampled_from([name for name in old.namelist() if PART.search(name)]))
        for name in old.namelist():
            part = old.read(name)
            if name == changed:
                values = [match.span(1) for match in VALUE.finditer(part)]
                start, end = data.draw(st.sampled_from(values))
                value = data.draw(
                    st.sampled_from([b"", b"-1", b"x", b"99999999999", b"1e9"]) | st.binary(max_size=9)
                )
                part = part[:start] + value + part[end:]
            new.writestr(name, part)
    check(read, out.getvalue())


PART = re.compile(r"(?:document|numbering|styles|slide1|presentation|sheet1|workbook|core|Types\])\.xml$")
VALUE = re.compile(rb'="([^"]*)"')
GOOD: dict[str, bytes] = {}
