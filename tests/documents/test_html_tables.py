def test_html_tables_keep_their_columns_where_cells_are_spanned(read):
    document = read(
        "a.html",
        """<table><caption>Sales</caption>
        <thead><tr><th rowspan=2>Region<th colspan="2">Sales</tr><tr><th>2025<th>2026</tr></thead>
        <tbody><tr><td>North<td>1<td></tr><tr></tr><tr><td rowspan=0>South<td>3<td>4</tr></tbody></table>""",
    )
    assert document.text == "Sales\nRegion | Sales | \n | 2025 | 2026\nNorth | 1 | \nSouth | 3 | 4"


def test_html_columns_that_only_keep_distance_are_no_columns(read):
    markup = "<table><tr><td>a<td>&nbsp;<td>b</tr><tr><td>1<td><td>2</tr></table>"
    assert read("a.html", markup).text == "a | b\n1 | 2"


def test_html_tables_that_follow_each_other_stay_two(read):
    assert read("a.html", "<table><tr><td>a<td>b</table>" * 2).text == "a | b\n\na | b"


def test_html_table_within_a_cell_has_rows_of_its_own(read):
    document = read(
        "a.html",
        "<table><tr><td>Fees<td><table><tr><td>a<td>b<tr><td>1<td>2</table></tr><tr><td>x<td>y</tr></table>",
    )
    assert document.text == "Fees\na | b\n1 | 2\n\nx | y"


def test_html_tables_nested_thousands_deep_are_read(read):
    assert "end" in read("a.html", "<table><tr><td>x" * 5000 + "<p>end").text


def test_html_lists_count_in_the_way_they_are_written(read):
    document = read(
        "a.html",
        """<ol type=a><li>one<li>two</ol><ol type="I" start=4><li>four</ol>
        <ol style="list-style-type: lower-roman"><li>i<li value=9>nine<li>ten</ol><ol start=-1><li>x</ol>""",
    )
    assert document.text.split("\n") == [
        "a. one",
        "b. two",
        "IV. four",
        "i. i",
        "ix. nine",
        "x. ten",
        "-1. x",
    ]
