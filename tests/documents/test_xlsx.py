import io
import zipfile
from datetime import date, datetime, time, timedelta

import pytest
import xlsxwriter
from openpyxl import Workbook

from markgraph.documents.shown import shown
from markgraph.documents.types import Heading
from markgraph.errors import DocumentError
from tests.documents.test_docx import without


def save(book: Workbook) -> bytes:
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


@pytest.fixture
def book() -> Workbook:
    book = Workbook()
    book.active.title = "Fees"
    return book


def test_each_sheet_is_a_page_with_its_name_as_heading_and_its_rows_without_empty_ones(book, read):
    rows = [
        ["Schedule of fees"],
        [],
        ["Service", None, "Due", "Rate"],
        ["Filing", None, date(2026, 1, 31), 0.075],
        [None, None, None, None],
        ["Hearing", None, datetime(2026, 2, 1, 14, 30), None],
    ]
    for row in rows:
        book.active.append(row)
    book.active["D4"].number_format = "0.0%"
    book.create_sheet("Notes")["C9"] = "All fees\nare net."
    document = read("fees.xlsx", save(book))
    assert document.text == (
        "Fees\nSchedule of fees\nService | Due | Rate\nFiling | 2026-01-31 | 7.5%\n"
        "Hearing | 2026-02-01 14:30 | \n\nNotes\nAll fees are net."
    )
    start = document.text.index("Notes")
    assert document.pages == (0, start)
    assert document.headings == (Heading(0, 1, "Fees"), Heading(start, 1, "Notes"))
    assert document.title == "fees"
    assert document.metadata == {}


def test_merged_cells_stand_once_and_columns_stay_aligned(book, read):
    for row in [["Region", "Sales", None], [None, 2025, 2026], ["North", 1, 2]]:
        book.active.append(row)
    book.active.merge_cells("A1:A2")
    book.active.merge_cells("B1:C1")
    assert read("a.xlsx", save(book)).text == "Fees\nRegion | Sales | \n | 2025 | 2026\nNorth | 1 | 2"


def test_a_formula_is_its_last_value_in_a_file_with_macros_too(read):
    out = io.BytesIO()
    with xlsxwriter.Workbook(out, {"in_memory": True}) as book:
        sheet = book.add_worksheet("Sums")
        sheet.write_row("A1", ["a", "b"])
        sheet.write_formula("A2", "=1+1", value=2)
        sheet.write_formula("B2", "=1/0", value="#DIV/0!")
    assert read("a.xlsm", out.getvalue()).text == "Sums\na | b\n2 | #DIV/0!"


def test_hidden_sheets_are_named_and_not_read(book, read):
    book.active["A1"] = "seen"
    hidden = book.create_sheet("Secret")
    hidden["A1"] = "hidden"
    hidden.sheet_state = "hidden"
    document = read("a.xlsx", save(book))
    assert document.text == "Fees\nseen"
    assert document.metadata == {"hidden_sheets": "Secret"}


def test_the_title_is_the_one_in_the_properties(book, read):
    book.active["A1"] = "x"
    book.properties.title = "Fees of 2026"
    assert read("a.xlsx", save(book)).title == "Fees of 2026"


def test_refuses_more_rows_than_any_spreadsheet_has(book, read):
    book.active["A1"] = "x"
    beyond = replaced(save(book), "xl/worksheets/sheet1.xml", b'r="1"', b'r="10000000"')
    with pytest.raises(DocumentError, match="sheet 'Fees' goes beyond 5000000 cells, 1048576 rows"):
        read("a.xlsx", beyond)


def test_refuses_text_that_is_referred_to_until_it_fills_memory(book, read):
    for _ in range(2100):
        book.active.append(["x" * 32_000])
    with pytest.raises(DocumentError, match="or 67108864 characters"):
        read("a.xlsx", save(book))


def test_a_wrong_size_in_the_file_is_of_no_account(book, read):
    book.active["A1"] = "x"
    lying = replaced(
        save(book), "xl/worksheets/sheet1.xml", b'<dimension ref="A1:A1"', b'<dimension ref="B7:XFD9"'
    )
    assert read("a.xlsx", lying).text == "Fees\nx"


def replaced(data: bytes, name: str, old: bytes, new: bytes) -> bytes:
    """Return a zip file in which a part has other content."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(out, "w") as after:
        for each in before.namelist():
            part = before.read(each)
            assert each != name or old in part
            after.writestr(each, part.replace(old, new) if each == name else part)
    return out.getvalue()


@pytest.mark.parametrize(
    ("value", "code", "text"),
    [
        (1234.5, '"$"#,##0.00_);[Red]("$"#,##0.00)', "$1,234.50"),
        (-1234.5, "#,##0.00 [$€-407]", "-1,234.50 €"),
        (0.125, "0.00", "0.13"),
        (-0.001, "0.00", "0.00"),
        (0.075, "0.0%", "7.5%"),
        (1, "0%", "100%"),
        (2.50, "0.##", "2.5"),
        (2.0, "0.##", "2"),
        (0.1 + 0.2, "General", "0.3"),
        (3.0, "General", "3"),
        (12, '0 "kg"', "12 kg"),
        (0.5, "# ?/?", "0.5"),
        (1e20, "#,##0", "1e+20"),
        (True, "General", "TRUE"),
        ("007", "0.00", "007"),
        (None, "General", ""),
        (date(2026, 1, 31), "d-mmm-yy", "2026-01-31"),
        (datetime(2026, 1, 31), "mm-dd-yy", "2026-01-31"),
        (datetime(2026, 1, 31), "yyyy-mm-dd h:mm", "2026-01-31 00:00"),
        (datetime(2026, 1, 31, 9, 5, 7), "mm-dd-yy", "2026-01-31 09:05:07"),
        (time(9, 5), "h:mm", "09:05"),
        (timedelta(hours=30, minutes=5), "[h]:mm", "30:05:00"),
    ],
)
def test_a_cell_is_written_as_people_see_it(value, code, text):
    assert shown(value, code) == text


def test_refuses_a_damaged_xlsx_and_one_without_text(book, read):
    whole = save(book)
    for damaged in [b"no zip", whole[:-200], without(whole, "xl/workbook.xml"), b"\xd0\xcf\x11\xe0" * 200]:
        with pytest.raises(DocumentError, match=r"Cannot read docs/a\.xlsx as XLSX .* save it as XLSX"):
            read("a.xlsx", damaged)
    with pytest.raises(DocumentError, match="holds no text"):
        read("a.xlsx", whole)
