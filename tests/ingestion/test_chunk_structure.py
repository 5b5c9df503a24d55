"""Chunks end where tables, lists, clauses and definitions do."""

import re

import pytest

from markgraph.documents.types import Document, Heading
from markgraph.ingestion.chunk import Chunker
from markgraph.ingestion.tables import find_tables
from markgraph.retrieval.types import Chunk

ROWS = [f"Clerk number {number} | grade {number} | {number * 1000} EUR." for number in range(1, 21)]
MARKDOWN = "| Name | Grade |\n|:--|--:|\n" + "\n".join(f"| Clerk {n} | It is {n}. Good |" for n in range(20))


def cut(text: str, size: int = 200, min_size: int = 20, headings: tuple[Heading, ...] = ()) -> list[Chunk]:
    return Chunker(size, min_size)(Document(source="s", text=text, title="t", headings=headings))


def texts(text: str, size: int = 200) -> list[str]:
    return [chunk.text for chunk in cut(text, size)]


def test_a_long_table_is_cut_between_rows_and_its_header_goes_with_each_part() -> None:
    table = "\n".join(["Name | Grade | Pay", *ROWS])
    chunks = cut(f"Intro.\n\n{table}\n\nOutro.", headings=(Heading(0, 1, "Pay"),))
    rows = [line for chunk in chunks for line in chunk.text.splitlines() if " | " in line]
    assert rows == ["Name | Grade | Pay", *ROWS]
    assert chunks[0].heading == ("Pay",)
    assert {chunk.heading for chunk in chunks[1:]} == {("Pay", "Name | Grade | Pay")}


def test_a_markdown_table_keeps_its_rule_with_its_header() -> None:
    chunks = cut(MARKDOWN, size=120)
    assert chunks[0].text.startswith("| Name | Grade |\n|:--|--:|\n| Clerk 0")
    assert all(line.endswith("Good |") for chunk in chunks[1:] for line in chunk.text.splitlines())
    assert {chunk.heading for chunk in chunks[1:]} == {("Name | Grade",)}


def test_a_table_that_fits_is_in_one_chunk() -> None:
    table = "\n".join(ROWS[:4])
    prose = "Here is a sentence of some words. " * 5
    assert table in texts(f"{prose}\n\n{table}\n\n{prose}")


def test_a_row_that_is_longer_than_a_chunk_is_cut_at_words() -> None:
    row = "a | " + "word. " * 60
    parts = texts(f"Name | Text\n{row}\nb | short")
    assert [part.split()[-1] for part in parts[:-1]] == ["word."] * (len(parts) - 1)
    assert max(map(len, parts)) <= 200


def test_one_line_with_bars_is_no_table_and_a_wide_header_no_heading() -> None:
    assert find_tables("Choose a | b, or c\nas you like") == []
    (table,) = find_tables("| " + "wide " * 60 + "|\n| a |")
    assert table.header == ""


def test_a_list_is_cut_between_items_and_keeps_its_lead_in() -> None:
    item = "- This item says one thing. It says another thing as well."
    text = "Some words before it come here. They end.\nThe following are allowed:\n" + "\n".join([item] * 8)
    parts = texts(text)
    assert not any(part.endswith(":") for part in parts)
    assert all(part.startswith("- ") for part in parts[1:])
    assert all(part.endswith("well.") for part in parts)


def test_items_of_a_list_in_a_list_stay_with_their_item() -> None:
    inner = "\n".join(f"   {n}. An inner step of it, with words" for n in (1, 2, 3))
    parts = texts("\n".join(f"{n}. An outer step:\n{inner}" for n in range(1, 7)), size=300)
    assert all(re.match(r"\d\. An outer", part) for part in parts)


@pytest.mark.parametrize(("join", "size"), [("\n", 420), (" ", 420)])
def test_clauses_are_cut_at_the_outer_ones(join: str, size: int) -> None:
    inner = join.join(f"({label}) the inner clause {label} with words;" for label in ("A", "B"))
    middle = join.join(f"({n}) The middle clause, that has: {inner}" for n in (1, 2))
    text = join.join(f"({letter}) The outer clause begins:{join}{middle}" for letter in "abc")
    assert [part[:3] for part in texts(text, size)] == ["(a)", "(b)", "(c)"]


def test_a_letter_behind_h_is_no_roman_number() -> None:
    lines = [f"({letter}) the clause with some words in it, quite long;" for letter in "abcdefghij"]
    lines[2] += "\n(i) first inner clause of it;\n(ii) second inner clause of it;"
    parts = texts("\n".join(lines), size=130)
    assert not any(part.startswith("(ii)") for part in parts)
    assert any(part.startswith("(i) the clause") for part in parts) or "\n(i) the clause" in "\n".join(parts)


def test_a_definition_stays_whole_where_it_fits() -> None:
    meaning = "means any of these: (a) a person who is a clerk; (b) a body that pays; (c) an office of it"
    text = " ".join(f"The term \u201cthing {n}\u201d {meaning}. It was so." for n in range(6))
    parts = texts(text, size=220)
    assert all(part.count("The term") == part.count("(c) an office") for part in parts)


def test_numbered_definitions_are_cut_between_two() -> None:
    text = "\n".join(
        f"({n}) \u2018thing {n}\u2019 means a thing that: (a) is one; or (b) was one, a long time ago;"
        for n in range(1, 9)
    )
    assert all(re.match(r"\(\d\) \u2018", part) for part in texts(text))


def test_an_article_in_a_text_without_headings_begins_a_chunk() -> None:
    words = "This is a sentence of the article. " * 4
    text = "\n\n".join(f"Article {n}\n{words}\n\n{words}" for n in (1, 2, 3))
    assert [part[:9] for part in texts(text, size=330)] == ["Article 1", "Article 2", "Article 3"]


def test_chunks_know_their_neighbours_and_keep_their_ids() -> None:
    text = "Here is a sentence. " * 40
    chunks = cut(text, headings=(Heading(400, 1, "Later"),))
    ids = [chunk.id for chunk in chunks]
    assert [chunk.before for chunk in chunks] == ["", *ids[:-1]]
    assert [chunk.after for chunk in chunks] == [*ids[1:], ""]
    assert ids == [chunk.id for chunk in cut(text)] or len(set(ids)) == len(ids)
    assert [chunk.id for chunk in cut(text, headings=(Heading(400, 1, "Later"),))] == ids
