"""Lays out tables as lines `a | b | c`, and reads CSV and TSV.

Does NOT escape a `|` within a cell, and knows no types: a cell is its text.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO

from markgraph.documents.text import Block, assemble, clean, decode, stem
from markgraph.documents.types import Document
from markgraph.errors import DocumentError

BAR = " | "
_WIDEST, _TALLEST = 100, 1000
_DELIMITERS = ",;\t|"
_QUOTED = re.compile(r'(?<![^,;\t|\r\n])"(?:[^"]|"")*"')
_LINES_LOOKED_AT, _MOST_LOOKED_AT = 20, 100_000
_LONGEST_UNCLOSED = 2**17
_END = "\nend"


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
    """Read values parted by commas, semicolons, tabs or bars, as most of its first lines are. TSV has tabs.

    Raises:
        DocumentError: when it is not text, or much of it follows a quotation mark that is never closed.
    """
    markup = decode(data, source)
    delimiter = "\t" if source.lower().endswith(".tsv") else _delimiter(markup)
    rows = [[Cell(clean(value)) for value in row] for row in _values(markup, delimiter, source)]
    text, _ = assemble(row_blocks(rows, table=source))
    return Document(source=source, text=text, title=stem(source))


def _delimiter(markup: str) -> str:
    """Return what stands equally often on the most of the first lines, quoted cells left out."""
    unquoted = _QUOTED.sub("", markup[:_MOST_LOOKED_AT])
    lines = [line for line in unquoted.splitlines() if line.strip()][:_LINES_LOOKED_AT]

    def agreeing(delimiter: str) -> tuple[int, int]:
        counts = Counter(line.count(delimiter) for line in lines if delimiter in line)
        return max(((lines, count) for count, lines in counts.items()), default=(0, 0))

    return max(_DELIMITERS, key=agreeing)


def _values(markup: str, delimiter: str, source: str) -> list[list[str]]:
    """Return the cells of each row; one may be as long as the file."""
    # Python has one limit for all readers, and says nothing of a cell that is still open at the end.
    csv.field_size_limit(max(csv.field_size_limit(), len(markup) + len(_END)))
    rows = list(csv.reader(StringIO(markup + _END, newline=""), delimiter=delimiter))
    if rows[-1] == [_END.strip()]:
        return rows[:-1]
    rows[-1][-1] = rows[-1][-1].removesuffix(_END)
    if len(rows[-1][-1]) > _LONGEST_UNCLOSED:
        raise DocumentError(
            f"Cannot read {source} as CSV: a quotation mark is never closed, and "
            f"{len(rows[-1][-1]):,} characters follow it. Close it, or remove it."
        )
    return rows
