import pytest

from markgraph.documents.tables import Cell, grid, row_lines
from markgraph.errors import DocumentError


def test_a_spanned_cells_text_stands_once_and_the_columns_stay_aligned():
    rows = [
        [Cell("Region", rows=2), Cell("Sales", columns=2), Cell("Note")],
        [Cell("2025"), Cell("2026"), Cell("x")],
        [Cell("North"), Cell("1"), Cell("2"), Cell("y")],
    ]
    assert grid(rows) == [
        ["Region", "Sales", "", "Note"],
        ["", "2025", "2026", "x"],
        ["North", "1", "2", "y"],
    ]


def test_empty_rows_and_columns_are_dropped():
    assert grid(
        [[Cell("a"), Cell(" "), Cell("b")], [Cell(""), Cell("")], [Cell(""), Cell(""), Cell("c")]]
    ) == [
        ["a", "b"],
        [],
        ["", "c"],
    ]


def test_a_cell_that_says_it_covers_a_billion_columns_and_rows_costs_no_more_than_its_table():
    rows = grid([[Cell("a", columns=10**9), Cell("b")], [Cell("c", rows=10**9)], [Cell("d")]])
    assert rows == [["a", "", "b"], ["c", "", ""], ["", "d", ""]]


def test_what_stands_alone_above_a_table_is_no_row_of_it_but_a_header_with_an_empty_corner_is():
    rows = [["Fees of 2026", ""], ["", ""], ["", "Amount"], ["Filing", ""], ["Hearing", "20"]]
    lines = row_lines([[Cell(text) for text in row] for row in rows])
    assert lines == ["Fees of 2026", "", " | Amount", "Filing | ", "Hearing | 20"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_is_read_as_rows_whatever_parts_its_values(read, delimiter):
    lines = ["Service,Fee", '"Filing', 'a claim",10', "", ",20"]
    document = read("fees.csv", "\r\n".join(lines).replace(",", delimiter))
    assert document.text == "Service | Fee\nFiling a claim | 10\n | 20"
    assert document.title == "fees"
    assert document.headings == ()


def test_tsv_is_read_and_a_comma_in_it_is_text(read):
    assert read("a.tsv", "a, b\tc\n1\t2").text == "a, b | c\n1 | 2"


@pytest.mark.parametrize("title", ["Sales report, 2024", "Sales, by region, 2024\n\nEUR, net", '"a,b,c,d"'])
def test_a_title_above_the_table_does_not_say_what_parts_its_values(read, title):
    text = read("sales.csv", f"{title}\nname;amount;note\napples;3,50;a\npears;4;b, c").text
    assert text.endswith("\nname | amount | note\napples | 3,50 | a\npears | 4 | b, c")


def test_what_parts_values_is_not_looked_for_in_quoted_cells(read):
    rows = "".join(f'{n},"a; b; c\nd; e; ""f""; g"\n' for n in range(9))
    assert read("a.csv", f"id,text\n{rows}").text.startswith('id | text\n0 | a; b; c d; e; "f"; g\n1 | a; b')


@pytest.mark.parametrize("quote", ['"', ""])
def test_a_cell_may_be_long(read, quote):
    long = "word " * 40_000 + "end"
    assert read("a.csv", f"a,b\n1,{quote}{long}{quote}\n2,c").text == f"a | b\n1 | {long}\n2 | c"


def test_refuses_csv_with_a_quotation_mark_that_is_never_closed(read):
    with pytest.raises(DocumentError, match=r"Cannot read docs/a\.csv as CSV: a quotation mark is never"):
        read("a.csv", 'a,b\n"' + "x" * 200_000)
    assert read("a.csv", 'a,b\n1,"x\n2,y\n').text == "a | b\n1 | x 2,y", "little is lost"
