"""Lays out tables as lines `a | b | c`, and reads CSV and TSV.

Does NOT escape a `|` within a cell, and knows no types: a cell is its text.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO

from markgraph.documents.text import Block, assemble, clean, decode, stem
from markgraph.documents.types import Document
from markgraph.errors import DocumentError

BAR = " | "
_WIDEST, _TALLEST = 100, 1000
_DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class Cell:
    """A cell of a table, and how many columns and rows it covers."""

    text: str
    columns: int = 1
    rows: int = 1


def grid(rows: Iterable[Sequence[Cell]]) -> list[list[str]]:
    """Return the texts by row and column, one list a row of `rows`.

    A cell's text stands in the first of the places that it covers, the others are empty. Columns without any
    text are dropped; a row without any is an empty list.
    """
    placed: list[dict[int, str]] = []
    taken: dict[int, int] = {}  # column -> the last row that a cell from above covers there
    for number, row in enumerate(rows):
        placed.append({})
        column = 0
        for cell in row:
            while taken.get(column, -1) >= number:
                column += 1
            if text := " ".join(cell.text.split()):
                placed[-1][column] = text
            width = max(1, min(cell.columns, _WIDEST))
            if cell.rows > 1:
                last = number + min(cell.rows, _TALLEST) - 1
                taken.update(dict.fromkeys(range(column, column + width), last))
            column += width
    columns = sorted(set().union(*placed))
    return [[texts.get(column, "") for column in columns] if texts else [] for texts in placed]


def row_lines(rows: Iterable[Sequence[Cell]]) -> list[str]:
    """Return each row as `a | b`, an empty line where it holds no text.

    What stands alone in the first column above the table, as its title does, is a line without bars, so that
    the first line with bars is the header.
    """
    lines, is_above = [], True
    for texts in grid(rows):
        is_above = is_above and not any(texts[1:])
        lines.append("".join(texts) if is_above else BAR.join(texts))
    return lines


def row_blocks(rows: Iterable[Sequence[Cell]], table: object) -> Iterator[Block]:
    """Yield the rows of `table` that hold text."""
    for line in filter(None, row_lines(rows)):
        yield Block(line, tight=True, table=table if BAR in line else None)


def read_csv(data: bytes, source: str) -> Document:
    """Read values parted by what its first line has most of: commas, semicolons, tabs, bars. TSV has tabs.

    Raises:
        DocumentError: when it is not text, or a quotation mark is never closed.
    """
    markup = decode(data, source)
    first = next((line for line in markup.splitlines() if line.strip()), "")
    delimiter = "\t" if source.lower().endswith(".tsv") else max(_DELIMITERS, key=first.count)
    try:
        rows = [
            [Cell(clean(value)) for value in row]
            for row in csv.reader(StringIO(markup, newline=""), delimiter=delimiter)
        ]
    except csv.Error as error:
        raise DocumentError(
            f"Cannot read {source} as CSV ({error}). Expected rows of values parted by commas, semicolons, "
            "tabs or bars: check its quotation marks."
        ) from error
    text, _ = assemble(row_blocks(rows, table=source))
    return Document(source=source, text=text, title=stem(source))
